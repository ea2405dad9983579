//! The server family's commands about replication, and what the rest of the server tells and is told of it.

use super::refusals::quoted;
use super::{Args, Categories, Client, Command, Control, Core, FailoverState, Flags, Group, Run, Task};
use crate::resp::{Argv, Refusal, Reply, parse_i64};

/// How a connection asks to become a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyncRequest {
    /// SYNC: a snapshot and then the stream; speaks no PSYNC, never acknowledges.
    Full,
    /// PSYNC replid offset: the stream from `offset` (1-based as on the wire, -1: none) of that history ("?": none).
    Partial { replid: Box<str>, offset: i64 },
    /// The same from our primary, once this server has taken over from it.
    TakeOver { replid: Box<str>, offset: i64 },
}

/// What REPLCONF told of a connection before PSYNC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaIdentity {
    /// Where the replica listens; 0: not told.
    pub port: u16,
    /// Where it wants to be found, if not at the address of its connection.
    pub ip: Option<Box<str>>,
    /// It takes a snapshot whose length is not known beforehand.
    pub eof: bool,
    /// It understands that a history has changed its name.
    pub psync2: bool,
}

/// How far a replica of this server is, named as INFO names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplicaState {
    /// Its snapshot has not begun.
    #[default]
    WaitBgsave,
    SendBulk,
    Online,
}

/// One replica of this server.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReplicaFacts {
    pub ip: Box<str>,
    pub port: u16,
    pub state: ReplicaState,
    /// Acknowledged.
    pub offset: u64,
    /// Since its last sign of life.
    pub lag_seconds: i64,
    /// How much of the stream it has not acknowledged, and for how long there has been something.
    pub lag_bytes: u64,
    pub lag_ms: u64,
}

/// The state of the link to the primary, named as ROLE names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Link {
    #[default]
    Connect,
    Connecting,
    Sync,
    Connected,
}

/// The primary that this server follows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PrimaryFacts {
    pub host: Box<str>,
    pub port: u16,
    pub link: Link,
    /// Received, and how much of it has yet to be applied.
    pub offset: u64,
    pub lag_bytes: u64,
    /// Since its last word, if that matters (`replica-max-lag-ms`).
    pub silent_ms: u64,
    /// Unix seconds; 0: never.
    pub last_io: i64,
    /// Unix seconds; 0: it is up.
    pub down_since: i64,
    /// Bytes of the snapshot that have come, and all; -1: not known.
    pub sync_read: u64,
    pub sync_total: i64,
    /// Why what it sends cannot be used here.
    pub error: Option<Box<str>>,
}

/// What node/ last told of replication.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReplicationFacts {
    /// None: this server is a primary.
    pub primary: Option<PrimaryFacts>,
    pub replid: Box<str>,
    /// The history before the last change of name, up to `second_offset`; 40 zeroes and -1: none.
    pub replid2: Box<str>,
    pub second_offset: i64,
    pub offset: u64,
    pub backlog_active: bool,
    pub backlog_size: u64,
    /// 1-based, as on the wire.
    pub backlog_first: u64,
    pub backlog_length: u64,
    pub replicas: Vec<ReplicaFacts>,
    pub full_syncs: u64,
    pub partial_syncs: u64,
    pub partial_refused: u64,
    pub failover: FailoverState,
    /// The connections of the replicas and of the primary.
    pub links: Vec<Client>,
}

impl ReplicationFacts {
    /// A primary's that nobody follows yet.
    pub fn alone(replid: &str) -> Self {
        let (replid, replid2) = (replid.into(), "0".repeat(40).into());
        ReplicationFacts { replid, replid2, second_offset: -1, ..ReplicationFacts::default() }
    }

    /// Replicas that have acknowledged all there is.
    pub fn up_to_date(&self) -> usize {
        self.online().filter(|replica| replica.offset >= self.offset).count()
    }

    pub fn online(&self) -> impl Iterator<Item = &ReplicaFacts> {
        self.replicas.iter().filter(|replica| replica.state == ReplicaState::Online)
    }
}

impl ReplicaState {
    pub fn name(self) -> &'static str {
        match self {
            ReplicaState::WaitBgsave => "wait_bgsave",
            ReplicaState::SendBulk => "send_bulk",
            ReplicaState::Online => "online",
        }
    }
}

impl Link {
    pub fn name(self) -> &'static str {
        match self {
            Link::Connect => "connect",
            Link::Connecting => "connecting",
            Link::Sync => "sync",
            Link::Connected => "connected",
        }
    }
}

impl SyncRequest {
    /// What a PSYNC or a SYNC asks, or why it cannot have that.
    pub fn parse(core: &Core, argv: Argv) -> Result<SyncRequest, Refusal> {
        /// More than any history's name has.
        const NAMED: usize = 64;
        let facts = &core.node.replication;
        let primary = facts.primary.as_ref();
        let takes_over = argv.len() > 3 && argv.get(3).eq_ignore_ascii_case(b"failover");
        if takes_over && primary.is_none() {
            return Err(Refusal::err("PSYNC FAILOVER can't be sent to a master."));
        }
        if takes_over && !argv.get(1).eq_ignore_ascii_case(facts.replid.as_bytes()) {
            return Err(Refusal::err("PSYNC FAILOVER replid must match my replid."));
        }
        if facts.failover != FailoverState::None {
            return Err(Refusal::Text("NOMASTERLINK Can't SYNC while failing over".into()));
        }
        if !takes_over && primary.is_some_and(|primary| primary.link != Link::Connected) {
            let line = "NOMASTERLINK Can't SYNC while not connected with my master";
            return Err(Refusal::Text(line.into()));
        }
        if argv.len() == 1 {
            return Ok(SyncRequest::Full);
        }
        let replid = argv.get(1);
        let replid = quoted(&replid[..replid.len().min(NAMED)]).into();
        let offset = parse_i64(argv.get(2)).ok_or(Refusal::NotInteger)?;
        Ok(match takes_over {
            true => SyncRequest::TakeOver { replid, offset },
            false => SyncRequest::Partial { replid, offset },
        })
    }
}

const ROW: Command = Command {
    group: Group::Server,
    flags: Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::NO_ASYNC_LOADING),
    ..Command::BASE
};

const WAIT: Command = Command {
    group: Group::Generic,
    extra_categories: Categories::CONNECTION,
    tips: &["request_policy:all_shards", "response_policy:agg_min"],
    ..Command::BASE
};

pub const COMMANDS: &[Command] = &[
    Command {
        name: "psync",
        full_name: "psync",
        arity: -3,
        flags: ROW.flags.union(Flags::NO_MULTI),
        run: Run::Control(Control::Replicate),
        since: "2.8.0",
        summary: "Makes the connection a replica's, which goes on where it was if possible.",
        syntax: "replicationid offset",
        ..ROW
    },
    Command {
        name: "replconf",
        full_name: "replconf",
        arity: -1,
        flags: Flags::ADMIN
            .union(Flags::NOSCRIPT)
            .union(Flags::LOADING)
            .union(Flags::STALE)
            .union(Flags::ALLOW_BUSY),
        run: Run::Session(replconf),
        since: "3.0.0",
        summary: "Tells what a replica is about to ask for, and how far it is.",
        ..ROW
    },
    Command {
        name: "replicaof",
        full_name: "replicaof",
        arity: 3,
        flags: ROW.flags.union(Flags::STALE),
        run: Run::Node(replica_of),
        since: "5.0.0",
        summary: "Makes the server a replica of another one, or a primary.",
        syntax: "<host port | NO ONE>",
        ..ROW
    },
    Command {
        name: "role",
        full_name: "role",
        flags: Flags::NOSCRIPT.union(Flags::LOADING).union(Flags::STALE).union(Flags::FAST),
        run: Run::Session(role),
        extra_categories: Categories::ADMIN.union(Categories::DANGEROUS),
        since: "2.8.12",
        summary: "Returns the server's part in replication.",
        ..ROW
    },
    Command {
        name: "slaveof",
        full_name: "slaveof",
        arity: 3,
        flags: ROW.flags.union(Flags::STALE),
        run: Run::Node(replica_of),
        deprecated: Some(("5.0.0", "`REPLICAOF`")),
        summary: "Makes the server a replica of another one, or a primary.",
        syntax: "<host port | NO ONE>",
        ..ROW
    },
    Command {
        name: "sync",
        full_name: "sync",
        flags: ROW.flags.union(Flags::NO_MULTI),
        run: Run::Control(Control::Replicate),
        summary: "Makes the connection a replica's.",
        ..ROW
    },
    Command {
        name: "wait",
        full_name: "wait",
        arity: 3,
        flags: Flags::NOSCRIPT,
        run: Run::Node(wait),
        since: "3.0.0",
        summary: "Waits until replicas have what the connection wrote.",
        syntax: "numreplicas timeout",
        ..WAIT
    },
    Command {
        name: "waitaof",
        full_name: "waitaof",
        arity: 4,
        flags: Flags::BLOCKING,
        run: Run::Node(wait_aof),
        since: "7.2.0",
        summary: "Waits until what the connection wrote is on the disk, here and at replicas.",
        syntax: "numlocal numreplicas timeout",
        ..WAIT
    },
];

/// Options in pairs. ACK and its like are said after PSYNC, where nobody expects an answer.
fn replconf(core: &mut Core, client: usize, args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    /// Bytes of a host name, as the reference server has room for.
    const LONGEST_HOST: usize = 255;
    if !args.remaining().is_multiple_of(2) {
        return Err(Refusal::Syntax);
    }
    while !args.is_empty() {
        if args.option("ACK") || args.option("FACK") || args.option("GETACK") {
            return Ok(());
        }
        let identity = core.clients[client].replica.get_or_insert_default();
        if args.option("listening-port") {
            identity.port = u16::try_from(args.int()?).unwrap_or_default();
        } else if args.option("ip-address") {
            let ip = args.take()?;
            if ip.len() > LONGEST_HOST {
                let length = ip.len();
                let text =
                    format!("REPLCONF ip-address provided by replica instance is too long: {length} bytes");
                return Err(Refusal::Err(text.into()));
            }
            identity.ip = (!ip.is_empty()).then(|| quoted(ip).into());
        } else if args.option("capa") {
            let capability = args.take()?;
            identity.eof |= capability.eq_ignore_ascii_case(b"eof");
            identity.psync2 |= capability.eq_ignore_ascii_case(b"psync2");
        } else if args.option("version") {
            args.take()?;
        } else if args.option("rdb-only") {
            if !(0..=1).contains(&args.int()?) {
                return Err(Refusal::err("value is out of range, value must between 0 and 1"));
            }
        } else {
            let option = quoted(args.take()?);
            return Err(Refusal::Err(format!("Unrecognized REPLCONF option: {option}").into()));
        }
    }
    reply.ok();
    Ok(())
}

fn role(core: &mut Core, _client: usize, _args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    let facts = &core.node.replication;
    let Some(primary) = &facts.primary else {
        reply.array(3);
        reply.bulk(b"master");
        reply.int(facts.offset as i64);
        reply.array(facts.online().count());
        for replica in facts.online() {
            reply.array(3);
            reply.bulk(replica.ip.as_bytes());
            reply.bulk_int(i64::from(replica.port));
            reply.bulk_int(replica.offset as i64);
        }
        return Ok(());
    };
    reply.array(5);
    reply.bulk(b"slave");
    reply.bulk(primary.host.as_bytes());
    reply.int(i64::from(primary.port));
    reply.bulk(primary.link.name().as_bytes());
    reply.int(if primary.link == Link::Connected { primary.offset as i64 } else { -1 });
    Ok(())
}

fn replica_of(_core: &Core, args: &mut Args) -> Result<Task, Refusal> {
    let (host, port) = (args.take()?, args.take()?);
    if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
        return Ok(Task::ReplicaOf(None));
    }
    let port = parse_i64(port).and_then(|port| u16::try_from(port).ok());
    let port = port.ok_or(Refusal::err("Invalid master port"))?;
    Ok(Task::ReplicaOf(Some((quoted(host).into(), port))))
}

fn wait(core: &Core, args: &mut Args) -> Result<Task, Refusal> {
    if core.replica {
        return Err(Refusal::err(
            "WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is \
             configured to be writable (which is not the default) writes to replicas are just local and are not \
             propagated.",
        ));
    }
    Ok(Task::Wait { replicas: args.int()?, timeout_ms: timeout(core, args)? })
}

fn wait_aof(core: &Core, args: &mut Args) -> Result<Task, Refusal> {
    let local = match args.int()? {
        0 => false,
        1 => true,
        _ => return Err(Refusal::err("value is out of range, value must between 0 and 1")),
    };
    const NOT_POSITIVE: Refusal = Refusal::err("value is out of range, must be positive");
    let replicas = args.int_or(NOT_POSITIVE)?;
    if replicas < 0 {
        return Err(NOT_POSITIVE);
    }
    let timeout_ms = timeout(core, args)?;
    if core.replica {
        return Err(Refusal::err(
            "WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just local \
             and are not propagated.",
        ));
    }
    if local && !core.settings.appendonly {
        let text = "WAITAOF cannot be used when numlocal is set but appendonly is disabled.";
        return Err(Refusal::err(text));
    }
    Ok(Task::WaitAof { local, replicas, timeout_ms })
}

/// Milliseconds that a command may block; 0: for ever.
fn timeout(core: &Core, args: &mut Args) -> Result<u64, Refusal> {
    let timeout = args.int_or(Refusal::err("timeout is not an integer or out of range"))?;
    match u64::try_from(timeout) {
        Err(_) => Err(Refusal::err("timeout is negative")),
        Ok(_) if timeout > i64::MAX - core.now => Err(Refusal::err("timeout is out of range")),
        Ok(timeout) => Ok(timeout),
    }
}

#[cfg(test)]
mod tests {
    use super::super::shell::Shell;
    use super::*;
    use crate::resp::OwnedArgv;

    fn replica(state: ReplicaState, offset: u64, lag_seconds: i64) -> ReplicaFacts {
        let (lag_bytes, lag_ms) = (100 - offset, 7);
        let ip = "10.0.0.2".into();
        ReplicaFacts { ip, port: 7002, state, offset, lag_seconds, lag_bytes, lag_ms }
    }

    /// A shell that follows 10.0.0.1:7001 over this link.
    fn follower(link: Link) -> Shell {
        let mut shell = Shell::new(1);
        let (host, down_since) = ("10.0.0.1".into(), i64::from(link != Link::Connected) * 1_699_999_990);
        let last_io = 1_699_999_999;
        let primary = PrimaryFacts {
            host,
            port: 7001,
            link,
            offset: 50,
            last_io,
            down_since,
            ..PrimaryFacts::default()
        };
        shell.cores[0].node.replication.primary = Some(primary);
        shell.cores[0].replica = true;
        shell
    }

    fn parsed(shell: &Shell, line: &str) -> Result<SyncRequest, Refusal> {
        let argv = OwnedArgv::from_iter(line.split(' ').map(str::as_bytes));
        SyncRequest::parse(&shell.cores[0], argv.borrow())
    }

    fn task(
        shell: &Shell,
        ask: fn(&Core, &mut Args) -> Result<Task, Refusal>,
        line: &str,
    ) -> Result<Task, String> {
        let argv = OwnedArgv::from_iter(line.split(' ').map(str::as_bytes));
        let mut args = Args::new(argv.borrow(), 1, &shell.hasher);
        ask(&shell.cores[0], &mut args).map_err(|refusal| refusal.line().into_owned())
    }

    #[test]
    fn a_replica_tells_who_it_is() {
        let mut shell = Shell::new(1);
        assert_eq!(shell.run("REPLCONF"), "+OK|");
        assert_eq!(
            shell.run("REPLCONF listening-port 7002 capa eof CAPA psync2 capa else version 9.1.0"),
            "+OK|"
        );
        assert_eq!(shell.run("REPLCONF ip-address 10.0.0.2"), "+OK|");
        let identity = ReplicaIdentity { port: 7002, ip: Some("10.0.0.2".into()), eof: true, psync2: true };
        assert_eq!(shell.client().replica.as_deref(), Some(&identity));
        assert_eq!(shell.run("REPLCONF ip-address \"\""), "+OK|");
        assert_eq!(shell.client().replica.as_deref().and_then(|told| told.ip.clone()), None);
        for silent in ["REPLCONF ACK 1", "REPLCONF GETACK *", "REPLCONF capa eof FACK 5"] {
            assert_eq!(shell.run(silent), "", "{silent}");
        }
        assert_eq!(shell.run("REPLCONF capa"), "-ERR syntax error|");
        assert_eq!(shell.run("REPLCONF x y"), "-ERR Unrecognized REPLCONF option: x|");
        assert_eq!(shell.run("REPLCONF listening-port x"), "-ERR value is not an integer or out of range|");
        let out = "-ERR value is out of range, value must between 0 and 1|";
        assert_eq!(shell.run("REPLCONF rdb-only 2"), out);
        let long = "x".repeat(300);
        let refused = "-ERR REPLCONF ip-address provided by replica instance is too long: 300 bytes|";
        assert_eq!(shell.run(&format!("REPLCONF ip-address {long}")), refused);
    }

    #[test]
    fn what_is_asked_for() {
        let shell = Shell::new(1);
        assert_eq!(parsed(&shell, "SYNC"), Ok(SyncRequest::Full));
        let none = SyncRequest::Partial { replid: "?".into(), offset: -1 };
        assert_eq!(parsed(&shell, "PSYNC ? -1"), Ok(none));
        let there = SyncRequest::Partial { replid: "abc".into(), offset: 17 };
        assert_eq!(parsed(&shell, "PSYNC abc 17"), Ok(there));
        assert_eq!(parsed(&shell, "PSYNC abc x"), Err(Refusal::NotInteger));
        let refusal = |shell: &Shell, line: &str| parsed(shell, line).unwrap_err().line().into_owned();
        let why = "ERR PSYNC FAILOVER can't be sent to a master.";
        assert_eq!(refusal(&shell, "PSYNC abc 1 FAILOVER"), why);
        let mut other = follower(Link::Connecting);
        assert_eq!(
            refusal(&other, "PSYNC abc 1 failover"),
            "ERR PSYNC FAILOVER replid must match my replid."
        );
        let id = "e".repeat(40);
        let there = SyncRequest::TakeOver { replid: id.as_str().into(), offset: 17 };
        assert_eq!(parsed(&other, &format!("PSYNC {id} 17 FAILOVER")), Ok(there), "whatever its link");
        other.cores[0].node.replication.failover = FailoverState::InProgress;
        assert_eq!(refusal(&other, &format!("PSYNC {id} 17")), "NOMASTERLINK Can't SYNC while failing over");
        let refused =
            parsed(&follower(Link::Sync), "PSYNC ? -1").map_err(|refusal| refusal.line().into_owned());
        let line = "NOMASTERLINK Can't SYNC while not connected with my master";
        assert_eq!(refused, Err(line.to_owned()));
        assert!(parsed(&follower(Link::Connected), "PSYNC ? -1").is_ok());
    }

    #[test]
    fn tasks_of_the_log_core() {
        let (shell, follower) = (Shell::new(1), follower(Link::Connected));
        let primary = Some(("10.0.0.1".into(), 7001));
        assert_eq!(task(&shell, replica_of, "REPLICAOF 10.0.0.1 7001"), Ok(Task::ReplicaOf(primary)));
        assert_eq!(task(&shell, replica_of, "REPLICAOF no ONE"), Ok(Task::ReplicaOf(None)));
        for bad in ["REPLICAOF a x", "REPLICAOF a 65536", "REPLICAOF no two"] {
            assert_eq!(task(&shell, replica_of, bad), Err("ERR Invalid master port".to_owned()), "{bad}");
        }
        let waits = Task::Wait { replicas: -1, timeout_ms: 5 };
        assert_eq!(task(&shell, wait, "WAIT -1 5"), Ok(waits));
        let waits = Task::WaitAof { local: true, replicas: 2, timeout_ms: 0 };
        assert_eq!(task(&shell, wait_aof, "WAITAOF 1 2 0"), Ok(waits));
        for (line, why) in [
            ("WAIT x 0", "ERR value is not an integer or out of range"),
            ("WAIT 0 x", "ERR timeout is not an integer or out of range"),
            ("WAIT 0 -1", "ERR timeout is negative"),
            ("WAIT 0 9223372036854775807", "ERR timeout is out of range"),
        ] {
            assert_eq!(task(&shell, wait, line), Err(why.to_owned()), "{line}");
        }
        for (line, why) in [
            ("WAITAOF 2 0 0", "ERR value is out of range, value must between 0 and 1"),
            ("WAITAOF 0 -1 0", "ERR value is out of range, must be positive"),
        ] {
            assert_eq!(task(&shell, wait_aof, line), Err(why.to_owned()), "{line}");
        }
        let refused = task(&follower, wait, "WAIT x 0").unwrap_err();
        assert!(refused.starts_with("ERR WAIT cannot be used with replica instances."), "{refused}");
        let refused = task(&follower, wait_aof, "WAITAOF 0 0 0").unwrap_err();
        assert!(refused.starts_with("ERR WAITAOF cannot be used with replica instances."), "{refused}");
    }

    #[test]
    fn within_exec_waiting_tells_what_is_known() {
        let mut node = Shell::new(1).cores[0].node.clone();
        node.replication.offset = 10;
        node.replication.replicas =
            vec![replica(ReplicaState::Online, 10, 0), replica(ReplicaState::Online, 9, 0)];
        let mut out = Vec::new();
        Task::Wait { replicas: 2, timeout_ms: 0 }.reply_at_once(&node, &mut Reply::new(&mut out, false));
        assert_eq!(out, b":1\r\n");
    }

    #[test]
    fn a_primary_tells_of_its_replicas() {
        let mut shell = Shell::new(1);
        assert_eq!(shell.run("ROLE"), "*3|$6|master|:0|*0|");
        let facts = &mut shell.cores[0].node.replication;
        (facts.offset, facts.backlog_active, facts.backlog_first, facts.backlog_length) = (60, true, 1, 60);
        (facts.full_syncs, facts.partial_syncs, facts.partial_refused) = (3, 2, 1);
        facts.replicas = vec![replica(ReplicaState::Online, 55, 1), replica(ReplicaState::WaitBgsave, 0, 0)];
        shell.run("CONFIG SET min-replicas-to-write 1");
        assert_eq!(shell.run("ROLE"), "*3|$6|master|:60|*1|*3|$8|10.0.0.2|$4|7002|$2|55|");
        let info = shell.run("INFO replication");
        let (id, none) = ("e".repeat(40), "0".repeat(40));
        let lines = format!(
            "role:master|connected_slaves:2|min_slaves_good_slaves:1|\
             slave0:ip=10.0.0.2,port=7002,state=online,offset=55,lag=1,lag_bytes=45,lag_ms=7|\
             slave1:ip=10.0.0.2,port=7002,state=wait_bgsave,offset=0,lag=0,lag_bytes=100,lag_ms=7|\
             master_failover_state:no-failover|\
             master_replid:{id}|master_replid2:{none}|master_repl_offset:60|second_repl_offset:-1|\
             repl_backlog_active:1|repl_backlog_size:10485760|repl_backlog_first_byte_offset:1|\
             repl_backlog_histlen:60|"
        );
        assert!(info.contains(&lines), "{info}");
        assert!(shell.run("INFO stats").contains("|sync_full:3|sync_partial_ok:2|sync_partial_err:1|"));
    }

    #[test]
    fn a_replica_tells_of_its_primary() {
        let mut up = follower(Link::Connected);
        assert_eq!(up.run("ROLE"), "*5|$5|slave|$8|10.0.0.1|:7001|$9|connected|:50|");
        let info = up.run("INFO replication");
        let lines = "role:slave|master_host:10.0.0.1|master_port:7001|master_link_status:up|\
                     master_last_io_seconds_ago:1|master_sync_in_progress:0|slave_read_repl_offset:50|\
                     slave_repl_offset:50|slave_priority:100|slave_read_only:1|replica_announced:1|\
                     connected_slaves:0|";
        assert!(info.contains(lines), "{info}");
        assert!(up.run("HELLO").contains("|$4|role|$7|replica|"));
        let mut syncing = follower(Link::Sync);
        let primary = syncing.cores[0].node.replication.primary.as_mut().unwrap();
        (primary.sync_read, primary.sync_total) = (50, 200);
        assert_eq!(syncing.run("ROLE"), "*5|$5|slave|$8|10.0.0.1|:7001|$4|sync|:-1|");
        let info = syncing.run("INFO replication");
        let lines = "master_sync_total_bytes:200|master_sync_read_bytes:50|master_sync_left_bytes:150|\
                     master_sync_perc:25.00|master_sync_last_io_seconds_ago:1|master_link_down_since_seconds:10|";
        assert!(info.contains(lines) && info.contains("|master_link_status:down|"), "{info}");
    }
}
