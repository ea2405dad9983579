//! Command lines that are refused before any handler sees them, worded as the reference server does.

use std::borrow::Cow;

use super::{ClientFlags, Command, Core, Flags, table};
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

/// Commands of a primary that leave the data as it is: a server without them can pass them over.
const WITHOUT_DATA: [&[u8]; 2] = [b"PUBLISH", b"SPUBLISH"];

/// Whether a command that is in no table changes nothing where it is logged or replicated.
pub fn passes_over(name: &[u8]) -> bool {
    WITHOUT_DATA.iter().any(|other| other.eq_ignore_ascii_case(name))
}

/// Why a command of a primary's stream can never be applied here, as its words show.
pub fn refuse_replicated(argv: Argv) -> Result<(), String> {
    judge(argv).map_err(|(name, why)| format!("command '{name}' of the primary: {why}"))
}

/// The same for a command of a file of the log.
pub fn refuse_logged(argv: Argv) -> Result<(), String> {
    judge(argv).map_err(|(name, why)| format!("command '{name}': {why}"))
}

/// The command's name and why it can never be applied.
fn judge(argv: Argv) -> Result<(), (String, &'static str)> {
    let name = argv.get(0);
    let why = match table().resolve(name, (argv.len() > 1).then(|| argv.get(1))) {
        None if passes_over(name) => return Ok(()),
        None => "it is not known here",
        Some(row) if table().row(row).accepts(argv.len()) => return Ok(()),
        Some(_) => "its number of arguments is wrong here",
    };
    Err((quote(name, QUOTED).escape_ascii().to_string(), why))
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
    Ok(())
}

/// What is wrong with a command of these flags at this time, if anything. To be asked after `admit`, and after all that
/// the command itself is refused for.
#[inline]
pub fn admit_now(flags: Flags, core: &Core, client: usize) -> Result<(), Refusal> {
    if core.is_restricted() { refuse_for_now(flags, core, client) } else { Ok(()) }
}

/// The data cannot be kept, is another's to change, is old, or is not there yet: in the reference server's order.
#[cold]
fn refuse_for_now(flags: Flags, core: &Core, client: usize) -> Result<(), Refusal> {
    if core.clients[client].is(ClientFlags::APPLIER) {
        return Ok(());
    }
    let refuse = |line: &str| Err(Refusal::Text(line.to_owned().into()));
    let writes = flags.contains(Flags::WRITE);
    match (&core.write_fault, &core.stale) {
        (Some(line), _) if writes => refuse(line),
        _ if writes && core.replica && core.settings.replica_read_only => {
            refuse("READONLY You can't write against a read only replica.")
        }
        (_, Some(line)) if !flags.contains(Flags::STALE) => refuse(line),
        _ if core.loading && !flags.contains(Flags::LOADING)
            || core.node.log.async_loading && flags.contains(Flags::NO_ASYNC_LOADING) =>
        {
            refuse("LOADING Redis is loading the dataset in memory")
        }
        _ => Ok(()),
    }
}

/// What EXEC needs as a command: it writes if any of these does, and is for all times only if all of them are.
pub fn flags_of_exec(exec: Flags, queued: impl Iterator<Item = Flags>) -> Flags {
    let always = Flags::STALE | Flags::LOADING;
    queued.fold(exec, |all, one| (all & (one | !always)) | (one & Flags::WRITE))
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
    use super::super::shell::Shell;
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

    #[test]
    fn a_replica_refuses_writes_and_a_stale_one_reads() {
        let mut shell = Shell::new(1);
        let readonly = "-READONLY You can't write against a read only replica.|";
        shell.cores[0].replica = true;
        assert_eq!(shell.run("SET a b"), readonly);
        assert_eq!(shell.run("GET a"), "$-1|");
        shell.cores[0].stale = Some("MASTERDOWN away".into());
        assert_eq!(shell.run("SET a b"), readonly);
        assert_eq!(shell.run("GET a"), "-MASTERDOWN away|");
        assert!(shell.run("INFO replication").starts_with('$'));
        assert_eq!(shell.run("SET a"), "-ERR wrong number of arguments for 'set' command|");
        shell.cores[0].write_fault = Some("MISCONF disk".into());
        assert_eq!(shell.run("SET a b"), "-MISCONF disk|");
        shell.cores[0].clients[0].flags.insert(ClientFlags::APPLIER);
        assert_eq!(shell.run("SET a b"), "+OK|");
        shell.cores[0].clients[0].flags.remove(ClientFlags::APPLIER);
        (shell.cores[0].write_fault, shell.cores[0].stale) = (None, None);
        assert_eq!(shell.run("CONFIG SET slave-read-only no"), "+OK|");
        assert_eq!(shell.run("SET a b"), "+OK|");
        shell.cores[0].loading = true;
        assert_eq!(shell.run("SET a b"), "-LOADING Redis is loading the dataset in memory|");
    }

    #[test]
    fn exec_is_as_particular_as_its_commands() {
        let always = Flags::STALE | Flags::LOADING;
        let of = |queued: &[Flags]| flags_of_exec(always, queued.iter().copied());
        assert_eq!(of(&[]), always);
        assert_eq!(of(&[always | Flags::FAST]), always);
        assert_eq!(of(&[Flags::STALE | Flags::READONLY, always]), Flags::STALE);
        assert_eq!(of(&[always, Flags::WRITE | Flags::DENYOOM]), Flags::WRITE);
    }
}
