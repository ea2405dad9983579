//! Concurrent clients against Torc: every short history must have one order that explains all replies, and no reader
//! ever sees half of a command or of a transaction, whatever shards its keys live on.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use torc_tests::client::{self, Client};
use torc_tests::history::{Answer, Call, KEYS, Op, State, linearizable};
use torc_tests::process::Server;
use torc_tests::random::{self, Random};
use torc_tests::reply::Reply;
use torc_tests::{clock, torc};

const CLIENTS: usize = 4;

/// Calls of one client in a round; all clients' together fit the checker's 64.
const CALLS: usize = 9;

/// Names of one round's keys: new ones each round, so that they fall on ever other shards.
type Names = [String; KEYS];

fn names(round: u64) -> Names {
    std::array::from_fn(|key| format!("key{key}:{round}"))
}

fn op(random: &mut Random, nested: bool) -> Op {
    let key = |random: &mut Random| random.below(KEYS);
    let value = |random: &mut Random| random.below(10).to_string();
    let keys = |random: &mut Random| (0..1 + random.below(4)).map(|_| random.below(KEYS)).collect::<Vec<_>>();
    let pairs =
        |random: &mut Random| keys(random).into_iter().map(|key| (key, value(random))).collect::<Vec<_>>();
    match random.below(if nested { 12 } else { 14 }) {
        0 | 1 => Op::Get(key(random)),
        2 => Op::Set(key(random), value(random)),
        3 => Op::Incr(key(random)),
        4 => Op::Append(key(random), value(random)),
        5 | 6 => Op::MGet(keys(random)),
        7 => Op::MSet(pairs(random)),
        8 => Op::MSetNx(pairs(random)),
        9 => Op::Del(keys(random)),
        10 => Op::Rename(key(random), key(random)),
        11 => Op::Copy(key(random), key(random)),
        _ => Op::Exec((0..1 + random.below(3)).map(|_| op(random, true)).collect()),
    }
}

/// The commands of an operation, one reply each.
fn commands(op: &Op, names: &Names) -> Vec<Vec<String>> {
    let mut words: Vec<String> = Vec::new();
    let mut add = |parts: &[&str]| words.extend(parts.iter().map(|part| (*part).to_owned()));
    match op {
        Op::Get(key) => add(&["GET", &names[*key]]),
        Op::Set(key, value) => add(&["SET", &names[*key], value]),
        Op::Incr(key) => add(&["INCR", &names[*key]]),
        Op::Append(key, tail) => add(&["APPEND", &names[*key], tail]),
        Op::Rename(from, to) => add(&["RENAME", &names[*from], &names[*to]]),
        Op::Copy(from, to) => add(&["COPY", &names[*from], &names[*to]]),
        Op::MGet(keys) | Op::Del(keys) => {
            add(&[if matches!(op, Op::Del(_)) { "DEL" } else { "MGET" }]);
            keys.iter().for_each(|key| add(&[&names[*key]]));
        }
        Op::MSet(pairs) | Op::MSetNx(pairs) => {
            add(&[if matches!(op, Op::MSet(_)) { "MSET" } else { "MSETNX" }]);
            pairs.iter().for_each(|(key, value)| add(&[&names[*key], value]));
        }
        Op::Exec(ops) => {
            let mut all = vec![vec!["MULTI".to_owned()]];
            all.extend(ops.iter().flat_map(|op| commands(op, names)));
            all.push(vec!["EXEC".to_owned()]);
            return all;
        }
    }
    vec![words]
}

fn answer(reply: &Reply) -> Answer {
    match reply {
        Reply::Simple(_) => Answer::Ok,
        Reply::Int(number) => Answer::Int(*number),
        Reply::Bulk(text) => Answer::Text(Some(String::from_utf8_lossy(text).into_owned())),
        Reply::NullBulk | Reply::Null => Answer::Text(None),
        Reply::Array(items) => Answer::Many(items.iter().map(answer).collect()),
        _ => Answer::Error,
    }
}

/// Sends `batch` in one piece and records its calls.
fn batch(client: &mut Client, id: usize, ops: &[Op], names: &Names, calls: &mut Vec<Call>) {
    let sent: Vec<Vec<Vec<String>>> = ops.iter().map(|op| commands(op, names)).collect();
    let bytes: Vec<u8> = sent.iter().flatten().flat_map(|words| client::encode(words)).collect();
    let from = clock::now();
    client.send(&bytes).expect("the server takes the batch");
    for (op, commands) in ops.iter().zip(&sent) {
        let replies: Vec<Reply> = commands.iter().map(|_| client.read().expect("a reply comes")).collect();
        // Of a transaction, EXEC's reply is the answer; of anything else, the only one.
        let answer = answer(replies.last().expect("every operation is at least one command"));
        calls.push(Call { client: id, op: op.clone(), answer, from, to: clock::now() });
    }
}

fn round(clients: &mut [Client], seed: u64, number: u64) -> (State, Vec<Call>) {
    let names = names(number);
    let mut random = Random::part(seed, number);
    let mut state = State::default();
    if random.one_in(2) {
        let op = Op::MSet((0..KEYS).map(|key| (key, random.below(10).to_string())).collect());
        op.apply(&mut state);
        batch(&mut clients[0], 0, &[op], &names, &mut Vec::new());
    }
    // Deep pipelines and single calls by turns.
    let deepest = if number.is_multiple_of(2) { 1 } else { 4 };
    let start = Barrier::new(CLIENTS);
    let (start, names) = (&start, &names);
    let mut calls: Vec<Call> = std::thread::scope(|scope| {
        let threads: Vec<_> = clients
            .iter_mut()
            .enumerate()
            .map(|(id, client)| {
                let mut random = Random::part(seed, number << 8 | (id as u64 + 1));
                scope.spawn(move || {
                    let mut calls = Vec::new();
                    start.wait();
                    while calls.len() < CALLS {
                        let depth = (1 + random.below(deepest)).min(CALLS - calls.len());
                        let ops: Vec<Op> = (0..depth).map(|_| op(&mut random, false)).collect();
                        batch(client, id, &ops, names, &mut calls);
                    }
                    calls
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a client does not fail")).collect()
    });
    // What is there afterwards belongs to the history.
    batch(&mut clients[0], 0, &[Op::MGet((0..KEYS).collect())], names, &mut calls);
    clients[0].call(&[vec!["DEL".to_owned()], names.to_vec()].concat());
    (state, calls)
}

fn show(state: &State, calls: &[Call]) -> String {
    let zero = calls.iter().map(|call| call.from).min().expect("a round has calls");
    let mut lines: Vec<(Duration, String)> = calls
        .iter()
        .map(|call| {
            let (from, to) = (call.from - zero, call.to - zero);
            (from, format!("client {} {from:?}..{to:?} {:?} -> {:?}", call.client, call.op, call.answer))
        })
        .collect();
    lines.sort();
    let lines: Vec<String> = lines.into_iter().map(|(_, line)| line).collect();
    format!("from {state:?}\n{}", lines.join("\n"))
}

fn each_server(test: impl Fn(&Server)) {
    for shards in torc::shard_counts() {
        test(&torc::start(shards, &[]));
    }
}

#[test]
fn every_history_has_an_order() {
    let seed = random::seed("linearizable");
    each_server(|server| {
        let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.client()).collect();
        let (start, limit) = (clock::now(), clock::time_box(20));
        let mut number = 0;
        while start.elapsed() < limit {
            let (state, calls) = round(&mut clients, seed, number);
            assert!(
                linearizable(&state, &calls),
                "{}, TORC_TEST_SEED={seed}, round {number}: no order explains\n{}",
                server.name,
                show(&state, &calls)
            );
            number += 1;
        }
        eprintln!("{}: {number} rounds of {} calls", server.name, CLIENTS * CALLS + 1);
        assert!(number > 10, "too few rounds to mean anything");
    });
}

/// What one client does until it is over; returns how often it did it.
type Work<'a> = dyn Fn(&mut Client, &AtomicBool) -> u64 + Sync + 'a;

/// Runs writers and readers side by side for a while.
fn side_by_side(server: &Server, work: &[&Work]) {
    let over = AtomicBool::new(false);
    let limit = clock::time_box(4);
    let counts: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            work.iter().map(|work| scope.spawn(|| work(&mut server.client(), &over))).collect();
        let start = clock::now();
        while start.elapsed() < limit && threads.iter().all(|thread| !thread.is_finished()) {
            std::thread::sleep(Duration::from_millis(20));
        }
        over.store(true, Ordering::Relaxed);
        threads.into_iter().map(|thread| thread.join().expect("no reader saw a half")).collect()
    });
    eprintln!("{}: {counts:?}", server.name);
    assert!(counts.iter().all(|count| *count > 10), "somebody starved: {counts:?}");
}

/// Repeats `turn` until it is over.
fn until(over: &AtomicBool, mut turn: impl FnMut(u64)) -> u64 {
    let mut count = 0;
    while !over.load(Ordering::Relaxed) {
        turn(count);
        count += 1;
    }
    count
}

const WIDTH: usize = 10;

fn wide(command: &str, value: Option<u64>) -> Vec<String> {
    let mut words = vec![command.to_owned()];
    for key in 0..WIDTH {
        words.push(format!("wide:{key}"));
        words.extend(value.map(|value| value.to_string()));
    }
    words
}

fn assert_equal(reply: &Reply) {
    let values = reply.elements();
    assert_eq!(values.len(), WIDTH, "{reply}");
    assert!(values.iter().all(|value| *value == values[0]), "half a write: {reply}");
}

#[test]
fn no_reader_sees_half_an_mset() {
    each_server(|server| {
        server.client().call(&wide("MSET", Some(0)));
        let turn = AtomicU64::new(0);
        let write = |client: &mut Client, over: &AtomicBool| {
            until(over, |_| {
                let value = turn.fetch_add(1, Ordering::Relaxed);
                assert_eq!(client.call(&wide("MSET", Some(value))), Reply::Simple(b"OK".to_vec()));
            })
        };
        let write_many = |client: &mut Client, over: &AtomicBool| {
            until(over, |_| {
                let value = turn.fetch_add(8, Ordering::Relaxed);
                let bytes: Vec<u8> =
                    (0..8).flat_map(|step| client::encode(&wide("MSET", Some(value + step)))).collect();
                client.send(&bytes).expect("the server takes a pipeline");
                (0..8)
                    .for_each(|_| assert_eq!(client.read().expect("a reply"), Reply::Simple(b"OK".to_vec())));
            })
        };
        let read = |client: &mut Client, over: &AtomicBool| {
            until(over, |_| assert_equal(&client.call(&wide("MGET", None))))
        };
        let read_many = |client: &mut Client, over: &AtomicBool| {
            until(over, |_| {
                client
                    .send(&client::encode(&wide("MGET", None)).repeat(8))
                    .expect("the server takes a pipeline");
                (0..8).for_each(|_| assert_equal(&client.read().expect("a reply")));
            })
        };
        let read_in_transaction =
            |client: &mut Client, over: &AtomicBool| until(over, |_| assert_equal(&gets(client)));
        side_by_side(server, &[&write, &write_many, &read, &read_many, &read_in_transaction]);
    });
}

/// The wide keys by one GET each inside MULTI.
fn gets(client: &mut Client) -> Reply {
    let mut bytes = client::encode(&["MULTI"]);
    (0..WIDTH).for_each(|key| bytes.extend(client::encode(&["GET".to_owned(), format!("wide:{key}")])));
    bytes.extend(client::encode(&["EXEC"]));
    client.send(&bytes).expect("the server takes a transaction");
    (0..=WIDTH).for_each(|_| assert!(!client.read().expect("a reply").is_error()));
    client.read().expect("a reply")
}

#[test]
fn keys_come_and_go_together() {
    each_server(|server| {
        let set = |client: &mut Client, over: &AtomicBool| {
            until(over, |turn| drop(client.call(&wide("MSET", Some(turn)))))
        };
        let set_new = |client: &mut Client, over: &AtomicBool| {
            until(over, |turn| drop(client.call(&wide("MSETNX", Some(turn)))))
        };
        let delete = |client: &mut Client, over: &AtomicBool| {
            until(over, |turn| {
                let count = client.call(&wide(if turn % 2 == 0 { "DEL" } else { "UNLINK" }, None));
                assert!([Some(0), Some(WIDTH as i64)].contains(&count.int()), "deleted {count}");
            })
        };
        let exists = |client: &mut Client, over: &AtomicBool| {
            until(over, |turn| {
                let count = client.call(&wide(if turn % 2 == 0 { "EXISTS" } else { "TOUCH" }, None));
                assert!([Some(0), Some(WIDTH as i64)].contains(&count.int()), "there were {count}");
            })
        };
        side_by_side(server, &[&set, &set_new, &delete, &exists]);
    });
}

#[test]
fn a_renamed_key_is_always_in_one_place() {
    each_server(|server| {
        server.client().line("SET here 1");
        let rename = |from: &'static str, to: &'static str| {
            move |client: &mut Client, over: &AtomicBool| {
                until(over, |turn| {
                    drop(client.call(&[if turn % 2 == 0 { "RENAME" } else { "RENAMENX" }, from, to]))
                })
            }
        };
        let look = |client: &mut Client, over: &AtomicBool| {
            until(over, |turn| {
                let found = match turn % 2 {
                    0 => client.line("EXISTS here there").int().unwrap_or(-1),
                    _ => {
                        let values = client.line("MGET here there");
                        values.elements().iter().filter(|value| value.bytes().is_some()).count() as i64
                    }
                };
                assert_eq!(found, 1, "the key is in {found} places");
            })
        };
        side_by_side(server, &[&rename("here", "there"), &rename("there", "here"), &look, &look]);
    });
}

/// So many that a transfer under WATCH has a fair chance against those without.
const ACCOUNTS: usize = 64;
const DEPOSIT: i64 = 1000;

fn account(number: usize) -> String {
    format!("account:{number}")
}

fn sum(client: &mut Client) -> i64 {
    let words: Vec<String> = std::iter::once("MGET".to_owned()).chain((0..ACCOUNTS).map(account)).collect();
    let reply = client.call(&words);
    reply.elements().iter().map(|value| value.text().parse::<i64>().expect("accounts hold numbers")).sum()
}

#[test]
fn transfers_keep_the_sum() {
    let seed = random::seed("transfers");
    each_server(|server| {
        for number in 0..ACCOUNTS {
            server.client().call(&["SET".to_owned(), account(number), DEPOSIT.to_string()]);
        }
        let part = AtomicU64::new(0);
        let random = || Random::part(seed, part.fetch_add(1, Ordering::Relaxed));
        let blind = |client: &mut Client, over: &AtomicBool| {
            let mut random = random();
            until(over, |_| transfer(client, &mut random))
        };
        let watching = |client: &mut Client, over: &AtomicBool| {
            let mut random = random();
            let mut done = 0;
            until(over, |_| done += u64::from(watched_transfer(client, &mut random)));
            done
        };
        let audit = |client: &mut Client, over: &AtomicBool| {
            until(over, |_| assert_eq!(sum(client), DEPOSIT * ACCOUNTS as i64, "money came or went"))
        };
        side_by_side(server, &[&blind, &blind, &watching, &watching, &audit]);
        assert_eq!(sum(&mut server.client()), DEPOSIT * ACCOUNTS as i64);
    });
}

/// Between two accounts by DECRBY and INCRBY inside MULTI.
fn transfer(client: &mut Client, random: &mut Random) {
    let (from, to) = (account(random.below(ACCOUNTS)), account(random.below(ACCOUNTS)));
    let amount = random.below(50).to_string();
    let commands: [&[&str]; 4] =
        [&["MULTI"], &["DECRBY", &from, &amount], &["INCRBY", &to, &amount], &["EXEC"]];
    let bytes: Vec<u8> = commands.iter().flat_map(|words| client::encode(words)).collect();
    client.send(&bytes).expect("the server takes a transaction");
    for _ in commands {
        let reply = client.read().expect("a reply");
        assert!(!reply.is_error(), "{reply}");
    }
}

/// By reading under WATCH and writing what was computed from it; false when somebody else was faster.
fn watched_transfer(client: &mut Client, random: &mut Random) -> bool {
    let from = random.below(ACCOUNTS);
    let to = (from + 1 + random.below(ACCOUNTS - 1)) % ACCOUNTS;
    let (from, to) = (account(from), account(to));
    client.call(&["WATCH", &from, &to]);
    let read =
        |client: &mut Client, key: &str| client.call(&["GET", key]).text().parse::<i64>().expect("a number");
    let (a, b) = (read(client, &from), read(client, &to));
    let amount = random.below(50) as i64;
    client.line("MULTI");
    client.call(&["SET", &from, &(a - amount).to_string()]);
    client.call(&["SET", &to, &(b + amount).to_string()]);
    let reply = client.line("EXEC");
    assert!(!reply.is_error(), "{reply}");
    reply.elements().len() == 2
}
