//! The primary's end of its links, event by event.

use super::*;

const ID: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn bounds() -> Bounds {
    Bounds {
        backlog_ttl_ms: 5000,
        backlog: 100,
        most_kept: 1000,
        timeout_ms: 60_000,
        ping_ms: 10_000,
        diskless: true,
        delay_ms: 0,
        most_waiting: 0,
        most_lag_ms: 10_000,
    }
}

fn primary() -> Primary {
    Primary::new(History::new(ID.to_owned()), bounds())
}

fn ask(primary: &mut Primary, id: ReplicaId, replid: &str, offset: i64, stream: (u64, Option<u64>)) {
    let request = SyncRequest::Partial { replid: replid.into(), offset };
    let identity = ReplicaIdentity { port: 7000, ip: None, eof: true, psync2: true };
    primary.admit(id, ("127.0.0.1:5000".into(), request, identity), stream, 0);
}

/// All that a replica is sent, each send ending at once.
fn sends(primary: &mut Primary, id: ReplicaId) -> String {
    let mut all = Vec::new();
    while let Some(next) = primary.next_send(id) {
        let Next::Send(bytes) = next else { panic!("{next:?}") };
        all.extend(bytes);
        primary.sent(id, 0);
    }
    String::from_utf8(all).expect("text")
}

fn ack(primary: &mut Primary, id: ReplicaId, offset: u64, now: u64) {
    let digits = offset.to_string();
    let line = format!("*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n${}\r\n{digits}\r\n", digits.len());
    // In two pieces, as a network may deliver it.
    let (head, tail) = line.as_bytes().split_at(line.len() / 2);
    primary.received(id, head, now);
    primary.received(id, tail, now);
}

#[test]
fn one_walk_serves_all_who_wait_and_the_stream_follows_their_acknowledgement() {
    let mut primary = primary();
    ask(&mut primary, 1, "?", -1, (50, None));
    ask(&mut primary, 2, "?", -1, (50, None));
    assert!(primary.wants_walk(0) && !primary.is_active());
    primary.begin_walk("m".repeat(40));
    assert!(!primary.wants_walk(0) && !primary.takes_piece());
    primary.append(b"before", false);
    primary.walk_at(55, 50, 0);
    primary.append(b"12345after", false);
    assert!(!primary.takes_piece(), "they have yet to be told");
    let told = format!("+FULLRESYNC {ID} 55\r\n$EOF:{}\r\n", "m".repeat(40));
    assert_eq!(sends(&mut primary, 1), told);
    assert!(!primary.takes_piece());
    assert_eq!(sends(&mut primary, 2), told);
    assert!(primary.takes_piece());
    primary.piece(b"RDB".to_vec());
    assert_eq!(sends(&mut primary, 2), "RDB");
    assert!(!primary.takes_piece(), "the slower one sets the pace");
    assert_eq!(sends(&mut primary, 1), "RDB");
    assert!(primary.takes_piece());
    // Who comes now waits for the next walk.
    ask(&mut primary, 3, "?", -1, (60, None));
    primary.end_walk();
    assert_eq!(sends(&mut primary, 1), "m".repeat(40), "and nothing of the stream yet");
    assert!(primary.wants_walk(0));
    ack(&mut primary, 1, 55, 5);
    assert_eq!(sends(&mut primary, 1), "after");
    assert_eq!((primary.acked(55), primary.acked(56)), (1, 0));
    ack(&mut primary, 1, 60, 5);
    assert_eq!((primary.acked(60), primary.full_syncs), (1, 2));
    let states: Vec<_> = primary.facts(5).iter().map(|replica| replica.state).collect();
    assert_eq!(states, [ReplicaState::Online, ReplicaState::SendBulk, ReplicaState::WaitBgsave]);
}

#[test]
fn who_knows_enough_goes_on_where_it_was() {
    let mut primary = primary();
    ask(&mut primary, 1, ID, 51, (50, Some(20)));
    assert_eq!(sends(&mut primary, 1), format!("+CONTINUE {ID}\r\n"));
    primary.append(b"more", true);
    assert_eq!(sends(&mut primary, 1), "more");
    // The files have the rest, from offset 20 on.
    ask(&mut primary, 2, ID, 31, (54, Some(20)));
    assert_eq!(sends_line(&mut primary, 2), format!("+CONTINUE {ID}\r\n"));
    assert_eq!(primary.next_send(2), Some(Next::Read { from: 30, most: PIECE }));
    assert_eq!(primary.read(2, Ok(Vec::new())), None, "not there yet");
    assert_eq!(primary.next_send(2), Some(Next::Read { from: 30, most: PIECE }));
    assert_eq!(primary.read(2, Ok(vec![b'x'; 22])), Some(vec![b'x'; 22]));
    primary.sent(2, 0);
    assert_eq!(sends(&mut primary, 2), "re");
    for (id, replid, offset) in [(3, ID, 20), (4, ID, 56), (5, "b", 51), (6, ID, -1), (7, ID, 0)] {
        ask(&mut primary, id, replid, offset, (54, Some(20)));
        assert_eq!(sends(&mut primary, id), "", "{replid} {offset}");
    }
    assert_eq!((primary.partial_syncs, primary.partial_refused), (2, 5));
}

fn sends_line(primary: &mut Primary, id: ReplicaId) -> String {
    let Some(Next::Send(line)) = primary.next_send(id) else { panic!("a line is due") };
    primary.sent(id, 0);
    String::from_utf8(line).expect("text")
}

#[test]
fn memory_for_those_behind_is_bounded() {
    let mut primary = primary();
    ask(&mut primary, 1, ID, 1, (0, Some(0)));
    sends(&mut primary, 1);
    for _ in 0..50 {
        primary.append(&[b'x'; 10], false);
    }
    // 500 bytes behind, and nothing else has them.
    let Some(Next::Send(bytes)) = primary.next_send(1) else { panic!("it is kept") };
    assert_eq!(bytes.len(), 500);
    for _ in 0..200 {
        primary.append(&[b'x'; 10], false);
    }
    primary.sent(1, 0);
    assert_eq!(primary.next_send(1), Some(Next::Read { from: 500, most: PIECE }));
    assert_eq!(primary.read(1, Err("lost".to_owned())), None);
    assert_eq!(primary.leaving(), [(1, "lost".to_owned())]);
    primary.gone(1);
    primary.append(b"x", false);
    assert!(primary.backlog().is_some_and(|backlog| backlog.memory() <= 200));
}

#[test]
fn the_silent_are_left_and_the_waiting_kept_alive() {
    let mut primary = primary();
    ask(&mut primary, 1, ID, 1, (0, Some(0)));
    ask(&mut primary, 2, "?", -1, (0, Some(0)));
    sends(&mut primary, 1);
    assert!(!primary.tick(1));
    assert!(primary.tick(10_000), "the stream gets a ping");
    assert!(!primary.tick(10_100));
    assert_eq!(sends(&mut primary, 2), "\n");
    assert_eq!((primary.good(10_000), primary.good(10_001)), (1, 0));
    ack(&mut primary, 1, 0, 30_000);
    primary.sent(2, 61_000);
    primary.tick(90_000);
    assert!(primary.leaving().is_empty());
    primary.tick(90_001);
    let left: Vec<_> = primary.leaving().into_iter().map(|(id, _)| id).collect();
    assert_eq!(left, [1]);
}

#[test]
fn garbage_ends_the_link() {
    for garbage in [&b"*1\r\n$99999999\r\n"[..], b"*x\r\n", &[b'x'; 100_000]] {
        let mut primary = primary();
        ask(&mut primary, 1, ID, 1, (0, Some(0)));
        sends(&mut primary, 1);
        primary.received(1, garbage, 0);
        assert_eq!(primary.leaving().len(), 1, "{:?}", &garbage[..10]);
    }
    let mut primary = primary();
    ask(&mut primary, 1, ID, 1, (0, Some(0)));
    primary.received(1, b"PING\r\nREPLCONF ACK x\r\nREPLCONF ACK\r\nREPLCONF ACK -5\r\n", 0);
    assert_eq!((primary.leaving().len(), primary.acked(1)), (0, 0));
}

#[test]
fn a_walk_nobody_waits_for_is_not_wanted() {
    let mut primary = primary();
    ask(&mut primary, 1, "?", -1, (0, None));
    primary.begin_walk("m".repeat(40));
    assert!(primary.is_walk_wanted());
    primary.walk_at(0, 0, 0);
    assert!(primary.is_walk_wanted());
    ask(&mut primary, 2, "?", -1, (0, None));
    primary.gone(1);
    assert!(!primary.is_walk_wanted());
    primary.abandon_walk();
    assert!(primary.wants_walk(0) && primary.leaving().is_empty());
}

#[test]
fn who_is_left_is_left_once_and_sent_nothing_more() {
    let mut primary = primary();
    ask(&mut primary, 1, ID, 1, (0, Some(0)));
    sends(&mut primary, 1);
    primary.append(b"first", true);
    assert_eq!(primary.next_send(1), Some(Next::Send(b"first".to_vec())));
    primary.append(b"second", true);
    // It stands still amid that send.
    primary.tick(60_001);
    primary.tick(60_002);
    primary.begin_anew(History::new("b".repeat(40)));
    assert_eq!(primary.next_send(1), None);
    assert_eq!(primary.leaving().len(), 1);
}

#[test]
fn who_is_left_gets_no_newline_and_no_mark() {
    let mut primary = primary();
    for id in [1, 2, 3] {
        ask(&mut primary, id, "?", -1, (0, None));
    }
    primary.begin_walk("m".repeat(40));
    primary.walk_at(0, 0, 0);
    ask(&mut primary, 4, "?", -1, (0, None));
    for id in [1, 2, 3] {
        assert!(primary.next_send(id).is_some(), "and it stays on its way");
    }
    primary.tick(2000);
    assert!(primary.next_send(4).is_some(), "a newline, and it stays on its way");
    primary.sent(3, 60_000);
    primary.tick(70_000);
    primary.end_walk();
    primary.tick(80_000);
    for id in [1, 2, 4] {
        assert_eq!(primary.next_send(id), None);
    }
    assert_eq!((primary.next_send(3).is_some(), primary.leaving().len()), (true, 3));
}

#[test]
fn a_new_name_is_told_to_all_who_follow() {
    let mut primary = primary();
    ask(&mut primary, 1, ID, 1, (0, Some(0)));
    sends(&mut primary, 1);
    primary.append(b"old", true);
    // What it would be sent from here on it would take for the old history, which may go on elsewhere.
    primary.rename("b".repeat(40), 3);
    primary.append(b"new", true);
    assert_eq!(primary.next_send(1), None);
    assert_eq!(primary.leaving().len(), 1);
    primary.gone(1);
    ask(&mut primary, 2, ID, 4, (6, Some(0)));
    assert_eq!(sends(&mut primary, 2), format!("+CONTINUE {}\r\nnew", "b".repeat(40)));
    ask(&mut primary, 3, ID, 5, (6, Some(0)));
    assert_eq!(primary.partial_refused, 1);
}

#[test]
fn only_what_a_replica_says_and_can_have_counts_as_acknowledged() {
    let mut primary = primary();
    primary.append(b"", true);
    ask(&mut primary, 1, ID, 51, (50, Some(0)));
    assert_eq!(primary.acked(50), 0, "it has received so much, and perhaps not applied it");
    ack(&mut primary, 1, 40, 0);
    assert_eq!((primary.acked(40), primary.acked(41)), (1, 0));
    ack(&mut primary, 1, 1000, 0);
    assert_eq!((primary.acked(50), primary.acked(51)), (1, 0), "it has not been sent more");
}

/// Replicas 1 and 2 get the same walk, whose first piece is due to both.
fn two_share_a_walk() -> Primary {
    let mut primary = primary();
    ask(&mut primary, 1, "?", -1, (0, None));
    ask(&mut primary, 2, "?", -1, (0, None));
    primary.begin_walk("m".repeat(40));
    primary.walk_at(0, 0, 0);
    sends(&mut primary, 1);
    sends(&mut primary, 2);
    primary.piece(b"RDB".to_vec());
    primary
}

#[test]
fn who_keeps_others_waiting_is_left_soon() {
    let mut primary = two_share_a_walk();
    assert!(primary.next_send(1).is_some() && primary.next_send(2).is_some(), "and both stay on their way");
    primary.tick(20_000);
    assert_eq!(primary.leaving(), [], "nobody waits for the other");
    primary.sent(1, 20_000);
    primary.tick(20_001);
    let left: Vec<_> = primary.leaving().into_iter().map(|(id, _)| id).collect();
    assert_eq!(left, [2]);
    primary.gone(2);
    assert!(primary.takes_piece());
}

fn old(primary: &mut Primary, id: ReplicaId, request: SyncRequest) {
    primary.admit(id, ("127.0.0.1:5000".into(), request, ReplicaIdentity::default()), (50, None), 0);
}

#[test]
fn who_cannot_do_without_a_length_is_sent_a_file_at_its_own_pace() {
    let mut primary = primary();
    ask(&mut primary, 1, "?", -1, (50, None));
    old(&mut primary, 2, SyncRequest::Partial { replid: "?".into(), offset: -1 });
    old(&mut primary, 3, SyncRequest::Full);
    assert!(!primary.begin_walk("m".repeat(40)), "one file for all");
    primary.walk_at(55, 50, 0);
    primary.append(b"12345after", false);
    let told = format!("+FULLRESYNC {ID} 55\r\n");
    assert_eq!([1, 2, 3].map(|id| sends(&mut primary, id)), [told.as_str(), &told, ""]);
    primary.tick(1000);
    assert_eq!([1, 2, 3].map(|id| sends(&mut primary, id)), ["\n", "\n", "\n"], "it takes its time");
    assert!(primary.is_walk_wanted() && !primary.needs_file(7));
    primary.end_file(7, 300_000);
    for id in [1, 2, 3] {
        assert_eq!(sends_line(&mut primary, id), "$300000\r\n");
    }
    for (from, most) in [(0, PIECE), (PIECE as u64, 300_000 - PIECE)] {
        assert_eq!(primary.next_send(3), Some(Next::ReadFile { walk: 7, from, most }));
        assert_eq!(primary.next_send(3), None);
        assert!(primary.read(3, Ok(vec![b'x'; most])).is_some());
        primary.sent(3, 2000);
    }
    assert_eq!(sends(&mut primary, 3), "after", "it never acknowledges");
    assert!(primary.needs_file(7), "the others have yet to read it");
    primary.gone(1);
    assert!(primary.next_send(2).is_some());
    primary.read(2, Ok(Vec::new()));
    assert_eq!((primary.needs_file(7), primary.leaving().len()), (false, 1), "the file is short");
}

#[test]
fn who_waits_for_a_walk_sets_when_it_begins() {
    let mut primary = primary();
    let delayed = Bounds { delay_ms: 5000, most_waiting: 2, ..bounds() };
    primary.set_bounds(delayed);
    ask(&mut primary, 1, "?", -1, (0, None));
    assert!(!primary.wants_walk(4999) && primary.wants_walk(5000));
    ask(&mut primary, 2, "?", -1, (0, None));
    assert!(primary.wants_walk(0), "enough wait");
    primary.gone(2);
    primary.set_bounds(Bounds { diskless: false, ..delayed });
    assert!(primary.wants_walk(0), "a file serves whoever comes");
    // Who comes late to a walk and cannot take its pieces waits for the next.
    primary.set_bounds(bounds());
    assert!(primary.begin_walk("m".repeat(40)));
    old(&mut primary, 3, SyncRequest::Full);
    primary.walk_at(0, 0, 0);
    assert_eq!(sends(&mut primary, 3), "");
    primary.end_walk();
    assert!(primary.wants_walk(0));
}

#[test]
fn who_waits_for_a_slower_one_is_not_silent() {
    let mut primary = two_share_a_walk();
    sends(&mut primary, 1);
    assert!(primary.next_send(2).is_some(), "and it stays on its way");
    primary.tick(60_001);
    let left: Vec<_> = primary.leaving().into_iter().map(|(id, _)| id).collect();
    assert_eq!(left, [2]);
}

#[test]
fn the_stream_is_forgotten_long_after_the_last_replica_has_gone() {
    let mut primary = Primary::new(History::new("a".repeat(40)), bounds());
    assert!(!primary.is_forsaken(true, 0), "there is nothing to forget");
    primary.keep_stream(10);
    for (now, leads) in [(0, true), (5000, true), (5001, false), (5002, true), (10_002, true)] {
        assert!(!primary.is_forsaken(leads, now), "{now}");
    }
    assert!(primary.is_forsaken(true, 10_003));
    primary.drop_backlog();
    assert!(!primary.is_forsaken(true, 20_000) && !primary.is_active());
}
