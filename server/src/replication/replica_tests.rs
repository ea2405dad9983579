//! Scripted primaries, however their bytes are cut, and primaries that talk nonsense.

use proptest::prelude::*;

use super::*;

const ID_A: &str = "0123456789abcdef0123456789abcdef01234567";
const ID_B: &str = "89abcdef0123456789abcdef0123456789abcdef";
const MARK: &str = "feedfacefeedfacefeedfacefeedfacefeedface";

fn manners() -> Manners {
    Manners {
        user: String::new(),
        password: String::new(),
        listening_port: 7000,
        announce_ip: None,
        timeout_ms: 60_000,
    }
}

fn position(replid: &str, offset: u64) -> Position {
    Position { replid: replid.to_owned(), offset }
}

fn words(words: &[&str]) -> Vec<u8> {
    let bytes: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    command(&bytes)
}

fn ack(offset: u64) -> Action {
    Action::Send(words(&["REPLCONF", "ACK", &offset.to_string()]))
}

fn closed(why: &str) -> Action {
    Action::Disconnect { why: why.to_owned() }
}

fn drain(replica: &mut Replica) -> Vec<Action> {
    std::iter::from_fn(|| replica.next_action()).collect()
}

/// A replica that has just connected.
fn greeting(manners: Manners, position: Option<Position>) -> Replica {
    let mut replica = Replica::new(manners, position);
    assert_eq!((drain(&mut replica), replica.link()), (vec![Action::Connect], Link::Connecting));
    replica.connected(0);
    assert_eq!(drain(&mut replica), [Action::Send(words(&["PING"]))]);
    replica
}

/// One that has just sent PSYNC.
fn asking(position: Option<Position>) -> Replica {
    let mut replica = greeting(manners(), position);
    replica.received(b"+PONG\r\n+OK\r\n+OK\r\n", 0);
    assert_eq!(drain(&mut replica).len(), 2);
    replica
}

/// One that follows from offset 100 of ID_A on.
fn following() -> Replica {
    let mut replica = asking(Some(position(ID_A, 100)));
    replica.received(b"+CONTINUE\r\n", 0);
    assert_eq!(drain(&mut replica), [Action::Continue { replid: None }, ack(100)]);
    assert_eq!(replica.link(), Link::Connected);
    replica
}

/// What came out: pieces of one thing joined, and apart from it what was sent.
fn joined(actions: Vec<Action>) -> (Vec<Action>, Vec<u8>) {
    let (mut all, mut sent) = (Vec::new(), Vec::new());
    for action in actions {
        match (all.last_mut(), action) {
            (_, Action::Send(bytes)) => sent.extend(bytes),
            (Some(Action::Snapshot(before)), Action::Snapshot(bytes))
            | (Some(Action::Stream(before)), Action::Stream(bytes)) => before.extend(bytes),
            (_, action) => all.push(action),
        }
    }
    (all, sent)
}

/// All that comes of these bytes, in pieces that end at `cuts`, and where it leaves the replica.
fn play(known: Option<Position>, bytes: &[u8], cuts: &[usize]) -> (Vec<Action>, Vec<u8>, Option<Position>) {
    let mut replica = Replica::new(manners(), known);
    replica.connected(0);
    let mut actions = drain(&mut replica);
    let mut from = 0;
    for cut in cuts.iter().copied().chain([bytes.len()]) {
        replica.received(&bytes[from..cut], 0);
        actions.extend(drain(&mut replica));
        from = cut;
    }
    let (all, sent) = joined(actions);
    (all, sent, replica.position().cloned())
}

fn stream() -> Vec<u8> {
    [
        words(&["SELECT", "0"]),
        words(&["SET", "k", "*1\r\n$4\r\nEXEC\r\n"]),
        words(&["REPLCONF", "GETACK", "*"]),
        words(&["MULTI"]),
        words(&["SET", "a", "1"]),
        words(&["EXEC"]),
        words(&["PING"]),
    ]
    .concat()
}

fn by_length(snapshot: &[u8]) -> Vec<u8> {
    let head = format!(
        "\n+PONG\r\n+OK\r\n\n\n-ERR what?\r\n\n+FULLRESYNC {ID_A} 500\r\n\n\n${}\r\n",
        snapshot.len()
    );
    [head.as_bytes(), snapshot, &stream()].concat()
}

fn by_mark(snapshot: &[u8]) -> Vec<u8> {
    let head = format!("+PONG\r\n+OK\r\n+OK\r\n+FULLRESYNC {ID_A} 500\r\n\n$EOF:{MARK}\r\n");
    [head.as_bytes(), snapshot, MARK.as_bytes(), &stream()].concat()
}

fn partial() -> Vec<u8> {
    let head = format!("+PONG\r\n+OK\r\n+OK\r\n+CONTINUE {ID_B}\r\n");
    [head.as_bytes(), &stream()].concat()
}

#[test]
fn the_handshake_goes_step_by_step() {
    let manners =
        Manners { user: "u".into(), password: "p".into(), announce_ip: Some("10.0.0.1".into()), ..manners() };
    let mut replica = greeting(manners.clone(), Some(position(ID_A, 99)));
    replica.received(b"-NOAUTH Authentication required.\r\n", 0);
    let introduction = [
        words(&["AUTH", "u", "p"]),
        words(&["REPLCONF", "listening-port", "7000"]),
        words(&["REPLCONF", "ip-address", "10.0.0.1"]),
        words(&["REPLCONF", "capa", "eof", "capa", "psync2"]),
    ];
    assert_eq!(drain(&mut replica), [Action::Send(introduction.concat())]);
    replica.received(b"+OK\r\n-ERR one\r\n-ERR two\r\n", 0);
    assert_eq!(drain(&mut replica), []);
    replica.received(b"-ERR three\r\n", 0);
    assert_eq!(drain(&mut replica), [Action::Send(words(&["PSYNC", ID_A, "100"]))]);

    let mut replica = greeting(Manners { user: String::new(), ..manners }, None);
    replica.received(b"+PONG\r\n", 0);
    let Some(Action::Send(bytes)) = replica.next_action() else { panic!("an introduction") };
    assert!(bytes.starts_with(&words(&["AUTH", "p"])));
    replica.received(b"+OK\r\n+OK\r\n+OK\r\n+OK\r\n", 0);
    assert_eq!(drain(&mut replica), [Action::Send(words(&["PSYNC", "?", "-1"]))]);
}

#[test]
fn a_snapshot_of_known_size_and_the_first_acknowledgement_once_it_is_in() {
    let mut replica = asking(None);
    assert_eq!((replica.position(), replica.sync_total()), (None, -1));
    replica.received(format!("+FULLRESYNC {ID_A} 500\r\n\n").as_bytes(), 10);
    assert_eq!((drain(&mut replica), replica.link()), (vec![], Link::Sync));
    replica.tick(5000);
    assert_eq!(drain(&mut replica), [], "nothing is sent before the snapshot begins");
    replica.received(b"$8\r\nREDIS", 6000);
    let begin = Action::BeginFull { position: position(ID_A, 500), size: Some(8) };
    assert_eq!(drain(&mut replica), [begin, Action::Snapshot(b"REDIS".to_vec())]);
    assert_eq!((replica.sync_read(), replica.sync_total(), replica.position()), (5, 8, None));
    replica.applied(77);
    replica.tick(6999);
    assert_eq!(drain(&mut replica), []);
    replica.tick(7000);
    assert_eq!(drain(&mut replica), [Action::Send(b"\n".to_vec())]);
    replica.received(&[b"001", stream().as_slice()].concat(), 7000);
    assert_eq!(
        drain(&mut replica),
        [Action::Snapshot(b"001".to_vec()), Action::EndFull, Action::Stream(stream())]
    );
    let end = 500 + stream().len() as u64;
    assert_eq!((replica.position(), replica.link()), (Some(&position(ID_A, end)), Link::Sync));
    replica.tick(90_000);
    assert_eq!(drain(&mut replica), [Action::Send(b"\n".to_vec())], "the snapshot is being taken in");
    replica.applied(500);
    assert_eq!((drain(&mut replica), replica.link()), (vec![ack(500)], Link::Connected));
    replica.tick(90_999);
    assert_eq!(drain(&mut replica), []);
    replica.applied(end + 9);
    assert_eq!(
        drain(&mut replica),
        [ack(end)],
        "the primary has asked, and hears of no more than it has sent"
    );
    replica.tick(92_000);
    assert_eq!(drain(&mut replica), [ack(end)]);
    assert_eq!(replica.last_io_ms(), Some(7000));
}

#[test]
fn the_mark_ends_a_snapshot_of_unknown_size() {
    for snapshot in [&b""[..], b"x", &[0; 39], &MARK.as_bytes()[..39], &[b'f'; 5000]] {
        let mut replica = asking(None);
        replica.received(format!("+FULLRESYNC {ID_A} 500\r\n$EOF:{MARK}\r\n").as_bytes(), 0);
        let begin = Action::BeginFull { position: position(ID_A, 500), size: None };
        assert_eq!(drain(&mut replica), [begin]);
        replica.received(snapshot, 0);
        replica.received(MARK.as_bytes(), 0);
        let mut expected = vec![Action::Snapshot(snapshot.to_vec()), Action::EndFull];
        expected.retain(|action| *action != Action::Snapshot(Vec::new()));
        assert_eq!(joined(drain(&mut replica)).0, expected);
        assert_eq!((replica.sync_read(), replica.sync_total()), (snapshot.len() as u64, -1));
        replica.applied(500);
        assert_eq!(drain(&mut replica), [ack(500)]);
    }
}

#[test]
fn an_empty_snapshot_ends_as_it_begins() {
    let mut replica = asking(None);
    replica.received(format!("+FULLRESYNC {ID_A} 0\r\n$0\r\n").as_bytes(), 0);
    let begin = Action::BeginFull { position: position(ID_A, 0), size: Some(0) };
    assert_eq!(drain(&mut replica), [begin, Action::EndFull]);
    assert_eq!(replica.position(), Some(&position(ID_A, 0)));
}

#[test]
fn a_history_goes_on_under_a_new_name() {
    let mut replica = asking(Some(position(ID_A, 100)));
    replica.received(format!("+CONTINUE {ID_B}\r\n").as_bytes(), 0);
    assert_eq!(drain(&mut replica), [Action::Continue { replid: Some(ID_B.to_owned()) }, ack(100)]);
    assert_eq!(replica.position(), Some(&position(ID_B, 100)));
    replica.disconnected("gone", 0);
    replica.tick(1000);
    replica.connected(1000);
    replica.received(format!("+PONG\r\n+OK\r\n+OK\r\n+CONTINUE {ID_B}\r\n").as_bytes(), 1000);
    assert_eq!(
        joined(drain(&mut replica)).0,
        [Action::Connect, Action::Continue { replid: None }],
        "the name is not new"
    );
}

#[test]
fn refusals_end_the_attempt_and_are_quoted() {
    let known = || Some(position(ID_A, 100));
    let full = format!("+PONG\r\n+OK\r\n+OK\r\n+FULLRESYNC {ID_A} 5\r\n");
    let asked = "+PONG\r\n+OK\r\n+OK\r\n";
    for (known, answers, why) in [
        (None, "-ERR no\r\n".to_owned(), "PING was answered by -ERR no"),
        (None, "+PONG\r\n$3\r\n".to_owned(), "REPLCONF was answered by $3"),
        (None, format!("{asked}-LOADING wait\r\n"), "PSYNC was answered by -LOADING wait"),
        (known(), format!("{asked}-NOMASTERLINK \x1b\n"), "PSYNC was answered by -NOMASTERLINK \\x1b"),
        (None, format!("{asked}+CONTINUE\r\n"), "the primary continues what it was not asked for"),
        (known(), format!("{asked}+CONTINUE x\r\n"), "no replication ID: +CONTINUE x"),
        (known(), format!("{asked}+CONTINUED\r\n"), "PSYNC was answered by +CONTINUED"),
        (
            None,
            format!("{asked}+FULLRESYNC ? -1\r\n"),
            "no position that could be followed: +FULLRESYNC ? -1",
        ),
        (None, format!("{full}-ERR disk\r\n"), "-ERR disk instead of a snapshot"),
        (None, format!("{full}$-1\r\n"), "$-1 instead of a snapshot"),
        (None, format!("{full}$99999999999999999999\r\n"), "$99999999999999999999 instead of a snapshot"),
        (None, format!("{full}$EOF:short\r\n"), "$EOF:short instead of a snapshot"),
        (None, "x".repeat(PRIMARY_LINE + 1), "an answer without an end"),
    ] {
        let mut replica = greeting(manners(), known.clone());
        replica.received(answers.as_bytes(), 50);
        assert_eq!(drain(&mut replica), [closed(why)]);
        assert_eq!((replica.link(), replica.position()), (Link::Connect, known.as_ref()));
        replica.disconnected("closed", 60);
        replica.received(b"late", 70);
        replica.tick(1049);
        assert_eq!(drain(&mut replica), []);
        replica.tick(1050);
        assert_eq!(drain(&mut replica), [Action::Connect]);
    }
}

#[test]
fn a_wrong_password_is_tried_again_with_the_settings_of_the_day() {
    let wrong = Manners { password: "wrong".into(), ..manners() };
    let mut replica = greeting(wrong, None);
    replica.received(b"-NOAUTH first\r\n", 0);
    assert_eq!(drain(&mut replica).len(), 1);
    replica.received(b"-WRONGPASS invalid\r\n-NOAUTH next\r\n-NOAUTH next\r\n", 0);
    assert_eq!(drain(&mut replica), [closed("AUTH was answered by -WRONGPASS invalid")]);
    replica.set_manners(Manners { password: "right".into(), ..manners() });
    replica.tick(1000);
    replica.connected(1000);
    replica.received(b"-NOAUTH first\r\n", 1000);
    let (_, sent) = joined(drain(&mut replica));
    assert!(sent.starts_with(&[words(&["PING"]), words(&["AUTH", "right"])].concat()));
}

#[test]
fn silence_ends_a_link_in_every_phase() {
    let late = [closed("silent for more than 60000 ms")];
    let mut replica = Replica::new(manners(), None);
    replica.tick(1000);
    replica.tick(61_000);
    assert_eq!(drain(&mut replica), [Action::Connect]);
    replica.tick(61_001);
    assert_eq!(drain(&mut replica), late, "no connection");
    let announced = format!("+FULLRESYNC {ID_A} 500\r\n");
    for answers in ["", announced.as_str(), &format!("{announced}$10\r\n")] {
        let mut replica = asking(None);
        replica.received(answers.as_bytes(), 0);
        replica.received(b"\n", 5000);
        replica.tick(65_000);
        assert_ne!(replica.link(), Link::Connect, "after {answers:?}");
        drain(&mut replica);
        replica.tick(65_001);
        assert_eq!(drain(&mut replica), late, "after {answers:?}");
    }
    let mut replica = following();
    replica.received(&words(&["PING"]), 5000);
    replica.tick(200_000);
    assert_eq!(replica.link(), Link::Connected, "what came last is yet to be applied");
    replica.applied(114);
    replica.tick(260_000);
    drain(&mut replica);
    replica.tick(260_001);
    assert_eq!(drain(&mut replica), late);
}

#[test]
fn what_a_disconnect_cuts_off_is_asked_for_again() {
    let mut replica = following();
    let unit = [words(&["MULTI"]), words(&["SET", "a", "1"]), words(&["EXEC"])].concat();
    let (half, _) = unit.split_at(unit.len() - 1);
    let ping = words(&["PING"]);
    replica.received(&[&ping, half].concat(), 0);
    assert_eq!(drain(&mut replica), [Action::Stream(ping)]);
    replica.applied(114);
    replica.disconnected("reset", 500);
    replica.disconnected("reset again", 1400);
    assert_eq!(replica.link(), Link::Connect);
    replica.tick(1500);
    replica.connected(1600);
    replica.received(b"+PONG\r\n+OK\r\n+OK\r\n", 1600);
    let (all, sent) = joined(drain(&mut replica));
    assert_eq!(all, [Action::Connect]);
    assert!(sent.ends_with(&words(&["PSYNC", ID_A, "115"])));
    replica.received(&[b"+CONTINUE\r\n", unit.as_slice()].concat(), 1600);
    assert_eq!(
        drain(&mut replica),
        [Action::Continue { replid: None }, ack(114), Action::Stream(unit)],
        "nothing of the half is left"
    );
}

#[test]
fn a_snapshot_that_is_cut_off_leaves_what_was_known_unless_that_is_given_up() {
    for (forgets, asked) in [(false, [ID_A, "101"]), (true, ["?", "-1"])] {
        let mut replica = asking(Some(position(ID_A, 100)));
        replica.received(format!("+FULLRESYNC {ID_B} 500\r\n").as_bytes(), 0);
        assert_eq!(replica.position(), Some(&position(ID_A, 100)), "nothing has changed yet");
        replica.received(b"$8\r\nREDIS", 0);
        drain(&mut replica);
        assert_eq!(replica.position(), None, "where the stream goes on is not known yet");
        if forgets {
            replica.forget();
        }
        replica.disconnected("reset", 0);
        assert_eq!(replica.position(), (!forgets).then_some(&position(ID_A, 100)));
        replica.tick(1000);
        replica.connected(1000);
        replica.received(b"+PONG\r\n+OK\r\n+OK\r\n", 1000);
        assert!(joined(drain(&mut replica)).1.ends_with(&words(&["PSYNC", asked[0], asked[1]])));
    }
}

/// A first snapshot is here but not loaded when another begins, which is cut off: to go on behind the first would be to
/// go on from a state that nobody has.
#[test]
fn a_snapshot_that_was_never_taken_in_is_not_what_was_known() {
    let mut replica = asking(Some(position(ID_A, 100)));
    let connect = |replica: &mut Replica, now| {
        replica.disconnected("reset", now);
        replica.tick(now + 1000);
        replica.connected(now + 1000);
        replica.received(b"+PONG\r\n+OK\r\n+OK\r\n", now + 1000);
        joined(drain(replica)).1
    };
    replica.received(format!("+FULLRESYNC {ID_B} 500\r\n$5\r\nREDIS").as_bytes(), 0);
    let asked = connect(&mut replica, 0);
    assert!(asked.ends_with(&words(&["PSYNC", ID_B, "501"])), "it is here, and is being taken in");
    replica.received(format!("+FULLRESYNC {ID_B} 900\r\n$5\r\nRED").as_bytes(), 1000);
    let asked = connect(&mut replica, 1000);
    assert!(asked.ends_with(&words(&["PSYNC", ID_A, "101"])));
    assert_eq!(replica.position(), Some(&position(ID_A, 100)));
}

#[test]
fn of_a_snapshot_that_is_declined_nothing_is_left() {
    let mut replica = asking(Some(position(ID_A, 100)));
    let ping = words(&["PING"]);
    replica.received(&[format!("+FULLRESYNC {ID_B} 500\r\n$5\r\nREDIS").as_bytes(), &ping].concat(), 0);
    assert!(matches!(replica.next_action(), Some(Action::BeginFull { .. })));
    replica.disconnected("the role changes", 0);
    replica.decline_snapshot();
    assert_eq!((drain(&mut replica), replica.position()), (vec![], Some(&position(ID_A, 100))));
    replica.decline_snapshot();
    assert_eq!(replica.position(), Some(&position(ID_A, 100)), "there was none to decline");
}

/// Every moment without the link takes something from what the primary keeps of the stream.
#[test]
fn a_link_that_held_is_taken_up_again_at_once() {
    for (ended, again) in [(999, 1999), (1000, 1000)] {
        let mut replica = following();
        replica.disconnected("reset", ended);
        replica.tick(again - 1);
        assert_eq!(drain(&mut replica), []);
        replica.tick(again);
        assert_eq!(drain(&mut replica), [Action::Connect]);
    }
}

#[test]
fn what_was_not_sent_does_not_reach_the_next_connection() {
    let mut replica = Replica::new(manners(), None);
    replica.connected(0);
    replica.disconnected("reset", 0);
    assert_eq!(drain(&mut replica), []);
    replica.tick(1000);
    assert_eq!(drain(&mut replica), [Action::Connect]);
}

#[test]
fn an_acknowledgement_that_is_asked_for_tells_of_all_that_was_written_before() {
    let getack = words(&["REPLCONF", "GETACK", "*"]);
    let ping = words(&["PING"]);
    let mut replica = following();
    replica.received(&getack, 0);
    assert_eq!(drain(&mut replica), [Action::Stream(getack.clone())]);
    replica.applied(137);
    assert_eq!(drain(&mut replica), [ack(137)], "a stream that ends here is known to be here whole");
    replica.received(&[ping.as_slice(), &getack, &ping, &getack].concat(), 0);
    assert_eq!(drain(&mut replica).len(), 1);
    replica.applied(187);
    assert_eq!(drain(&mut replica), []);
    replica.applied(188);
    assert_eq!(drain(&mut replica), [ack(188)], "behind the first question");
    replica.applied(202);
    replica.applied(239);
    replica.applied(239);
    assert_eq!(drain(&mut replica), [ack(202), ack(239)]);
}

#[test]
fn a_damaged_stream_ends_behind_its_last_whole_command() {
    let mut replica = following();
    let ping = words(&["PING"]);
    replica.received(&[ping.as_slice(), b"\n"].concat(), 0);
    let why = "the stream is damaged: offset 114: '\\n' where '*' should be";
    assert_eq!(drain(&mut replica), [Action::Stream(ping), closed(why)]);
    assert_eq!(replica.position(), Some(&position(ID_A, 114)));
}

#[test]
fn what_cannot_be_applied_ends_the_link_before_it_and_is_asked_for_anew_after_the_timeout() {
    let mut replica = following();
    let set = words(&["SET", "a", "1"]);
    let all = [set.clone(), words(&["MULTI"]), set.clone(), words(&["LPUSH", "l", "1"]), words(&["EXEC"])];
    replica.received(&all.concat(), 1000);
    let offset = 100 + all[..3].concat().len();
    let why = format!("offset {offset}: command 'LPUSH' of the primary: it is not known here");
    assert_eq!(drain(&mut replica), [Action::Stream(set), closed(&why)]);
    assert_eq!((replica.link(), replica.refusal()), (Link::Connect, Some(why.as_str())));
    replica.disconnected("closed", 1001);
    replica.tick(60_999);
    assert_eq!(drain(&mut replica), []);
    replica.tick(61_000);
    assert_eq!(drain(&mut replica), [Action::Connect]);
    replica.connected(61_000);
    replica.received(b"+PONG\r\n+OK\r\n+OK\r\n", 61_000);
    assert!(joined(drain(&mut replica)).1.ends_with(&words(&["PSYNC", "?", "-1"])));
    // Nor is a snapshot that cannot be loaded.
    let snapshot = format!("+FULLRESYNC {ID_A} 500\r\n$2\r\nXX");
    replica.received(snapshot.as_bytes(), 62_000);
    drain(&mut replica);
    replica.refuse("a key".to_owned());
    assert_eq!((drain(&mut replica), replica.refusal()), (vec![closed("a key")], Some("a key")));
    replica.tick(122_000);
    assert_eq!(drain(&mut replica), [Action::Connect]);
    replica.connected(122_000);
    replica.received(format!("+PONG\r\n+OK\r\n+OK\r\n{snapshot}").as_bytes(), 122_000);
    replica.applied(500);
    assert_eq!((replica.link(), replica.refusal()), (Link::Connected, None));
}

#[test]
fn a_transaction_without_an_end_is_not_held_for_ever() {
    let mut replica = following();
    replica.largest_unit = 1000;
    replica.received(&words(&["MULTI"]), 0);
    for _ in 0..70 {
        replica.received(&words(&["PING"]), 0);
    }
    assert_eq!(drain(&mut replica), []);
    replica.received(&words(&["PING"]), 0);
    assert_eq!(drain(&mut replica), [closed("a command or transaction of more than 1000 bytes")]);
    assert_eq!(replica.position(), Some(&position(ID_A, 100)));
}

fn cut(bytes: &[u8], cuts: &[prop::sample::Index]) -> Vec<usize> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.sort_unstable();
    cuts
}

/// What primaries say, in pieces to be put together wrongly.
fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<Vec<u8>> = [
        b"+PONG\r\n+OK\r\n+OK\r\n".to_vec(),
        b"+OK\r\n".to_vec(),
        b"-ERR\r\n".to_vec(),
        b"\n".to_vec(),
        format!("+FULLRESYNC {ID_A} 500\r\n").into_bytes(),
        format!("+FULLRESYNC {ID_A} {}\r\n", i64::MAX).into_bytes(),
        format!("+CONTINUE {ID_B}\r\n").into_bytes(),
        b"+CONTINUE\r\n".to_vec(),
        b"$20\r\n".to_vec(),
        b"$9223372036854775807\r\n".to_vec(),
        format!("$EOF:{MARK}\r\n").into_bytes(),
        MARK.as_bytes().to_vec(),
        MARK.as_bytes()[..20].to_vec(),
        stream(),
        words(&["MULTI"]),
        words(&["EXEC"]),
        words(&["REPLCONF", "GETACK", "*"]),
    ]
    .into();
    prop_oneof![4 => prop::sample::select(known), 1 => prop::collection::vec(any::<u8>(), 0..30)]
}

proptest! {
    #[test]
    fn any_cuts_give_the_same(
        snapshot in prop::collection::vec(any::<u8>(), 0..200),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let end = 500 + stream().len() as u64;
        for (bytes, size) in [(by_length(&snapshot), Some(snapshot.len() as u64)), (by_mark(&snapshot), None)] {
            let (all, sent, reached) = play(None, &bytes, &cut(&bytes, &cuts));
            let begin = Action::BeginFull { position: position(ID_A, 500), size };
            let mut expected =
                vec![Action::Connect, begin, Action::Snapshot(snapshot.clone()), Action::EndFull, Action::Stream(stream())];
            expected.retain(|action| *action != Action::Snapshot(Vec::new()));
            prop_assert_eq!(all, expected);
            prop_assert!(sent.ends_with(&words(&["PSYNC", "?", "-1"])));
            prop_assert_eq!(reached, Some(position(ID_A, end)));
        }
        let bytes = partial();
        let (all, sent, reached) = play(Some(position(ID_A, 500)), &bytes, &cut(&bytes, &cuts));
        prop_assert_eq!(
            all,
            [Action::Connect, Action::Continue { replid: Some(ID_B.to_owned()) }, Action::Stream(stream())]
        );
        let last = [words(&["PSYNC", ID_A, "501"]), words(&["REPLCONF", "ACK", "500"])].concat();
        prop_assert!(sent.ends_with(&last));
        prop_assert_eq!(reached, Some(position(ID_B, end)));
    }

    #[test]
    fn nonsense_is_taken_or_refused_however_it_comes(
        known in any::<bool>(),
        fragments in prop::collection::vec(fragment(), 0..20),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let bytes = [b"+PONG\r\n+OK\r\n".to_vec(), fragments.concat()].concat();
        let known = known.then(|| position(ID_A, 100));
        let (all, sent, reached) = play(known.clone(), &bytes, &cut(&bytes, &cuts));
        let (all_at_once, sent_at_once, reached_at_once) = play(known, &bytes, &[]);
        prop_assert_eq!(&all, &all_at_once);
        prop_assert_eq!(reached, reached_at_once);
        // What was not taken yet when the link ended is not sent any more.
        if !matches!(all.last(), Some(Action::Disconnect { .. })) {
            prop_assert_eq!(sent, sent_at_once);
        }
    }
}

/// Asks for a promotion once more: what it says when its turn comes.
fn asks_again(replica: &mut Replica, now_ms: u64) -> Vec<u8> {
    replica.tick(now_ms);
    replica.connected(now_ms);
    replica.received(b"+PONG\r\n+OK\r\n+OK\r\n", now_ms);
    let Some(Action::Send(bytes)) = drain(replica).pop() else { panic!("it asks") };
    bytes
}

#[test]
fn a_promotion_that_may_have_been_heeded_is_not_taken_for_refused() {
    let (plain, promoting) = (words(&["PSYNC", ID_A, "101"]), words(&["PSYNC", ID_A, "101", "FAILOVER"]));
    let refusal = b"-ERR PSYNC FAILOVER can't be sent to a master.\r\n";
    let declined = |replica: &mut Replica| {
        matches!(drain(replica)[..], [Action::Declined { .. }, Action::Disconnect { .. }])
    };
    let begin = || {
        let mut replica = Replica::new(manners(), Some(position(ID_A, 100)));
        replica.promote();
        drain(&mut replica);
        assert_eq!(asks_again(&mut replica, 0), promoting);
        replica
    };
    let mut refused = begin();
    refused.received(refusal, 0);
    assert!(declined(&mut refused));
    let mut lost = begin();
    lost.disconnected("", 0);
    assert_eq!(asks_again(&mut lost, RETRY_MS), promoting, "who knows");
    lost.received(refusal, RETRY_MS);
    assert_eq!(drain(&mut lost), [Action::Send(plain)]);
    let mut heeded = begin();
    heeded.received(format!("+CONTINUE {ID_B}\r\n").as_bytes(), 0);
    assert_eq!(drain(&mut heeded)[0], Action::Continue { replid: Some(ID_B.to_owned()) });
    heeded.disconnected("", 0);
    assert_eq!(asks_again(&mut heeded, RETRY_MS), words(&["PSYNC", ID_B, "101"]), "it leads");
    // Neither then nor before: it is no primary of ours.
    lost.received(b"-NOMASTERLINK Can't SYNC while not connected with my master\r\n", RETRY_MS);
    assert!(declined(&mut lost));
}
