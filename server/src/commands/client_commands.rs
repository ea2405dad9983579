//! CLIENT: what a connection asks and sets about itself. LIST and KILL, which look at all, are in `client_list`, PAUSE
//! in `client_pause`.

use super::client_list::{kill, list, merge_kill, merge_list};
use super::client_pause::{pause, unpause};
use super::help::help_row;
use super::refusals::{quoted, subcommand_arity};
use super::{Args, Categories, ClientFlags, Command, Core, Flags, Group, Lock, Merge, ReplyMode, Run};
use crate::resp::{Refusal, Reply};

/// What all rows share.
const ROW: Command = Command {
    arity: 2,
    flags: Flags::NOSCRIPT.union(Flags::LOADING).union(Flags::STALE),
    extra_categories: Categories::CONNECTION,
    group: Group::Connection,
    ..Command::BASE
};

const ADMIN: Flags = ROW.flags.union(Flags::ADMIN);
const NEWER: Flags = ROW.flags.union(Flags::ALLOW_BUSY);

pub const SUBCOMMANDS: &[Command] = &[
    Command {
        name: "getname",
        full_name: "client|getname",
        run: Run::Session(get_name),
        since: "2.6.9",
        summary: "Returns the connection's name.",
        ..ROW
    },
    Command {
        name: "getredir",
        full_name: "client|getredir",
        run: Run::Session(get_redirection),
        since: "6.0.0",
        summary: "Returns the client that gets this connection's invalidations, or -1.",
        ..ROW
    },
    Command {
        extra_categories: Categories::CONNECTION,
        ..help_row("client|help", Group::Connection, "5.0.0")
    },
    Command {
        name: "id",
        full_name: "client|id",
        run: Run::Session(id),
        since: "5.0.0",
        summary: "Returns the connection's number.",
        ..ROW
    },
    Command {
        name: "info",
        full_name: "client|info",
        run: Run::Session(info),
        since: "6.2.0",
        summary: "Describes the connection as CLIENT LIST does.",
        tips: &["nondeterministic_output"],
        ..ROW
    },
    Command {
        name: "kill",
        full_name: "client|kill",
        arity: -3,
        flags: ADMIN,
        run: Run::EveryCore { lock: Lock::None, part: kill, merge: Merge::Custom(merge_kill) },
        since: "2.4.0",
        summary: "Closes connections.",
        complexity: "O(N) with N connections",
        syntax: "<ip:port | <[ID client-id] | [TYPE <NORMAL | MASTER | SLAVE | REPLICA | PUBSUB>] | [USER \
                 username] | [ADDR ip:port] | [LADDR ip:port] | [SKIPME <YES | NO>] | [MAXAGE maxage]> ...>",
        ..ROW
    },
    Command {
        name: "list",
        full_name: "client|list",
        arity: -2,
        flags: ADMIN,
        run: Run::EveryCore { lock: Lock::None, part: list, merge: Merge::Custom(merge_list) },
        since: "2.4.0",
        summary: "Describes connections, one a line.",
        complexity: "O(N) with N connections",
        syntax: "[TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id [client-id ...]]",
        tips: &["nondeterministic_output"],
        ..ROW
    },
    Command {
        name: "no-evict",
        full_name: "client|no-evict",
        arity: 3,
        flags: ADMIN,
        run: Run::Session(no_evict),
        since: "7.0.0",
        summary: "Spares the connection when clients are evicted.",
        syntax: "<ON | OFF>",
        ..ROW
    },
    Command {
        name: "no-touch",
        full_name: "client|no-touch",
        arity: 3,
        flags: NEWER,
        run: Run::Session(no_touch),
        since: "7.2.0",
        summary: "Keeps the connection's reads from marking keys as used.",
        syntax: "<ON | OFF>",
        ..ROW
    },
    Command {
        name: "pause",
        full_name: "client|pause",
        arity: -3,
        flags: ADMIN,
        run: Run::EveryCore { lock: Lock::None, part: pause, merge: Merge::AllOk },
        since: "3.0.0",
        summary: "Has clients' commands wait for a time.",
        syntax: "timeout [WRITE | ALL]",
        ..ROW
    },
    Command {
        name: "reply",
        full_name: "client|reply",
        arity: 3,
        run: Run::Session(reply_mode),
        since: "3.2.0",
        summary: "Turns the connection's replies on or off.",
        syntax: "<ON | OFF | SKIP>",
        ..ROW
    },
    Command {
        name: "setinfo",
        full_name: "client|setinfo",
        arity: 4,
        flags: NEWER,
        run: Run::Session(set_info),
        since: "7.2.0",
        summary: "Tells the server which client library this is.",
        syntax: "<LIB-NAME libname | LIB-VER libver>",
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        ..ROW
    },
    Command {
        name: "setname",
        full_name: "client|setname",
        arity: 3,
        run: Run::Session(set_name),
        since: "2.6.9",
        summary: "Names the connection.",
        syntax: "connection-name",
        ..ROW
    },
    Command {
        name: "trackinginfo",
        full_name: "client|trackinginfo",
        run: Run::Session(tracking_info),
        since: "6.2.0",
        summary: "Tells how the connection tracks keys.",
        ..ROW
    },
    Command {
        name: "unblock",
        full_name: "client|unblock",
        arity: -3,
        flags: ADMIN,
        run: Run::Session(unblock),
        since: "5.0.0",
        summary: "Ends the wait of a connection that is blocked.",
        complexity: "O(log N) with N connections",
        syntax: "client-id [TIMEOUT | ERROR]",
        ..ROW
    },
    Command {
        name: "unpause",
        full_name: "client|unpause",
        flags: ADMIN,
        run: Run::EveryCore { lock: Lock::None, part: unpause, merge: Merge::AllOk },
        since: "6.2.0",
        summary: "Ends the wait of clients that are paused.",
        complexity: "O(N) with N paused clients",
        ..ROW
    },
];

/// `bytes` if they may stand in a field of CLIENT LIST: printable, without spaces.
pub fn valid_name(bytes: &[u8], what: &str) -> Result<Box<[u8]>, Refusal> {
    if bytes.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        return Ok(bytes.into());
    }
    Err(Refusal::Err(format!("{what} cannot contain spaces, newlines or special characters.").into()))
}

/// Takes ON or OFF.
fn on_or_off(args: &mut Args) -> Result<bool, Refusal> {
    if args.option("ON") {
        Ok(true)
    } else if args.option("OFF") {
        Ok(false)
    } else {
        Err(Refusal::Syntax)
    }
}

fn get_name(core: &mut Core, client: usize, _args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    let name = &core.clients[client].name;
    if name.is_empty() {
        reply.null();
    } else {
        reply.bulk(name);
    }
    Ok(())
}

fn set_name(core: &mut Core, client: usize, args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    core.clients[client].name = valid_name(args.take()?, "Client names")?;
    reply.ok();
    Ok(())
}

fn set_info(core: &mut Core, client: usize, args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    let this = &mut core.clients[client];
    let option = args.take()?;
    let field = if option.eq_ignore_ascii_case(b"LIB-NAME") {
        &mut this.lib_name
    } else if option.eq_ignore_ascii_case(b"LIB-VER") {
        &mut this.lib_ver
    } else {
        return Err(Refusal::Err(format!("Unrecognized option '{}'", quoted(option)).into()));
    };
    // What is behind a zero byte is neither looked at nor kept, unlike in names.
    let value = args.take()?.split(|byte| *byte == 0).next().unwrap_or_default();
    *field = valid_name(value, &quoted(option))?;
    reply.ok();
    Ok(())
}

fn id(core: &mut Core, client: usize, _args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    reply.int(core.clients[client].id as i64);
    Ok(())
}

fn info(core: &mut Core, client: usize, _args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    let mut line = core.clients[client].describe(core.now);
    line.push('\n');
    reply.verbatim("txt", line.as_bytes());
    Ok(())
}

fn no_evict(core: &mut Core, client: usize, args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    let on = on_or_off(args)?;
    core.clients[client].flags.set(ClientFlags::NO_EVICT, on);
    reply.ok();
    Ok(())
}

fn no_touch(core: &mut Core, client: usize, args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    let on = on_or_off(args)?;
    core.clients[client].flags.set(ClientFlags::NO_TOUCH, on);
    reply.ok();
    Ok(())
}

/// Only ON is answered: who turns replies off, for one command or for good, waits for none.
fn reply_mode(core: &mut Core, client: usize, args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    let mode = &mut core.clients[client].reply_mode;
    if args.option("ON") {
        *mode = ReplyMode::On;
        reply.ok();
    } else if args.option("OFF") {
        *mode = ReplyMode::Off;
    } else if args.option("SKIP") {
        if *mode != ReplyMode::Off {
            *mode = ReplyMode::SkipNext;
        }
    } else {
        return Err(Refusal::Syntax);
    }
    Ok(())
}

fn get_redirection(
    _core: &mut Core,
    _client: usize,
    _args: &mut Args,
    reply: &mut Reply,
) -> Result<(), Refusal> {
    reply.int(-1);
    Ok(())
}

fn tracking_info(
    _core: &mut Core,
    _client: usize,
    _args: &mut Args,
    reply: &mut Reply,
) -> Result<(), Refusal> {
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(1);
    reply.bulk(b"off");
    reply.bulk(b"redirect");
    reply.int(-1);
    reply.bulk(b"prefixes");
    reply.array(0);
    Ok(())
}

/// No command blocks yet, so none can be unblocked.
fn unblock(_core: &mut Core, _client: usize, args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    if args.remaining() > 2 {
        return Err(subcommand_arity(args.argv()));
    }
    let target = args.take()?;
    if !args.is_empty() && !args.option("TIMEOUT") && !args.option("ERROR") {
        return Err(Refusal::err("CLIENT UNBLOCK reason should be TIMEOUT or ERROR"));
    }
    crate::resp::parse_i64(target).ok_or(Refusal::NotInteger)?;
    reply.int(0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::shell::Shell;

    #[test]
    fn names_and_library_are_kept() {
        let mut shell = Shell::new(2);
        assert_eq!(shell.run("CLIENT GETNAME"), "$-1|");
        assert_eq!(shell.run("CLIENT SETNAME me"), "+OK|");
        assert_eq!(shell.run("CLIENT GETNAME"), "$2|me|");
        let bad = "cannot contain spaces, newlines or special characters.|";
        assert_eq!(shell.run("CLIENT SETNAME \"a b\""), format!("-ERR Client names {bad}"));
        assert_eq!(shell.run("CLIENT SETINFO lib-ver \"a b\""), format!("-ERR lib-ver {bad}"));
        assert_eq!(shell.run("CLIENT SETINFO LIB-NAME lib"), "+OK|");
        assert_eq!(shell.run("CLIENT SETINFO x y"), "-ERR Unrecognized option 'x'|");
        let info = shell.run("CLIENT INFO");
        assert!(info.contains(" name=me ") && info.contains(" lib-name=lib lib-ver="), "{info}");
        assert_eq!(shell.run("CLIENT SETNAME \"\""), "+OK|");
        assert_eq!(shell.run("CLIENT GETNAME"), "$-1|");
    }

    #[test]
    fn switches_take_on_and_off_only() {
        let mut shell = Shell::new(1);
        for command in ["CLIENT NO-EVICT", "CLIENT NO-TOUCH"] {
            assert_eq!(shell.run(&format!("{command} ON")), "+OK|");
            assert_eq!(shell.run(&format!("{command} maybe")), "-ERR syntax error|");
        }
        assert!(shell.run("CLIENT INFO").contains(" flags=eT "));
        assert_eq!(shell.run("CLIENT NO-EVICT off"), "+OK|");
        assert!(shell.run("CLIENT INFO").contains(" flags=T "));
        assert_eq!(shell.run("CLIENT REPLY OFF"), "");
        assert_eq!(shell.run("CLIENT REPLY SKIP"), "");
        assert_eq!(shell.run("CLIENT REPLY ON"), "+OK|");
        assert_eq!(shell.run("CLIENT REPLY x"), "-ERR syntax error|");
    }

    #[test]
    fn tracking_is_off_and_nobody_is_blocked() {
        let mut shell = Shell::new(1);
        assert_eq!(shell.run("CLIENT GETREDIR"), ":-1|");
        assert_eq!(shell.run("CLIENT TRACKINGINFO"), "*6|$5|flags|*1|$3|off|$8|redirect|:-1|$8|prefixes|*0|");
        assert_eq!(shell.run("CLIENT UNBLOCK 1 ERROR"), ":0|");
        assert_eq!(shell.run("CLIENT UNBLOCK x"), "-ERR value is not an integer or out of range|");
        let reason = "-ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR|";
        assert_eq!(shell.run("CLIENT UNBLOCK 1 x"), reason);
        assert_eq!(shell.run("CLIENT NOSUCH"), "-ERR unknown subcommand 'NOSUCH'. Try CLIENT HELP.|");
        assert!(shell.run("CLIENT HELP").contains("|+GETNAME|+    Returns the connection's name.|"));
    }
}
