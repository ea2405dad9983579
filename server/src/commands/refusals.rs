//! Command lines that are refused before any handler sees them, worded as the reference server does.

use std::borrow::Cow;

use super::{ClientFlags, Command, Core, Flags};
use crate::config::DebugCommand;
use crate::resp::{Argv, Refusal, Reply};

/// Bytes that an error reply quotes of a command's name, and of its arguments together.
const QUOTED: usize = 128;

/// Refuses a command that is in no table. The reply quotes the client's own bytes, whatever they are.
#[cold]
pub fn refuse_unknown_command(argv: Argv, reply: &mut Reply) {
    let mut arguments = Vec::new();
    for argument in argv.iter().skip(1) {
        if arguments.len() >= QUOTED {
            break;
        }
        let kept = QUOTED - arguments.len();
        arguments.push(b'\'');
        arguments.extend_from_slice(quote(argument, kept));
        arguments.extend_from_slice(b"' ");
    }
    let name = quote(argv.get(0), QUOTED);
    reply.error_bytes(
        &[b"ERR unknown command '", name, b"', with args beginning with: ", &arguments].concat(),
    );
}

/// Refuses a subcommand that its container does not have.
#[cold]
pub fn refuse_unknown_subcommand(container: &Command, argv: Argv, reply: &mut Reply) {
    let unlisted = container.flags.contains(Flags::UNLISTED);
    let more: &[u8] = if unlisted { b" or wrong number of arguments for" } else { b"" };
    let name = quote(argv.get(1), QUOTED);
    let help = format!("'. Try {} HELP.", container.name.to_ascii_uppercase());
    reply.error_bytes(&[b"ERR unknown subcommand", more, b" '", name, help.as_bytes()].concat());
}

/// What is wrong with a command line that named `row`, if anything: arity, DEBUG where it is not allowed, a
/// client that has not authenticated. In this order, as the reference server looks at them.
#[inline]
pub fn admit(row: &Command, core: &Core, client: usize, argv: Argv) -> Result<(), Refusal> {
    if !row.accepts(argv.len()) {
        return Err(arity(row, argv));
    }
    if row.flags.contains(Flags::UNLISTED) {
        debug_allowed(core, client)?;
    }
    if !row.flags.contains(Flags::NO_AUTH) && !core.is_authenticated(client) {
        return Err(Refusal::Text("NOAUTH Authentication required.".into()));
    }
    if core.is_restricted() { refuse_for_now(row, core, client) } else { Ok(()) }
}

/// What is wrong with a command at this time: the data is not there yet, or cannot be kept.
#[cold]
fn refuse_for_now(row: &Command, core: &Core, client: usize) -> Result<(), Refusal> {
    if core.clients[client].is(ClientFlags::APPLIER) {
        return Ok(());
    }
    if core.loading && !row.flags.contains(Flags::LOADING) {
        return Err(Refusal::Text("LOADING Redis is loading the dataset in memory".into()));
    }
    match &core.write_fault {
        Some(why) if row.is_write() => Err(Refusal::Text(format!("MISCONF {why}").into())),
        _ => Ok(()),
    }
}

/// The refusal of a wrong number of arguments.
#[cold]
pub fn arity(row: &Command, argv: Argv) -> Refusal {
    if row.flags.contains(Flags::UNLISTED) && argv.len() > 1 {
        return subcommand_arity(argv);
    }
    Refusal::Arity(row.full_name)
}

/// The refusal of a subcommand with more arguments than it can take, where the reference server leaves the
/// check to the subcommand.
#[cold]
pub fn subcommand_arity(argv: Argv) -> Refusal {
    let name = String::from_utf8_lossy(quote(argv.get(1), QUOTED));
    let container = String::from_utf8_lossy(argv.get(0)).to_ascii_uppercase();
    let text = format!("unknown subcommand or wrong number of arguments for '{name}'. Try {container} HELP.");
    Refusal::Err(text.into())
}

#[cold]
fn debug_allowed(core: &Core, client: usize) -> Result<(), Refusal> {
    let allowed = match core.settings.enable_debug_command {
        DebugCommand::Yes => true,
        DebugCommand::No => false,
        DebugCommand::Local => core.clients[client].is_local(),
    };
    if allowed {
        return Ok(());
    }
    Err(Refusal::err(
        "DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it \
         from a local connection, otherwise you need to set this option in the configuration file, and then \
         restart the server.",
    ))
}

/// A client's bytes within the text of a refusal.
pub fn quoted(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(quote(bytes, usize::MAX))
}

/// At most `limit` bytes, and none from a zero byte on: the reference server quotes C strings.
fn quote(bytes: &[u8], limit: usize) -> &[u8] {
    let bytes = &bytes[..bytes.len().min(limit)];
    &bytes[..memchr::memchr(0, bytes).unwrap_or(bytes.len())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgv;

    fn unknown(words: &[&[u8]]) -> Vec<u8> {
        let (argv, mut out) = (OwnedArgv::from_iter(words.iter().copied()), Vec::new());
        refuse_unknown_command(argv.borrow(), &mut Reply::new(&mut out, false));
        out
    }

    #[test]
    fn unknown_commands_are_quoted_with_their_arguments() {
        let head = "-ERR unknown command 'foo', with args beginning with: ";
        assert_eq!(unknown(&[b"foo"]), format!("{head}\r\n").into_bytes());
        assert_eq!(unknown(&[b"foo", b"a\r\nb", b"c"]), format!("{head}'a  b' 'c' \r\n").into_bytes());
        assert_eq!(unknown(&[b"foo", b"\xff\x00x"]), [head.as_bytes(), b"'\xff' \r\n"].concat());
    }

    #[test]
    fn long_names_and_arguments_are_cut() {
        let (long, x) = ([b'x'; 300], "x".repeat(128));
        let cut = format!("-ERR unknown command '{x}', with args beginning with: '{x}' \r\n");
        assert_eq!(unknown(&[&long, &long, b"more"]), cut.into_bytes());
    }
}
