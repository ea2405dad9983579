//! Sessions that wait for the log core, and those that go to it as replicas.

use super::simulation::Sequence;
use super::{HandOver, Machine, Peer};
use crate::commands::{Ask, ClientFlags, Core, Data, NodeFacts, ReplicaIdentity, SyncRequest, Task};
use crate::config::Settings;
use crate::keyspace::{KeyHasher, Keyspace, Ring};
use crate::shard::Shard;
use crate::transaction::{Late, Message};

/// A core alone, with one client.
fn machine() -> (Machine, usize) {
    let ring = Ring::new(1);
    let data = Data::new(Keyspace::new(16, ring.slots(0), KeyHasher::new(7)), 3);
    let facts = NodeFacts { shards: 1, ..NodeFacts::default() };
    let mut core = Core::new(0, Settings::default(), facts, || 0);
    core.now = 1_000_000;
    let mut machine = Machine::new(core, Shard::new(data), ring, Box::new(Sequence::default()));
    let peer = Peer { fd: 0, addr: "10.0.0.2:5".into(), laddr: "10.0.0.1:6379".into(), unix: false };
    let key = machine.connect(peer);
    (machine, key)
}

/// All output, sent and reported as sent.
fn output(machine: &mut Machine, key: usize) -> String {
    let mut all = Vec::new();
    machine.finish_turn();
    while let Some(buffer) = machine.take_output(key) {
        all.extend_from_slice(&buffer);
        machine.sent(key, buffer);
        machine.finish_turn();
    }
    String::from_utf8(all).unwrap()
}

fn left(machine: &mut Machine) -> Option<HandOver> {
    let mut all = std::mem::take(&mut machine.actions.hand_over);
    assert!(all.len() < 2);
    all.pop()
}

#[test]
fn a_replica_is_handed_over_once_its_replies_have_left() {
    let (mut machine, key) = machine();
    machine.received(key, b"REPLCONF listening-port 7002 capa psync2\r\nPSYNC ? -1\r\nSET a b\r\n");
    machine.received(key, b"SET a b\r\n");
    machine.finish_turn();
    assert!(left(&mut machine).is_none() && machine.sessions() == 1, "a reply is under way");
    assert_eq!(output(&mut machine, key), "+OK\r\n");
    let gone = left(&mut machine).expect("it is to be handed over");
    assert_eq!((gone.key, &*gone.client.addr), (key, "10.0.0.2:5"));
    assert_eq!(gone.request, SyncRequest::Partial { replid: "?".into(), offset: -1 });
    let identity = ReplicaIdentity { port: 7002, psync2: true, ..ReplicaIdentity::default() };
    assert_eq!(gone.client.replica.as_deref(), Some(&identity));
    assert_eq!((machine.sessions(), machine.core.clients.len()), (0, 0));
    assert!(machine.actions.close.is_empty());
    assert_eq!(machine.shard.data.keyspace.len(0), 0, "nothing runs behind PSYNC");
    // Late news of the connection concern nobody.
    machine.received(key, b"PING\r\n");
    machine.hung_up(key);
}

#[test]
fn one_who_asks_for_nothing_else_leaves_at_once() {
    let (mut machine, key) = machine();
    machine.received(key, b"SYNC\r\n");
    assert_eq!(left(&mut machine).map(|gone| gone.request), Some(SyncRequest::Full));
    assert_eq!(machine.sessions(), 0);
}

#[test]
fn one_who_is_gone_before_is_closed() {
    let (mut machine, key) = machine();
    machine.received(key, b"PING\r\nSYNC\r\n");
    machine.hung_up(key);
    assert_eq!(output(&mut machine, key), "+PONG\r\n");
    assert!(left(&mut machine).is_none());
    assert_eq!(machine.actions.close, [key]);
}

#[test]
fn a_refused_replica_stays_a_client() {
    let (mut machine, key) = machine();
    machine.received(key, b"PSYNC ? x\r\nMULTI\r\nSYNC\r\nDISCARD\r\nPING\r\n");
    let replies = output(&mut machine, key);
    let multi = "-ERR Command not allowed inside a transaction";
    let wanted =
        format!("-ERR value is not an integer or out of range\r\n+OK\r\n{multi}\r\n+OK\r\n+PONG\r\n");
    assert_eq!(replies, wanted);
    assert!(left(&mut machine).is_none() && machine.sessions() == 1);
}

/// The one task asked for, and where its reply belongs.
fn asked(machine: &mut Machine) -> (Task, u64, u64) {
    let mut asks = std::mem::take(&mut machine.core.asks);
    let Some(Ask { task, reply_to: Some((session, reply)) }) = asks.pop() else { panic!("nothing asked") };
    assert!(asks.is_empty());
    (task, session, reply)
}

#[test]
fn a_session_that_waits_runs_nothing_else() {
    let (mut machine, key) = machine();
    machine.received(key, b"SET a 1\r\nWAIT 1 0\r\nSET a 2\r\n");
    let (task, session, reply) = asked(&mut machine);
    assert_eq!(task, Task::Wait { replicas: 1, timeout_ms: 0 });
    assert_eq!(output(&mut machine, key), "+OK\r\n");
    assert!(machine.core.clients[key].describe(0).contains(" flags=b "));
    machine.received(key, b"GET a\r\n");
    assert_eq!(output(&mut machine, key), "");
    machine.message(0, Message::Late(Late { session, reply, bytes: b":1\r\n".to_vec(), last: false }));
    assert_eq!(output(&mut machine, key), ":1\r\n+OK\r\n$1\r\n2\r\n");
    assert!(machine.core.clients[key].describe(0).contains(" flags=N "));
}

#[test]
fn a_client_that_goes_waits_no_longer() {
    let (mut machine, key) = machine();
    machine.received(key, b"WAITAOF 0 1 0\r\n");
    let (_, session, reply) = asked(&mut machine);
    machine.hung_up(key);
    assert_eq!(asked(&mut machine), (Task::GiveUp, session, reply));
    assert_eq!((machine.actions.close.as_slice(), machine.sessions()), (&[key][..], 0));
}

#[test]
fn what_was_queued_before_the_server_became_a_replica_is_refused() {
    let (mut machine, key) = machine();
    machine.received(key, b"MULTI\r\nSET a b\r\n");
    assert_eq!(output(&mut machine, key), "+OK\r\n+QUEUED\r\n");
    machine.core.replica = true;
    machine.received(key, b"EXEC\r\nMULTI\r\nGET a\r\nEXEC\r\nMULTI\r\nSET a b\r\nEXEC\r\n");
    let readonly = "READONLY You can't write against a read only replica.";
    let wanted = format!(
        "-EXECABORT Transaction discarded because of: {readonly}\r\n+OK\r\n+QUEUED\r\n*1\r\n$-1\r\n+OK\r\n\
         -{readonly}\r\n-EXECABORT Transaction discarded because of previous errors.\r\n"
    );
    assert_eq!(output(&mut machine, key), wanted);
}

#[test]
fn on_a_replica_nothing_expires_nor_fails_for_memory() {
    let (mut machine, key) = machine();
    machine.received(key, b"CONFIG SET maxmemory 1\r\n");
    assert_eq!(output(&mut machine, key), "+OK\r\n");
    machine.core.replica = true;
    machine.open_applier();
    machine.begin_turn(1_000_000_000, 100);
    machine.apply(b"SET a b PXAT 1000001\r\nREPLCONF GETACK *\r\n");
    machine.begin_turn(1_000_005_000, 100);
    let upkeep = machine.upkeep();
    assert_eq!((machine.shard.data.keyspace.len(0), upkeep.next_due), (1, None));
    machine.received(key, b"GET a\r\n");
    assert_eq!(output(&mut machine, key), "$-1\r\n");
    machine.received(key, b"WATCH a\r\nMULTI\r\nGET a\r\nEXEC\r\n");
    assert_eq!(output(&mut machine, key), "+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n$-1\r\n");
    machine.apply(b"APPEND a c\r\nPERSIST a\r\n");
    machine.received(key, b"GET a\r\n");
    assert_eq!(output(&mut machine, key), "$2\r\nbc\r\n");
    assert_eq!(machine.apply_failure, None);
    machine.apply(b"PUBLISH a b\r\nMULTI\r\nPUBLISH a b\r\nEXEC\r\n");
    assert_eq!(machine.apply_failure, None, "of no consequence to the data");
    for (line, failure) in [
        ("SYNC", "it asks for replication"),
        ("NEW a", "unknown command 'NEW'"),
        ("INCR a", "command 'INCR': ERR value is not an integer or out of range"),
        ("SELECT 99", "command 'SELECT': ERR DB index is out of range"),
        ("MULTI\r\nSET b c\r\nINCR a\r\nEXEC", "command 'INCR': ERR value is not an integer or out of range"),
    ] {
        machine.apply(format!("{line}\r\n").as_bytes());
        machine.finish_turn();
        assert_eq!(machine.apply_failure.take().as_deref(), Some(failure));
    }
    // A file is loaded whatever its commands reply.
    machine.core.replica = false;
    machine.apply(b"INCR a\r\n");
    assert_eq!(machine.apply_failure, None);
}

#[test]
fn writes_wait_for_the_end_of_a_pause_and_nothing_else_does() {
    let (mut machine, key) = machine();
    let peer = Peer { fd: 1, addr: "10.0.0.3:5".into(), laddr: "10.0.0.1:6379".into(), unix: false };
    let other = machine.connect(peer);
    machine.received(key, b"SET a 1\r\nMULTI\r\nSET a 2\r\n");
    machine.received(other, b"WATCH b\r\n");
    assert_eq!(output(&mut machine, key), "+OK\r\n+OK\r\n+QUEUED\r\n");
    assert_eq!(output(&mut machine, other), "+OK\r\n");
    machine.pause_writes(7);
    machine.finish_turn();
    assert_eq!((machine.take_quiet(), machine.take_quiet()), (Some(7), None));
    machine.received(key, b"EXEC\r\nGET a\r\n");
    machine.received(other, b"SET a\r\nGET a\r\nDEL a\r\nGET a\r\n");
    assert_eq!(output(&mut machine, key), "");
    let refused = "-ERR wrong number of arguments for 'set' command\r\n$1\r\n1\r\n";
    assert_eq!(output(&mut machine, other), refused);
    assert!(machine.core.clients[key].is(ClientFlags::BLOCKED));
    machine.resume_writes();
    machine.finish_turn();
    let (first, second) = (output(&mut machine, key), output(&mut machine, other));
    assert!(first.starts_with("*1\r\n+OK\r\n$") && second == ":1\r\n$-1\r\n", "{first}{second}");
    assert!(!machine.core.clients[key].is(ClientFlags::BLOCKED));
    // Who hangs up does not wait.
    machine.pause_writes(8);
    machine.received(other, b"SET a 3\r\n");
    machine.hung_up(other);
    assert_eq!(machine.actions.close, [other]);
    // A pause that has ended is never quiet.
    machine.resume_writes();
    machine.finish_turn();
    assert_eq!(machine.take_quiet(), None);
}

#[test]
fn clients_wait_for_what_client_pause_says_and_as_long() {
    let (mut machine, key) = machine();
    let peer = Peer { fd: 1, addr: "10.0.0.3:5".into(), laddr: "10.0.0.1:6379".into(), unix: false };
    let other = machine.connect(peer);
    machine.begin_turn(1_000_000, 0);
    machine.received(key, b"CLIENT PAUSE 50 WRITE\r\nSET a 1\r\n");
    machine.finish_turn();
    machine.received(other, b"GET a\r\nSET b 1\r\n");
    assert_eq!(
        (output(&mut machine, key).as_str(), output(&mut machine, other).as_str()),
        ("+OK\r\n", "$-1\r\n")
    );
    assert_eq!(machine.upkeep().next_due, Some(1050));
    machine.begin_turn(1_049_000, 0);
    machine.finish_turn();
    assert_eq!(output(&mut machine, key), "");
    machine.begin_turn(1_050_000, 0);
    machine.finish_turn();
    assert_eq!(output(&mut machine, key), "+OK\r\n");
    assert_eq!(output(&mut machine, other), "+OK\r\n");
    // Under ALL everything waits, UNPAUSE too; under WRITE it does not, and what waited goes on in the same turn.
    machine.received(key, b"CLIENT PAUSE 50\r\nGET a\r\n");
    machine.finish_turn();
    machine.received(other, b"CLIENT UNPAUSE\r\n");
    machine.finish_turn();
    assert_eq!((output(&mut machine, key).as_str(), output(&mut machine, other).as_str()), ("+OK\r\n", ""));
    machine.begin_turn(1_100_000, 0);
    machine.finish_turn();
    let replies = (output(&mut machine, key), output(&mut machine, other));
    assert_eq!((replies.0.as_str(), replies.1.as_str()), ("$1\r\n1\r\n", "+OK\r\n"));
    machine.received(key, b"CLIENT PAUSE 50000 WRITE\r\nSET a 2\r\n");
    machine.finish_turn();
    machine.received(other, b"GET a\r\nCLIENT UNPAUSE\r\n");
    machine.finish_turn();
    assert_eq!(output(&mut machine, other), "$1\r\n1\r\n+OK\r\n");
    assert_eq!(output(&mut machine, key), "+OK\r\n+OK\r\n");
}
