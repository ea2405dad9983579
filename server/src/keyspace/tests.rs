//! The keyspace against a map: every operation, every form of value, expiry, scans, clearing and memory.

use std::collections::HashMap;

use proptest::prelude::*;

use super::{Access, Encode, Encoding, Entry, Key, KeyHasher, Keyspace, Value, ValueRef};
use crate::limits::REAP_SLICE;

const DATABASES: usize = 3;

#[derive(Clone, Debug)]
enum Op {
    Put { db: usize, key: u8, length: usize, encode: u8, expire: Option<i64> },
    PutInt { db: usize, key: u8, value: i64, expire: Option<i64> },
    Append { db: usize, key: u8, length: usize },
    Expire { db: usize, key: u8, at: Option<i64> },
    Remove { db: usize, key: u8 },
    Rename { db: usize, from: u8, to: u8 },
    Pass { ms: i64 },
    Clear { db: usize },
    Swap { a: usize, b: usize },
    Reap,
}

fn op() -> impl Strategy<Value = Op> {
    let db = 0..DATABASES;
    let length = prop_oneof![8 => 0usize..80, 2 => 1000usize..1100, 1 => 65_000usize..140_000];
    let expire = proptest::option::of(0i64..20_000);
    prop_oneof![
        12 => (db.clone(), any::<u8>(), length.clone(), 0u8..3, expire.clone())
            .prop_map(|(db, key, length, encode, expire)| Op::Put { db, key, length, encode, expire }),
        4 => (db.clone(), any::<u8>(), any::<i64>(), expire.clone())
            .prop_map(|(db, key, value, expire)| Op::PutInt { db, key, value, expire }),
        4 => (db.clone(), any::<u8>(), length).prop_map(|(db, key, length)| Op::Append { db, key, length }),
        4 => (db.clone(), any::<u8>(), expire).prop_map(|(db, key, at)| Op::Expire { db, key, at }),
        6 => (db.clone(), any::<u8>()).prop_map(|(db, key)| Op::Remove { db, key }),
        2 => (db.clone(), any::<u8>(), any::<u8>()).prop_map(|(db, from, to)| Op::Rename { db, from, to }),
        2 => (0i64..500).prop_map(|ms| Op::Pass { ms }),
        1 => db.clone().prop_map(|db| Op::Clear { db }),
        1 => (db.clone(), db).prop_map(|(a, b)| Op::Swap { a, b }),
        2 => Just(Op::Reap),
    ]
}

#[derive(Clone, Debug, PartialEq)]
struct Expected {
    bytes: Vec<u8>,
    encoding: Encoding,
    expire: Option<i64>,
}

struct Bench {
    keyspace: Keyspace,
    model: Vec<HashMap<Vec<u8>, Expected>>,
    now: i64,
}

fn name(key: u8) -> Vec<u8> {
    // Some keys are too long for a length byte.
    if key.is_multiple_of(16) {
        format!("{key:0>300}").into_bytes()
    } else {
        format!("key:{key}").into_bytes()
    }
}

/// All keys in four slots, so that slots fill up.
fn keyed<'a>(hasher: &KeyHasher, bytes: &'a [u8]) -> Key<'a> {
    let key = hasher.key(bytes);
    Key { slot: key.slot % 4, ..key }
}

fn bytes_of(entry: Entry<'_>) -> Vec<u8> {
    entry.value().to_bytes(&mut itoa::Buffer::new()).to_vec()
}

impl Bench {
    fn new(seed: u64) -> Self {
        let keyspace = Keyspace::new(DATABASES, 0..4, KeyHasher::new(seed));
        Bench { keyspace, model: vec![HashMap::new(); DATABASES], now: 0 }
    }

    fn apply(&mut self, op: Op) {
        let hasher = self.keyspace.hasher().clone();
        let keyspace = &mut self.keyspace;
        match op {
            Op::Put { db, key, length, encode, expire } => {
                let (name, bytes) = (name(key), vec![b'0' + key % 10; length]);
                let encode = [Encode::Auto, Encode::Plain, Encode::Raw][encode as usize];
                keyspace.put_str(db, &keyed(&hasher, &name), &bytes, encode, expire);
                let int = std::str::from_utf8(&bytes).ok().and_then(|text| text.parse::<i64>().ok());
                let encoding = match (encode, int) {
                    (Encode::Auto, Some(int)) if int.to_string().as_bytes() == bytes => Encoding::Int,
                    (Encode::Raw, _) => Encoding::Raw,
                    _ if length <= 44 => Encoding::Embstr,
                    _ => Encoding::Raw,
                };
                self.model[db].insert(name, Expected { bytes, encoding, expire });
            }
            Op::PutInt { db, key, value, expire } => {
                let name = name(key);
                keyspace.put_int(db, &keyed(&hasher, &name), value, expire);
                let bytes = value.to_string().into_bytes();
                self.model[db].insert(name, Expected { bytes, encoding: Encoding::Int, expire });
            }
            Op::Append { db, key, length } => {
                let name = name(key);
                let more = vec![b'+'; length];
                let found = keyspace.edit(db, &keyed(&hasher, &name), |bytes| bytes.extend_from_slice(&more));
                let expected = self.model[db].get_mut(&name);
                assert_eq!(found, expected.is_some());
                if let Some(expected) = expected {
                    expected.bytes.extend_from_slice(&more);
                    expected.encoding = Encoding::Raw;
                }
            }
            Op::Expire { db, key, at } => {
                let name = name(key);
                let found = keyspace.set_expire(db, &keyed(&hasher, &name), at);
                let expected = self.model[db].get_mut(&name);
                assert_eq!(found, expected.is_some());
                if let Some(expected) = expected {
                    expected.expire = at;
                }
            }
            other => self.apply_whole(other, &hasher),
        }
    }

    fn apply_whole(&mut self, op: Op, hasher: &KeyHasher) {
        let keyspace = &mut self.keyspace;
        match op {
            Op::Remove { db, key } => {
                let name = name(key);
                let removed = keyspace.remove(db, &keyed(hasher, &name));
                assert_eq!(removed, self.model[db].remove(&name).is_some());
            }
            Op::Rename { db, from, to } => {
                let (from, to) = (name(from), name(to));
                let taken = keyspace.take(db, &keyed(hasher, &from));
                let moved = self.model[db].remove(&from);
                assert_eq!(taken.is_some(), moved.is_some());
                if let (Some((value, expire)), Some(moved)) = (taken, moved) {
                    assert_eq!(expire, moved.expire);
                    keyspace.put(db, &keyed(hasher, &to), value, expire);
                    self.model[db].insert(to, moved);
                }
            }
            Op::Pass { ms } => {
                self.now += ms;
                let now = self.now;
                let model = &mut self.model;
                while keyspace
                    .expire_step(now, 5, &mut |db, key| {
                        let gone = model[db].remove(key).expect("expired once");
                        assert!(gone.expire.expect("it expires") <= now);
                    })
                    .more
                {}
            }
            Op::Clear { db } => {
                keyspace.clear(db);
                self.model[db].clear();
            }
            Op::Swap { a, b } => {
                keyspace.swap(a, b);
                self.model.swap(a, b);
            }
            _ => {
                keyspace.reap(10);
            }
        }
    }

    fn check(&self) {
        self.keyspace.check_invariants();
        for (db, model) in self.model.iter().enumerate() {
            assert_eq!(self.keyspace.len(db), model.len());
            assert_eq!((0..4).map(|slot| self.keyspace.slot_len(db, slot)).sum::<usize>(), model.len());
            let volatile = model.values().filter(|expected| expected.expire.is_some());
            assert_eq!(self.keyspace.volatile(db), volatile.count());
            let mut scanned = 0;
            self.keyspace.for_each(db, &mut |entry| {
                let expected = &model[entry.key()];
                let found =
                    Expected { bytes: bytes_of(entry), encoding: entry.encoding(), expire: entry.expire() };
                assert_eq!(&found, expected);
                scanned += 1;
            });
            assert_eq!(scanned, model.len());
            for (name, expected) in model {
                let key = keyed(self.keyspace.hasher(), name);
                assert_eq!(self.keyspace.get(db, &key).map(bytes_of).as_ref(), Some(&expected.bytes));
                let due = expected.expire.is_some_and(|at| at <= self.now);
                assert_eq!(self.keyspace.is_due(db, &key, self.now), due);
            }
        }
    }

    fn finish(mut self) {
        (0..DATABASES).for_each(|db| self.keyspace.clear(db));
        while self.keyspace.reap(10) {}
        assert_eq!(self.keyspace.used_memory(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_keyspace_is_a_map(seed in any::<u64>(), ops in proptest::collection::vec(op(), 1..400)) {
        let mut bench = Bench::new(seed);
        for (nth, op) in ops.into_iter().enumerate() {
            bench.apply(op);
            if nth.is_multiple_of(16) {
                bench.check();
            }
        }
        bench.check();
        bench.finish();
    }
}

#[test]
fn a_shard_scans_its_own_slots_whatever_the_cursor() {
    let hasher = KeyHasher::new(3);
    let mut keyspace = Keyspace::new(1, 4000..9000, hasher.clone());
    let names: Vec<Vec<u8>> = (0..5000u32).map(|nth| format!("k{nth}").into_bytes()).collect();
    let own = |name: &&Vec<u8>| (4000..9000).contains(&(hasher.key(name).slot as usize));
    for name in names.iter().filter(own) {
        keyspace.put_str(0, &hasher.key(name), b"v", Encode::Auto, None);
    }
    let (mut cursor, mut seen) = (0, Vec::new());
    loop {
        cursor = keyspace.scan(0, cursor, 10, &mut |entry| seen.push(entry.key().to_vec()));
        if cursor == 0 {
            break;
        }
        assert!((4000..9000).contains(&((cursor >> 48) as usize)));
    }
    assert_eq!(seen.len(), names.iter().filter(own).count());
    assert_eq!(keyspace.scan(0, Keyspace::cursor_at(9000), 10, &mut |_| panic!("beyond the end")), 0);
    assert_eq!(keyspace.scan(0, u64::MAX, 10, &mut |_| panic!("beyond the end")), 0);
    let mut word = 0x1234_5678_9abc_def0u64;
    let entry = keyspace.random(0, &mut || {
        word = word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        word
    });
    assert!(entry.is_some());
}

#[test]
fn big_values_are_freed_in_slices() {
    let hasher = KeyHasher::new(3);
    let mut keyspace = Keyspace::new(1, 0..16384, hasher.clone());
    let key = hasher.key(b"big");
    let slices = 5;
    keyspace.put_str(0, &key, &vec![7; slices * REAP_SLICE], Encode::Auto, None);
    let full = keyspace.used_memory();
    // The same length again is written into the same buffer.
    keyspace.put_str(0, &key, &vec![8; slices * REAP_SLICE], Encode::Auto, Some(9));
    assert!(keyspace.used_memory() < full + REAP_SLICE);
    assert!(keyspace.remove(0, &key));
    assert!(keyspace.used_memory() > slices * REAP_SLICE);
    let mut steps = 1;
    while keyspace.reap(1) {
        steps += 1;
    }
    assert_eq!(steps, slices);
    assert!(keyspace.used_memory() < REAP_SLICE);
}

#[test]
fn access_bits_follow_touches_not_reads() {
    let hasher = KeyHasher::new(3);
    let mut keyspace = Keyspace::new(1, 0..16384, hasher.clone());
    let key = hasher.key(b"key");
    keyspace.set_birth(Access::Lru { now_ms: 10_000 });
    keyspace.put_str(0, &key, b"value", Encode::Auto, None);
    let idle = |keyspace: &Keyspace| keyspace.get(0, &key).map(|entry| entry.idle_seconds(60_000));
    assert_eq!(idle(&keyspace), Some(50));
    keyspace.touch(0, &key, &Access::Lru { now_ms: 40_000 });
    assert_eq!(idle(&keyspace), Some(20));
    keyspace.set_birth(Access::Lru { now_ms: 50_000 });
    keyspace.put_str(0, &key, b"other", Encode::Auto, None);
    assert_eq!(idle(&keyspace), Some(10));
    let lfu = Access::Lfu { now_ms: 60_000, random: 0, log_factor: 10, decay_minutes: 1 };
    keyspace.set_birth(lfu);
    keyspace.touch(0, &key, &lfu);
    let before = keyspace.get(0, &key).map(|entry| entry.access_bits());
    keyspace.put_int(0, &key, 5, None);
    assert_eq!(keyspace.get(0, &key).map(|entry| entry.access_bits()), before);
}

#[test]
fn values_read_as_clients_see_them() {
    assert_eq!(ValueRef::Int(-120).len(), 4);
    assert_eq!(ValueRef::Str(b"abc").len(), 3);
    let hasher = KeyHasher::new(3);
    let mut keyspace = Keyspace::new(1, 0..16384, hasher.clone());
    let key = hasher.key(b"key");
    keyspace.put_str(0, &key, b"12", Encode::Auto, Some(77));
    assert_eq!(keyspace.average_ttl(0, 7), 70);
    assert_eq!(keyspace.next_expiry(), Some(77));
    assert_eq!(keyspace.take(0, &key), Some((Value::Int(12), Some(77))));
    assert_eq!(keyspace.average_ttl(0, 7), 0);
}

#[test]
fn what_is_aside_is_not_seen_until_it_is_swapped_in() {
    let hasher = KeyHasher::new(7);
    let mut keyspace = Keyspace::new(DATABASES, 0..16384, hasher.clone());
    let aside = keyspace.aside(1);
    let put = |keyspace: &mut Keyspace, db: usize, name: &[u8], expire: Option<i64>| {
        keyspace.put_str(db, &keyed(&hasher, name), b"value", Encode::Auto, expire);
    };
    put(&mut keyspace, 1, b"old", None);
    put(&mut keyspace, aside, b"new", Some(5));
    assert_eq!((keyspace.databases(), keyspace.keys(), keyspace.next_expiry()), (DATABASES, 1, None));
    keyspace.begin_cut(|out, key, _, _| out.extend_from_slice(key));
    put(&mut keyspace, aside, b"newer", None);
    let mut cut = Vec::new();
    while let Some(chunk) = keyspace.walk_cut(1000) {
        cut.extend(chunk.bytes);
    }
    assert_eq!(cut, b"old");
    assert_eq!(keyspace.expire_step(10, 1000, &mut |_, _| panic!("it is not due for anybody")).expired, 0);
    keyspace.swap(1, aside);
    assert_eq!((keyspace.keys(), keyspace.len(aside), keyspace.next_expiry()), (2, 1, Some(5)));
    keyspace.drop_aside();
    assert_eq!((keyspace.keys(), keyspace.len(aside)), (2, 0));
    keyspace.check_invariants();
}
