//! Scripted conversations with a live reference server and with Torc: what a generator cannot reach because it takes
//! several connections in a set order, suppresses replies, or ends a connection or the server.

mod cases;

use std::io::ErrorKind;
use std::time::Duration;

use cases::{CASES, Case};
use torc_tests::client::{self, Client};
use torc_tests::peer::Peer;
use torc_tests::process::Server;
use torc_tests::replay::{Judge, show, split};
use torc_tests::reply::Reply;
use torc_tests::torc;

/// Connections a script may use, opened in this order.
const CONNECTIONS: usize = 3;

/// What was asked on which connection, and the answer.
struct Line {
    connection: usize,
    words: Vec<Vec<u8>>,
    reply: Reply,
}

struct Seat {
    client: Option<Client>,
    id: String,
    addr: String,
}

impl Seat {
    fn open(server: &Server, resp3: bool) -> Seat {
        let mut client = server.client();
        let id = client.line("CLIENT ID").int().unwrap_or(0).to_string();
        let info = client.line("CLIENT INFO").text();
        let addr = info.split(' ').find_map(|word| word.strip_prefix("addr=")).unwrap_or("").to_owned();
        if resp3 {
            client.line("HELLO 3");
        }
        Seat { client: Some(client), id, addr }
    }
}

/// One line's words: `"…"` keeps spaces and knows `\r`, `\n`, `\xHH`; `$id1` and `$addr1` name connection 1.
fn words(line: &str, seats: &[Seat]) -> Vec<Vec<u8>> {
    let mut text = line.to_owned();
    for (index, seat) in seats.iter().enumerate() {
        text = text.replace(&format!("$id{index}"), &seat.id).replace(&format!("$addr{index}"), &seat.addr);
    }
    let mut words = Vec::new();
    for (index, part) in text.split('"').enumerate() {
        if index % 2 == 1 {
            words.push(unescape(part));
        } else if !part.trim().is_empty() {
            words.extend(split(part.trim()));
        }
    }
    words
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match (c, if c == '\\' { rest.next() } else { None }) {
            ('\\', Some('r')) => bytes.push(b'\r'),
            ('\\', Some('n')) => bytes.push(b'\n'),
            ('\\', Some('x')) => {
                let digits: String = rest.by_ref().take(2).collect();
                bytes.push(u8::from_str_radix(&digits, 16).expect("two hexadecimal digits"));
            }
            (c, _) => bytes.extend(c.to_string().as_bytes()),
        }
    }
    bytes
}

/// Plays the lines; each is `CONNECTION COMMAND`, `CONNECTION! COMMAND` when no reply is to come (whatever comes shows
/// up as the next line's reply), or `wait MILLISECONDS`.
fn play(server: &Server, case: &Case, resp3: bool) -> Vec<Line> {
    let mut seats: Vec<Seat> = (0..CONNECTIONS).map(|_| Seat::open(server, resp3)).collect();
    let mut talk = Vec::new();
    for line in case.lines {
        let (who, command) = line.split_once(' ').expect("a line has a connection and a command");
        if who == "wait" {
            std::thread::sleep(Duration::from_millis(command.parse().expect("milliseconds")));
            continue;
        }
        let words = words(command, &seats);
        let (who, silent) = who.strip_suffix('!').map_or((who, false), |who| (who, true));
        let connection: usize = who.parse().expect("the number of a connection");
        let seat = &mut seats[connection];
        let reply = match &mut seat.client {
            Some(client) => ask(client, &words, silent),
            None => Reply::Closed("before".to_owned()),
        };
        if matches!(reply, Reply::Closed(_)) {
            seat.client = None;
        }
        talk.push(Line { connection, words, reply });
    }
    talk
}

fn ask(client: &mut Client, words: &[Vec<u8>], silent: bool) -> Reply {
    let sent = client.send(&client::encode(words));
    if silent && sent.is_ok() {
        return Reply::Null;
    }
    match sent.and_then(|()| client.read()) {
        Ok(reply) => reply,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            Reply::Simple(b"(no reply in time)".to_vec())
        }
        Err(_) => Reply::Closed("by the server".to_owned()),
    }
}

fn compare(case: &Case, shards: usize, resp3: bool, wrong: &mut Vec<String>) {
    let peer = case.peer.start(case.options);
    let torc = torc::start(shards, case.options);
    let mut judge = Judge::default();
    for (index, (theirs, ours)) in play(&peer, case, resp3).iter().zip(&play(&torc, case, resp3)).enumerate()
    {
        let same = judge.agree(theirs.connection, &theirs.words, &theirs.reply, &ours.reply);
        let shape = case.rule.is_some_and(|rule| rule.agree(&theirs.reply, &ours.reply));
        if !same && !shape {
            let protocol = if resp3 { "RESP3" } else { "RESP2" };
            let place = format!("script {} on {}, {protocol}, line {}", case.name, torc.name, index + 1);
            let (asked, theirs, ours) = (show(&theirs.words), &theirs.reply, &ours.reply);
            wrong.push(format!("{place}: {asked}\n    peer: {theirs}\n    torc: {ours}"));
            break;
        }
    }
}

#[test]
fn scripts_have_the_same_replies() {
    let only = std::env::var("TORC_TEST_ROW").ok();
    let mut wrong = Vec::new();
    for case in CASES.iter().filter(|case| only.as_ref().is_none_or(|only| only == case.name)) {
        for shards in torc::shard_counts() {
            for resp3 in [false, true] {
                compare(case, shards, resp3, &mut wrong);
            }
        }
    }
    assert!(wrong.is_empty(), "{} scripts differ\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn names_are_unique() {
    for (index, case) in CASES.iter().enumerate() {
        assert!(CASES[..index].iter().all(|other| other.name != case.name), "{}", case.name);
        assert!(case.peer == Peer::Redis || case.peer == Peer::Valkey);
    }
}
