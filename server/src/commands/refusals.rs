//! Command lines that are refused before any handler sees them, worded as the reference server does.

use std::borrow::Cow;

use super::{Command, Core, Flags, table};
use crate::config::DebugCommand;
use crate::resp::{Argv, Refusal};

/// Bytes that an error reply quotes of a command's name, and of its arguments together.
const QUOTED: usize = 128;

/// Refuses a command line that `Table::resolve` finds no row for: an unknown command, a container without
/// a subcommand, or with one that it does not have.
#[cold]
pub fn unknown(argv: Argv) -> Refusal {
    let Some(container) = table().find(argv.get(0)) else { return unknown_command(argv) };
    let container = table().row(container);
    if argv.len() == 1 {
        return Refusal::Arity(container.full_name);
    }
    let name = quote(argv.get(1), QUOTED);
    let help = container.name.to_ascii_uppercase();
    let unlisted = container.flags.contains(Flags::UNLISTED);
    let more = if unlisted { " or wrong number of arguments for" } else { "" };
    Refusal::Err(format!("unknown subcommand{more} '{name}'. Try {help} HELP.").into())
}

fn unknown_command(argv: Argv) -> Refusal {
    let mut arguments = String::new();
    for argument in argv.iter().skip(1) {
        if arguments.len() >= QUOTED {
            break;
        }
        let kept = QUOTED - arguments.len();
        arguments += &format!("'{}' ", quote(argument, kept));
    }
    let name = quote(argv.get(0), QUOTED);
    Refusal::Err(format!("unknown command '{name}', with args beginning with: {arguments}").into())
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
    if !row.flags.contains(Flags::NO_AUTH) && core.must_authenticate(client) {
        return Err(Refusal::Text("NOAUTH Authentication required.".into()));
    }
    Ok(())
}

/// The refusal of a wrong number of arguments.
#[cold]
pub fn arity(row: &Command, argv: Argv) -> Refusal {
    if row.flags.contains(Flags::UNLISTED) && argv.len() > 1 {
        let name = quote(argv.get(1), QUOTED);
        return Refusal::Err(
            format!("unknown subcommand or wrong number of arguments for '{name}'. Try DEBUG HELP.").into(),
        );
    }
    Refusal::Arity(row.full_name)
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

/// At most `limit` bytes, and none from a zero byte on: the reference server quotes C strings.
fn quote(bytes: &[u8], limit: usize) -> Cow<'_, str> {
    let bytes = &bytes[..bytes.len().min(limit)];
    String::from_utf8_lossy(&bytes[..memchr::memchr(0, bytes).unwrap_or(bytes.len())])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgv;

    fn refused(words: &[&[u8]]) -> String {
        let argv = OwnedArgv::from_iter(words.iter().copied());
        unknown(argv.borrow()).line().into_owned()
    }

    #[test]
    fn unknown_commands_are_quoted_with_their_arguments() {
        let head = "ERR unknown command 'foo', with args beginning with: ";
        assert_eq!(refused(&[b"foo"]), head);
        assert_eq!(refused(&[b"foo", b"a", b"c\x00d"]), format!("{head}'a' 'c' "));
        let (long, x) = ([b'x'; 300], "x".repeat(128));
        let cut = format!("ERR unknown command '{x}', with args beginning with: '{x}' ");
        assert_eq!(refused(&[&long, &long, b"more"]), cut);
    }

    #[test]
    fn unknown_subcommands_name_their_container() {
        assert_eq!(refused(&[b"client", b"Foo"]), "ERR unknown subcommand 'Foo'. Try CLIENT HELP.");
        assert_eq!(refused(&[b"CLIENT"]), "ERR wrong number of arguments for 'client' command");
    }
}
