//! The connection family: authentication, protocol, database. CLIENT's subcommands stand in `client_commands`.

use super::client_commands::{SUBCOMMANDS as CLIENT_SUBCOMMANDS, valid_name};
use super::refusals::quoted;
use super::{Args, Categories, Client, ClientFlags, Command, Core, Flags, Group, ReplyMode, Run};
use crate::limits::REDIS_VERSION;
use crate::resp::{Refusal, Reply, parse_i64};

/// What all rows of the family share.
const ROW: Command = Command {
    flags: Flags::LOADING.union(Flags::STALE).union(Flags::FAST),
    extra_categories: Categories::CONNECTION,
    group: Group::Connection,
    ..Command::BASE
};

/// Of those that run before authentication, and while a script is overdue.
const ALWAYS: Flags = ROW.flags.union(Flags::NOSCRIPT).union(Flags::NO_AUTH).union(Flags::ALLOW_BUSY);

pub const COMMANDS: &[Command] = &[
    Command {
        name: "auth",
        full_name: "auth",
        arity: -2,
        flags: ALWAYS,
        run: Run::Session(auth),
        summary: "Authenticates the connection.",
        complexity: "O(N) with N passwords of the user",
        syntax: "[username] password",
        ..ROW
    },
    Command {
        name: "client",
        full_name: "client",
        arity: -2,
        flags: Flags::empty(),
        extra_categories: Categories::empty(),
        since: "2.4.0",
        summary: "Commands about client connections.",
        complexity: "Depends on the subcommand",
        subcommands: CLIENT_SUBCOMMANDS,
        ..ROW
    },
    Command {
        name: "echo",
        full_name: "echo",
        arity: 2,
        run: Run::Session(echo),
        summary: "Returns its argument.",
        syntax: "message",
        ..ROW
    },
    Command {
        name: "hello",
        full_name: "hello",
        arity: -1,
        flags: ALWAYS,
        run: Run::Session(hello),
        since: "6.0.0",
        summary: "Chooses the protocol, and authenticates and names the connection on the way.",
        syntax: "[protover [AUTH username password] [SETNAME clientname]]",
        ..ROW
    },
    Command {
        name: "ping",
        full_name: "ping",
        arity: -1,
        flags: Flags::FAST,
        run: Run::Session(ping),
        summary: "Tells that the server is there.",
        syntax: "[message]",
        tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
        ..ROW
    },
    Command {
        name: "quit",
        full_name: "quit",
        arity: -1,
        flags: ALWAYS.union(Flags::AT_ONCE),
        run: Run::Session(quit),
        summary: "Closes the connection.",
        ..ROW
    },
    Command {
        name: "reset",
        full_name: "reset",
        arity: 1,
        flags: ALWAYS.union(Flags::AT_ONCE),
        run: Run::Session(reset),
        since: "6.2.0",
        summary: "Makes the connection as it was when it was opened.",
        ..ROW
    },
    Command {
        name: "select",
        full_name: "select",
        arity: 2,
        run: Run::Session(select),
        summary: "Chooses the connection's database.",
        syntax: "index",
        ..ROW
    },
];

const WRONG_PASSWORD: Refusal = Refusal::Text(std::borrow::Cow::Borrowed(
    "WRONGPASS invalid username-password pair or user is disabled.",
));

/// Authenticates `client`, or tells why not. There is one user, `default`; without a password it accepts any.
fn authenticate(core: &mut Core, client: usize, user: &[u8], password: &[u8]) -> Result<(), Refusal> {
    let wanted = core.settings.requirepass.as_bytes();
    if user != b"default" || !(wanted.is_empty() || same_secret(wanted, password)) {
        return Err(WRONG_PASSWORD);
    }
    core.clients[client].flags.insert(ClientFlags::AUTHENTICATED);
    Ok(())
}

/// Compares in a time that tells nothing of where the first difference is.
fn same_secret(wanted: &[u8], given: &[u8]) -> bool {
    let differing =
        |difference: u8, (index, byte): (usize, &u8)| difference | (byte ^ wanted[index % wanted.len()]);
    given.iter().enumerate().fold(0, differing) == 0 && given.len() == wanted.len()
}

fn auth(core: &mut Core, client: usize, args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    let first = args.take()?;
    let (user, password) = match args.peek() {
        None if core.settings.requirepass.is_empty() => {
            return Err(Refusal::err(
                "AUTH <password> called without any password configured for the default user. Are you sure \
                 your configuration is correct?",
            ));
        }
        None => (&b"default"[..], first),
        Some(_) => (first, args.take()?),
    };
    args.finish()?;
    authenticate(core, client, user, password)?;
    reply.ok();
    Ok(())
}

fn echo(_core: &mut Core, _client: usize, args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    reply.bulk(args.take()?);
    Ok(())
}

fn ping(_core: &mut Core, _client: usize, args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    match args.remaining() {
        0 => reply.simple("PONG"),
        1 => reply.bulk(args.take()?),
        _ => return Err(Refusal::Arity("ping")),
    }
    Ok(())
}

fn hello(core: &mut Core, client: usize, args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    let mut resp3 = core.clients[client].resp3;
    if let Some(version) = args.peek() {
        args.take()?;
        resp3 = match parse_i64(version) {
            Some(2) => false,
            Some(3) => true,
            Some(_) => return Err(Refusal::Text("NOPROTO unsupported protocol version".into())),
            None => return Err(Refusal::err("Protocol version is not an integer or out of range")),
        };
    }
    let mut name = None;
    while let Some(option) = args.peek() {
        if args.remaining() >= 3 && args.option("AUTH") {
            let (user, password) = (args.take()?, args.take()?);
            authenticate(core, client, user, password)?;
        } else if args.remaining() >= 2 && args.option("SETNAME") {
            name = Some(valid_name(args.take()?, "Client names")?);
        } else {
            let text = format!("Syntax error in HELLO option '{}'", quoted(option));
            return Err(Refusal::Err(text.into()));
        }
    }
    if !core.is_authenticated(client) {
        return Err(Refusal::Text(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH \
             <user> <pass> option can be used to authenticate the client and select the RESP protocol version \
             at the same time"
                .into(),
        ));
    }
    let this = &mut core.clients[client];
    if let Some(name) = name {
        this.name = name;
    }
    this.resp3 = resp3;
    reply.set_resp3(resp3);
    greet(&core.clients[client], core.replica, reply);
    Ok(())
}

/// The reply of HELLO. The server calls itself by the reference server's name because clients look for it.
fn greet(client: &Client, replica: bool, reply: &mut Reply) {
    reply.map(7);
    for (field, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
        reply.bulk(field.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"proto");
    reply.int(if client.resp3 { 3 } else { 2 });
    reply.bulk(b"id");
    reply.int(client.id as i64);
    let role = if replica { "replica" } else { "master" };
    for (field, value) in [("mode", "standalone"), ("role", role)] {
        reply.bulk(field.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"modules");
    reply.array(0);
}

fn quit(core: &mut Core, client: usize, _args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    core.clients[client].flags.insert(ClientFlags::CLOSE_AFTER_REPLY);
    reply.ok();
    Ok(())
}

/// What the session itself holds (MULTI, WATCH) it lets go when it sees the RESET flag.
fn reset(core: &mut Core, client: usize, _args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    let open = core.settings.requirepass.is_empty();
    let this = &mut core.clients[client];
    this.flags.remove(ClientFlags::NO_EVICT | ClientFlags::NO_TOUCH);
    this.flags.set(ClientFlags::AUTHENTICATED, open);
    this.flags.insert(ClientFlags::RESET);
    this.reply_mode = ReplyMode::On;
    this.resp3 = false;
    this.db = 0;
    this.name = Box::default();
    reply.set_resp3(false);
    reply.simple("RESET");
    Ok(())
}

fn select(core: &mut Core, client: usize, args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    let index = args.int()?;
    if i32::try_from(index).is_err() {
        return Err(Refusal::err("value is out of range, value must between -2147483648 and 2147483647"));
    }
    let databases = core.settings.databases;
    core.clients[client].db =
        usize::try_from(index).ok().filter(|index| *index < databases).ok_or(Refusal::DbIndex)?;
    reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::shell::Shell;

    #[test]
    fn hello_answers_in_the_protocol_it_chooses() {
        let mut shell = Shell::new(1);
        let two = shell.run("HELLO 2 SETNAME me");
        assert!(two.starts_with("*14|$6|server|$5|redis|$7|version|"), "{two}");
        assert!(
            two.ends_with("$5|proto|:2|$2|id|:1|$4|mode|$10|standalone|$4|role|$6|master|$7|modules|*0|")
        );
        assert!(shell.run("HELLO 3").starts_with("%7|"));
        assert!(shell.run("HELLO").starts_with("%7|"));
        assert_eq!(shell.run("CLIENT GETNAME"), "$2|me|");
        assert_eq!(shell.run("HELLO 4"), "-NOPROTO unsupported protocol version|");
        assert_eq!(shell.run("HELLO x"), "-ERR Protocol version is not an integer or out of range|");
        assert_eq!(shell.run("HELLO 2 SETNAME"), "-ERR Syntax error in HELLO option 'SETNAME'|");
        assert_eq!(shell.run("RESET"), "+RESET|");
        assert_eq!(shell.run("CLIENT GETNAME"), "$-1|");
    }

    #[test]
    fn passwords_are_asked_for_once_set() {
        let mut shell = Shell::new(1);
        assert!(shell.run("AUTH x").starts_with("-ERR AUTH <password> called without any password"));
        assert_eq!(shell.run("AUTH default x"), "+OK|");
        assert_eq!(shell.run("CONFIG SET requirepass secret"), "+OK|");
        assert_eq!(shell.run("PING"), "+PONG|");
        assert_eq!(shell.run("RESET"), "+RESET|");
        assert_eq!(shell.run("PING"), "-NOAUTH Authentication required.|");
        assert!(shell.run("HELLO 3").starts_with("-NOAUTH HELLO must be called"));
        let wrong = "-WRONGPASS invalid username-password pair or user is disabled.|";
        for attempt in
            ["AUTH secretsecret", "AUTH secre", "AUTH default x", "AUTH other secret", "AUTH default \"\""]
        {
            assert_eq!(shell.run(attempt), wrong, "{attempt}");
        }
        assert_eq!(shell.run("AUTH a b c"), "-ERR syntax error|");
        assert!(shell.run("HELLO 3 AUTH default secret").starts_with("%7|"));
        assert_eq!(shell.run("PING"), "+PONG|");
    }

    #[test]
    fn select_checks_its_index() {
        let mut shell = Shell::new(1);
        assert_eq!(shell.run("SELECT 15"), "+OK|");
        assert_eq!(shell.run("SELECT 16"), "-ERR DB index is out of range|");
        assert_eq!(shell.run("SELECT -1"), "-ERR DB index is out of range|");
        assert_eq!(shell.run("SELECT a"), "-ERR value is not an integer or out of range|");
        let far = "-ERR value is out of range, value must between -2147483648 and 2147483647|";
        assert_eq!(shell.run("SELECT 99999999999"), far);
    }

    #[test]
    fn ping_and_echo_return_their_argument() {
        let mut shell = Shell::new(1);
        assert_eq!(shell.run("PING"), "+PONG|");
        assert_eq!(shell.run("PING hi"), "$2|hi|");
        assert_eq!(shell.run("PING a b"), "-ERR wrong number of arguments for 'ping' command|");
        assert_eq!(shell.run("ECHO hi"), "$2|hi|");
        assert_eq!(shell.run("ECHO"), "-ERR wrong number of arguments for 'echo' command|");
    }
}
