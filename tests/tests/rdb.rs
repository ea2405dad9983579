//! RDB files and payloads between Torc and live reference servers, both ways.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use torc_server::keyspace::{Usage, Value};
use torc_server::rdb::{
    Checksum, Item, Reader, Step, write_aux, write_end, write_entry, write_header, write_resize, write_select,
};
use torc_tests::client::Client;
use torc_tests::peer::{self, Peer};
use torc_tests::process::Server;
use torc_tests::random::{self, Random};
use torc_tests::reply::Reply;
use torc_tests::torc;

const PEERS: [Peer; 3] = [Peer::Redis, Peer::Redis8, Peer::Valkey];

/// Unix ms at which keys expire: after all tests.
const FAR: i64 = 4_102_444_800_000;

/// Keys and what they hold: database and key; value and expiry.
type Model = BTreeMap<(usize, Vec<u8>), (Vec<u8>, Option<i64>)>;

/// Strings of all the forms that RDB has, and texts that compress in many ways.
fn string(random: &mut Random) -> Vec<u8> {
    const WORDS: &[&str] =
        &["lorem", "ipsum", "dolor", " ", "sit", "a", "\0", "0123456789", "aaaaaaaaaaaaaaaa"];
    match random.below(8) {
        0 => (random.next() as i64 >> random.below(64)).to_string().into_bytes(),
        1 => random
            .pick(&["", "0", "-0", "00", "-128", "32767", "2147483648", "-2147483649"])
            .as_bytes()
            .to_vec(),
        2 => (0..random.below(200)).map(|_| random.next() as u8).collect(),
        3 => vec![random.next() as u8; random.below(2000)],
        4 => {
            let letters = 1 + random.below(5);
            (0..random.below(600)).map(|_| random.below(letters) as u8).collect()
        }
        5 if random.one_in(10) => {
            let letters = 2 + random.below(60);
            (0..random.below(60_000)).map(|_| random.below(letters) as u8).collect()
        }
        _ => {
            let words = random.below(80);
            (0..words).flat_map(|_| random.pick(WORDS).bytes()).collect()
        }
    }
}

fn model(random: &mut Random, keys: usize) -> Model {
    let entry = |index: usize| {
        let key = [index.to_string().into_bytes(), string(random)].concat();
        let expire = random.one_in(3).then(|| FAR + random.below(1 << 40) as i64);
        ((index % 3, key), (string(random), expire))
    };
    (0..keys).map(entry).collect()
}

fn fill(client: &mut Client, model: &Model) {
    for ((db, key), (value, expire)) in model {
        client.line(&format!("SELECT {db}"));
        assert_eq!(client.call(&[b"SET", &key[..], value]), Reply::Simple(b"OK".to_vec()));
        if let Some(at) = expire {
            assert_eq!(client.call(&[b"PEXPIREAT", &key[..], at.to_string().as_bytes()]), Reply::Int(1));
        }
    }
}

/// The file that the server saves now.
fn saved(server: &Server) -> Vec<u8> {
    assert_eq!(server.client().line("SAVE"), Reply::Simple(b"OK".to_vec()));
    fs::read(server.dir().join("dump.rdb")).expect("the server has saved its file")
}

/// Reads a file from a buffer that grows by random steps, to its end.
fn read(file: &[u8], random: &mut Random, mut on: impl FnMut(Item)) {
    let (mut reader, mut start, mut end) = (Reader::default(), 0, 0);
    loop {
        match reader.next(&file[start..end]).unwrap_or_else(|damage| panic!("{damage}")) {
            Step::More => {
                assert!(end < file.len(), "{}", reader.cut_off(end - start));
                end = file.len().min(end + 1 + random.below(300));
            }
            Step::Item { item, used } => {
                start += used;
                let is_end = matches!(item, Item::End);
                on(item);
                if is_end {
                    break;
                }
            }
        }
    }
    assert_eq!(start, file.len(), "all of the file has been used");
}

fn bytes_of(value: Value) -> Vec<u8> {
    match value {
        Value::Int(value) => value.to_string().into_bytes(),
        Value::Str { bytes, .. } => bytes,
    }
}

#[test]
fn files_of_the_peers_are_read() {
    let seed = random::seed("files of the peers");
    for (index, peer) in PEERS.into_iter().enumerate() {
        let policies = ["noeviction", "allkeys-lru", "allkeys-lfu"];
        for (turn, policy) in policies.into_iter().enumerate() {
            let mut random = Random::part(seed, (index * policies.len() + turn) as u64);
            let server = peer.start(&["--maxmemory-policy", policy]);
            let model = model(&mut random, 300);
            fill(&mut server.client(), &model);
            let (mut found, mut db, mut aux) = (Model::new(), 0, BTreeSet::new());
            read(&saved(&server), &mut random, |item| match item {
                Item::Aux { name, .. } => drop(aux.insert(name.into_owned())),
                Item::Select(number) => db = number as usize,
                Item::Entry(entry) => {
                    let value = entry.decode().unwrap_or_else(|damage| panic!("{damage}"));
                    match policy {
                        "allkeys-lru" => assert!(matches!(entry.usage, Some(Usage::Idle(0..100)))),
                        "allkeys-lfu" => assert!(matches!(entry.usage, Some(Usage::Frequency(_)))),
                        _ => assert_eq!(entry.usage, None),
                    }
                    found.insert((db, entry.key.into_owned()), (bytes_of(value), entry.expire));
                }
                Item::Resize { keys, expiring } => assert!(expiring <= keys && keys <= 300),
                Item::Skipped { what, .. } => panic!("{what} in a file without any"),
                Item::End => {}
            });
            assert!(found == model, "{peer:?} {policy} TORC_TEST_SEED={seed}");
            assert!(aux.contains(&b"redis-bits"[..]), "{aux:?}");
        }
    }
}

/// Values of all types, small and large, which differ in how they are written.
const EVERY_TYPE: &[&str] = &[
    "RPUSH list:small a b 3",
    "SADD set:ints 1 2 3",
    "SADD set:small a b 3",
    "ZADD zset:small 1.5 a -inf b 3 c",
    "HSET hash:small f v g 7",
    "XADD stream:plain 1-1 f v",
    "XADD stream:groups 5-1 f v g w",
    "XADD stream:groups 6-1 f v",
    "XADD stream:groups 7-1 f v",
    "XDEL stream:groups 6-1",
    "XGROUP CREATE stream:groups one 0",
    "XGROUP CREATE stream:groups two $",
    "XREADGROUP GROUP one alice COUNT 1 STREAMS stream:groups >",
    "XREADGROUP GROUP one bob STREAMS stream:groups >",
    "XGROUP CREATECONSUMER stream:groups two idle",
    "PFADD hyperloglog a b c",
    "SETBIT bits 100 1",
    "PEXPIRE zset:small 100000000",
];

fn fill_every_type(client: &mut Client, later: bool) {
    for line in EVERY_TYPE {
        let reply = client.line(line);
        assert!(!reply.is_error(), "{line}: {reply}");
    }
    let library = b"#!lua name=lib\nredis.register_function('f', function() return 1 end)".to_vec();
    assert!(!client.call(&[b"FUNCTION", &b"LOAD"[..], &library]).is_error());
    for number in 0..2000 {
        for line in ["RPUSH list:large", "SADD set:large", "HSET hash:large f", "ZADD zset:large 1."] {
            let separator = if line.starts_with('H') || line.starts_with('Z') { "" } else { " " };
            let line = format!("{line}{separator}{number} member{number}");
            assert!(!client.line(&line).is_error(), "{line}");
        }
    }
    let long = "x".repeat(20_000);
    assert_eq!(client.line(&format!("RPUSH list:plain {long} short")), Reply::Int(2));
    if later {
        for line in ["HEXPIRE hash:small 1000 FIELDS 1 f", "HEXPIRE hash:large 1000 FIELDS 2 f1 f2"] {
            let reply = client.line(line);
            assert!(!reply.is_error(), "{line}: {reply}");
        }
    }
}

#[test]
fn every_type_of_the_peers_is_framed() {
    let seed = random::seed("every type");
    for (index, peer) in PEERS.into_iter().enumerate() {
        let mut random = Random::part(seed, index as u64);
        let server = peer.start(&[]);
        let mut client = server.client();
        fill_every_type(&mut client, peer != Peer::Redis);
        let (mut keys, mut types, mut skipped) = (0, BTreeSet::new(), Vec::new());
        read(&saved(&server), &mut random, |item| match item {
            Item::Entry(entry) => {
                keys += 1;
                types.insert(entry.codec.kind);
                let is_string = entry.key.starts_with(b"hyper") || &entry.key[..] == b"bits";
                match entry.decode() {
                    Ok(_) => assert!(is_string),
                    Err(damage) => {
                        let (told, name) = (damage.to_string(), entry.key.escape_ascii().to_string());
                        assert!(!is_string && told.contains(&format!("key \"{name}\": ")), "{told}");
                        assert!(told.contains("is not supported"), "{told}");
                    }
                }
            }
            Item::Skipped { what, .. } => skipped.push(what),
            _ => {}
        });
        assert_eq!(Reply::Int(keys), client.line("DBSIZE"), "{peer:?}");
        assert_eq!(skipped, ["a library of functions"], "{peer:?}");
        let expected: &[u8] = match peer {
            Peer::Redis => &[0, 2, 4, 5, 11, 16, 17, 18, 19],
            Peer::Redis8 => &[0, 2, 5, 11, 17, 18, 20, 21, 24, 25],
            Peer::Valkey => &[0, 2, 5, 11, 17, 18, 20, 21, 22],
        };
        assert_eq!(types.into_iter().collect::<Vec<_>>(), expected, "{peer:?}");
    }
}

/// The file of a model as Torc writes it.
fn written(model: &Model, compress: bool, checked: bool) -> Vec<u8> {
    let mut file = Vec::new();
    write_header(&mut file);
    write_aux(&mut file, b"redis-ver", b"7.2.0");
    for db in 0..3 {
        let of_db = || model.iter().filter(|((other, _), _)| *other == db);
        write_select(&mut file, db);
        write_resize(&mut file, of_db().count(), of_db().filter(|(_, (_, expire))| expire.is_some()).count());
        for ((_, key), (value, expire)) in of_db() {
            let value = Value::string(value.clone());
            write_entry(&mut file, key, value.view(), *expire, compress);
        }
    }
    let mut checksum = Checksum::default();
    checksum.update(&file);
    write_end(&mut file, checked.then_some(checksum));
    file
}

#[test]
fn peers_read_our_files() {
    let seed = random::seed("our files");
    for (index, peer) in PEERS.into_iter().enumerate() {
        for (turn, (compress, checked)) in
            [(false, true), (true, true), (true, false)].into_iter().enumerate()
        {
            let mut random = Random::part(seed, (3 * index + turn) as u64);
            let model = model(&mut random, 300);
            let server = Server::start(&format!("{peer:?}"), &peer.program(), |port, dir| {
                fs::write(dir.join("dump.rdb"), written(&model, compress, checked)).expect("a file to load");
                peer::arguments(port, &[])
            });
            let mut client = server.client();
            for ((db, key), (value, expire)) in &model {
                client.line(&format!("SELECT {db}"));
                assert_eq!(client.call(&[b"GET", &key[..]]), Reply::Bulk(value.clone()), "{peer:?}");
                let at = Reply::Int(expire.unwrap_or(-1));
                assert_eq!(client.call(&[b"PEXPIRETIME", &key[..]]), at, "{peer:?}");
            }
            let other = peer.start(&[]);
            fill(&mut other.client(), &model);
            assert_eq!(client.line("DEBUG DIGEST"), other.client().line("DEBUG DIGEST"), "{peer:?}");
        }
    }
}

#[test]
fn payloads_are_exchanged_with_every_peer() {
    let seed = random::seed("payloads");
    let ours = torc::start(2, &[]);
    let mut ours = ours.client();
    for (index, peer) in PEERS.into_iter().enumerate() {
        let mut random = Random::part(seed, index as u64);
        let server = peer.start(&[]);
        let mut theirs = server.client();
        for turn in 0..1500 {
            let value = string(&mut random);
            let fail = || format!("{peer:?}, value {turn}, TORC_TEST_SEED={seed}: {}", value.escape_ascii());
            let mut payloads = Vec::new();
            for client in [&mut ours, &mut theirs] {
                client.call(&[b"SET", &b"key"[..], &value]);
                let Reply::Bulk(payload) = client.call(&[b"DUMP", &b"key"[..]]) else { panic!("{}", fail()) };
                payloads.push(payload);
            }
            // What stands before version and checksum is the same in all of them.
            let body = |payload: &[u8]| payload[..payload.len() - 10].to_vec();
            assert_eq!(body(&payloads[0]), body(&payloads[1]), "{}", fail());
            if peer == Peer::Redis {
                assert_eq!(payloads[0], payloads[1], "{}", fail());
            }
            for (client, payload) in [(&mut theirs, &payloads[0]), (&mut ours, &payloads[1])] {
                let reply = client.call(&[b"RESTORE", &b"new"[..], b"0", payload, b"REPLACE"]);
                assert_eq!(reply, Reply::Simple(b"OK".to_vec()), "{}", fail());
                assert_eq!(client.call(&[b"GET", &b"new"[..]]), Reply::Bulk(value.clone()), "{}", fail());
            }
        }
    }
}
