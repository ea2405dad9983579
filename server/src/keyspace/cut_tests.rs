//! Cuts against a copy of the model: whatever happens to the databases meanwhile, a walk gives out what they held when it began.

use std::collections::BTreeMap;

use super::Chunk;
use crate::keyspace::{Access, Encode, Key, KeyHasher, Keyspace, Value, ValueRef};
use crate::limits::CUT_CHUNK;

const DATABASES: usize = 3;
const SLOTS: u16 = 4;
/// No value that the random cases write is longer.
const LONGEST: usize = 3000;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

/// A value and when it expires.
type Held = (Vec<u8>, Option<i64>);
/// By database and key.
type Model = BTreeMap<(usize, Vec<u8>), Held>;

fn encode(out: &mut Vec<u8>, key: &[u8], value: ValueRef<'_>, expire: Option<i64>) {
    let mut digits = itoa::Buffer::new();
    let value = value.to_bytes(&mut digits);
    out.extend_from_slice(&expire.unwrap_or(i64::MIN).to_le_bytes());
    for bytes in [key, value] {
        out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        out.extend_from_slice(bytes);
    }
}

/// Adds what a chunk holds; nothing may come twice.
fn decode(chunk: &Chunk, into: &mut Model) {
    let mut rest = &chunk.bytes[..];
    let mut take = |length: usize| {
        let (taken, left) = rest.split_at(length);
        rest = left;
        taken
    };
    let (mut keys, mut volatile, mut at) = (0, 0, 0);
    while at < chunk.bytes.len() {
        let expire = i64::from_le_bytes(take(8).try_into().expect("eight bytes"));
        let mut string = || {
            let length = u32::from_le_bytes(take(4).try_into().expect("four bytes")) as usize;
            take(length).to_vec()
        };
        let (key, value) = (string(), string());
        at += 16 + key.len() + value.len();
        let expire = (expire != i64::MIN).then_some(expire);
        keys += 1;
        volatile += usize::from(expire.is_some());
        let twice = into.insert((chunk.db, key), (value, expire));
        assert!(twice.is_none(), "an entry is given out once");
    }
    assert_eq!((keys, volatile), (chunk.keys, chunk.volatile));
}

struct Bench {
    keyspace: Keyspace,
    model: Model,
    /// The model at the cut under way, and what was given out of it.
    cut: Option<(Model, Model)>,
    random: Random,
    /// Whether many keys share a hash.
    coarse: bool,
    /// Names are drawn from so many.
    names: usize,
    /// Of ten operations on keys so many remove.
    removals: usize,
    now: i64,
}

fn name(nth: usize) -> Vec<u8> {
    // Some keys are too long for a length byte.
    if nth.is_multiple_of(16) {
        format!("{nth:0>300}").into_bytes()
    } else {
        format!("key:{nth}").into_bytes()
    }
}

/// All keys in a few slots, so that these fill up.
fn keyed<'a>(hasher: &KeyHasher, bytes: &'a [u8]) -> Key<'a> {
    let key = hasher.key(bytes);
    Key { slot: key.slot % SLOTS, ..key }
}

impl Bench {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let coarse = random.one_in(3);
        let hasher = if coarse { KeyHasher::coarse(seed, 6) } else { KeyHasher::new(seed) };
        let keyspace = Keyspace::new(DATABASES, 0..SLOTS as usize, hasher);
        let names = [20, 150, 600][random.below(3)];
        Bench { keyspace, model: Model::new(), cut: None, random, coarse, names, removals: 3, now: 0 }
    }

    fn place(&mut self) -> (usize, Vec<u8>) {
        // Most in one database, so that it grows.
        let db = self.random.below(DATABASES * 2) % (DATABASES + 1) % DATABASES;
        (db, name(self.random.below(self.names)))
    }

    fn expire(&mut self) -> Option<i64> {
        self.random.one_in(3).then(|| self.now + self.random.below(400) as i64)
    }

    fn put(&mut self) {
        let ((db, name), expire) = (self.place(), self.expire());
        let hasher = self.keyspace.hasher().clone();
        let key = keyed(&hasher, &name);
        let value = match self.random.below(8) {
            0 => self.random.next().to_string().into_bytes(),
            1 => vec![b'l'; self.random.below(LONGEST)],
            _ => vec![b'0' + self.random.below(75) as u8; self.random.below(60)],
        };
        match self.random.below(4) {
            0 => self.keyspace.put(db, &key, Value::Str { bytes: value.clone(), raw: true }, expire),
            1 => self.keyspace.put_str(db, &key, &value, Encode::Raw, expire),
            _ => self.keyspace.put_str(db, &key, &value, Encode::Auto, expire),
        }
        self.model.insert((db, name), (value, expire));
    }

    fn change(&mut self) {
        let (db, name) = self.place();
        let hasher = self.keyspace.hasher().clone();
        let key = keyed(&hasher, &name);
        let expected = self.model.get_mut(&(db, name.clone()));
        if self.random.one_in(2) {
            let more = self.random.below(40);
            let found = self.keyspace.edit(db, &key, |bytes| {
                bytes.truncate(LONGEST - 40);
                bytes.resize(bytes.len() + more, b'+');
            });
            assert_eq!(found, expected.is_some());
            if let Some((bytes, _)) = expected {
                bytes.truncate(LONGEST - 40);
                bytes.resize(bytes.len() + more, b'+');
            }
        } else {
            let expire = self.random.one_in(2).then(|| self.now + self.random.below(400) as i64);
            let found = self.keyspace.set_expire(db, &key, expire);
            assert_eq!(found, expected.is_some());
            if let Some((_, at)) = expected {
                *at = expire;
            }
        }
    }

    fn remove(&mut self) {
        let (db, name) = self.place();
        let hasher = self.keyspace.hasher().clone();
        let removed = self.keyspace.remove(db, &keyed(&hasher, &name));
        assert_eq!(removed, self.model.remove(&(db, name)).is_some());
    }

    /// RENAME, or MOVE where the databases differ.
    fn rename(&mut self) {
        let (from, to) = (self.place(), self.place());
        let hasher = self.keyspace.hasher().clone();
        let taken = self.keyspace.take(from.0, &keyed(&hasher, &from.1));
        let moved = self.model.remove(&from);
        assert_eq!(taken.is_some(), moved.is_some());
        if let (Some((value, expire)), Some(moved)) = (taken, moved) {
            self.keyspace.put(to.0, &keyed(&hasher, &to.1), value, expire);
            self.model.insert(to, moved);
        }
    }

    fn pass(&mut self) {
        self.now += self.random.below(60) as i64;
        let (now, model) = (self.now, &mut self.model);
        self.keyspace.expire_step(now, 1 + self.random.below(50), &mut |db, key| {
            let (_, expire) = model.remove(&(db, key.to_vec())).expect("it expires once");
            assert!(expire.expect("it expires") <= now);
        });
    }

    fn touch(&mut self) {
        let (db, name) = self.place();
        let hasher = self.keyspace.hasher().clone();
        let access = Access::Lru { now_ms: self.random.below(1 << 30) as i64 };
        self.keyspace.touch(db, &keyed(&hasher, &name), &access);
        self.keyspace.set_birth(access);
    }

    fn clear(&mut self) {
        let db = self.random.below(DATABASES);
        self.keyspace.clear(db);
        self.model.retain(|&(of, _), _| of != db);
    }

    fn swap(&mut self) {
        let (a, b) = (self.random.below(DATABASES), self.random.below(DATABASES));
        self.keyspace.swap(a, b);
        let swapped = |db| {
            if db == a {
                b
            } else if db == b {
                a
            } else {
                db
            }
        };
        self.model = std::mem::take(&mut self.model)
            .into_iter()
            .map(|((db, name), held)| ((swapped(db), name), held))
            .collect();
    }

    fn write(&mut self) {
        match self.random.below(200) {
            0 => self.clear(),
            1 | 2 => self.swap(),
            3..8 => self.pass(),
            8..16 => {
                self.keyspace.reap(self.random.below(4096));
            }
            16..30 => self.touch(),
            30..40 => self.rename(),
            40..80 => self.change(),
            _ if self.random.below(10) < self.removals => self.remove(),
            _ => self.put(),
        }
    }

    fn begin(&mut self) {
        self.keyspace.begin_cut(encode);
        self.cut = Some((self.model.clone(), Model::new()));
    }

    fn finish(mut self) {
        // Some end amid a cut.
        if self.random.one_in(4) {
            self.begin();
            (0..50).for_each(|_| self.write());
            self.walk(100);
            if self.random.one_in(2) {
                return;
            }
            self.keyspace.end_cut();
        }
        self.keyspace.check_invariants();
        (0..DATABASES).for_each(|db| self.keyspace.clear(db));
        while self.keyspace.reap(1000) {}
        assert_eq!((self.keyspace.used_memory(), self.keyspace.cut_memory()), (0, 0));
    }

    fn walk(&mut self, budget: usize) {
        let Some((expected, given)) = &mut self.cut else { return };
        match self.keyspace.walk_cut(budget) {
            Some(chunk) => {
                // One entry passes the bound, or all that share its hash.
                let room = (LONGEST + 400) * if self.coarse { self.names } else { 1 };
                assert!(chunk.bytes.len() < budget.max(CUT_CHUNK) + room, "a chunk is bounded");
                decode(&chunk, given);
            }
            None => {
                assert!(given == expected, "the walk gave out the databases of the cut");
                assert!(!self.keyspace.is_cutting());
                self.cut = None;
            }
        }
    }
}

/// One case: cuts one after another, each under its own mix of writes and sizes of steps.
fn run(seed: u64) {
    let mut bench = Bench::new(seed);
    for _ in 0..bench.random.below(5) + 1 {
        bench.removals = 1 + bench.random.below(4);
        for _ in 0..bench.random.below(bench.names * 3) {
            bench.write();
        }
        bench.begin();
        bench.removals = bench.random.below(11);
        let (most_writes, most_bytes) =
            (1 + bench.random.below(60), [200, 2000, 20_000][bench.random.below(3)]);
        let patience = if bench.random.one_in(4) { bench.random.below(40) } else { usize::MAX };
        for step in 0.. {
            for _ in 0..bench.random.below(most_writes) {
                bench.write();
            }
            if step % 16 == 0 {
                bench.keyspace.check_invariants();
            }
            if step == patience {
                bench.keyspace.end_cut();
                bench.cut = None;
            }
            let budget = 1 + bench.random.below(most_bytes);
            bench.walk(budget);
            if bench.cut.is_none() {
                break;
            }
        }
    }
    bench.finish();
}

#[test]
fn a_cut_is_what_the_databases_held() {
    let number = |variable| std::env::var(variable).ok().and_then(|text| text.parse::<u64>().ok());
    let cases = number("TORC_TEST_CASES").unwrap_or(if cfg!(miri) { 3 } else { 2000 });
    for seed in number("TORC_TEST_SEED").map_or(0..cases, |seed| seed..seed + 1) {
        println!("TORC_TEST_SEED={seed}");
        run(seed);
    }
}

fn walk_all(keyspace: &mut Keyspace, budget: usize) -> Model {
    let mut given = Model::new();
    while let Some(chunk) = keyspace.walk_cut(budget) {
        decode(&chunk, &mut given);
    }
    given
}

fn put(keyspace: &mut Keyspace, db: usize, name: &[u8], value: &[u8]) {
    let key = keyspace.hasher().clone().key(name);
    keyspace.put_str(db, &key, value, Encode::Auto, None);
}

fn whole(hasher: KeyHasher) -> Keyspace {
    Keyspace::new(2, 0..crate::limits::SLOTS, hasher)
}

#[test]
fn keys_of_one_hash_are_saved_together() {
    let mut keyspace = whole(KeyHasher::coarse(1, 0));
    let names: Vec<Vec<u8>> = (0..40).map(|nth| format!("{{tag}}{nth}").into_bytes()).collect();
    names.iter().take(20).for_each(|name| put(&mut keyspace, 0, name, b"old"));
    keyspace.begin_cut(encode);
    assert!(keyspace.remove(0, &keyspace.hasher().clone().key(&names[3])));
    put(&mut keyspace, 0, &names[30], b"new");
    names.iter().for_each(|name| put(&mut keyspace, 0, name, b"new"));
    let given = walk_all(&mut keyspace, 1);
    assert_eq!(given.len(), 20);
    assert!(given.values().all(|held| held == &(b"old".to_vec(), None)));
}

#[test]
fn flushed_and_swapped_databases_are_given_out_as_they_were() {
    let mut keyspace = whole(KeyHasher::new(1));
    for nth in 0..100 {
        put(&mut keyspace, nth % 2, &name(nth), b"old");
    }
    keyspace.begin_cut(encode);
    let mut given = Model::new();
    for step in 0.. {
        match step {
            1 => keyspace.swap(0, 1),
            2 => keyspace.clear(1),
            3 => (0..100).for_each(|nth| put(&mut keyspace, 1, &name(nth), b"new")),
            4 => keyspace.swap(0, 1),
            5 => (0..2).for_each(|db| keyspace.clear(db)),
            6 => (0..100).for_each(|nth| put(&mut keyspace, 0, &name(nth), b"newer")),
            _ => {}
        }
        keyspace.check_invariants();
        let Some(chunk) = keyspace.walk_cut(100) else { break };
        decode(&chunk, &mut given);
    }
    let expected: Model = (0..100).map(|nth| ((nth % 2, name(nth)), (b"old".to_vec(), None))).collect();
    assert!(given == expected);
    assert_eq!((keyspace.len(0), keyspace.len(1)), (100, 0));
}

/// Flushing frees a table only once the walk is through it.
#[test]
fn a_flushed_table_is_freed_behind_the_walk() {
    let mut keyspace = whole(KeyHasher::new(1));
    (0..1000).for_each(|nth| put(&mut keyspace, 0, &name(nth), b"value"));
    let full = keyspace.used_memory();
    keyspace.begin_cut(encode);
    keyspace.clear(0);
    while keyspace.reap(usize::MAX) {}
    assert_eq!((keyspace.len(0), keyspace.used_memory()), (0, full));
    assert_eq!(walk_all(&mut keyspace, 1000).len(), 1000);
    while keyspace.reap(usize::MAX) {}
    assert_eq!(keyspace.used_memory(), 0);
    // Nothing is left of a cut that is given up, or dropped with its keyspace.
    put(&mut keyspace, 0, b"key", b"value");
    keyspace.begin_cut(encode);
    put(&mut keyspace, 0, b"key", b"other");
    keyspace.clear(0);
    assert!(keyspace.cut_memory() > 0);
    keyspace.end_cut();
    while keyspace.reap(1) {}
    assert_eq!((keyspace.used_memory(), keyspace.cut_memory(), keyspace.walk_cut(1)), (0, 0, None));
    put(&mut keyspace, 0, b"key", b"value");
    keyspace.begin_cut(encode);
    keyspace.clear(0);
}

#[test]
fn what_was_saved_early_goes_out_before_the_walk_goes_on() {
    let mut keyspace = whole(KeyHasher::new(1));
    let names: Vec<Vec<u8>> = (0..10_000).map(|nth| format!("key:{nth}").into_bytes()).collect();
    names.iter().for_each(|name| put(&mut keyspace, 0, name, b"old"));
    keyspace.begin_cut(encode);
    let changed = 5000;
    names.iter().take(changed).for_each(|name| put(&mut keyspace, 0, name, b"new"));
    assert!(keyspace.cut_waiting() >= 2);
    let mut given = Model::new();
    while keyspace.cut_waiting() > 0 {
        decode(&keyspace.walk_cut(1).expect("chunks wait"), &mut given);
    }
    // What did not fill a chunk comes with the next step.
    decode(&keyspace.walk_cut(1).expect("there is more"), &mut given);
    assert_eq!(given.len(), changed);
    given.extend(walk_all(&mut keyspace, CUT_CHUNK));
    assert_eq!(given.len(), names.len());
    assert!(given.values().all(|held| held == &(b"old".to_vec(), None)));
}

/// What the cut does not want is passed in slices too.
#[test]
fn a_step_is_bounded_whatever_it_passes() {
    let mut keyspace = whole(KeyHasher::new(1));
    put(&mut keyspace, 0, b"{t}", b"old");
    keyspace.begin_cut(encode);
    let made = 20_000;
    for nth in 0..made {
        put(&mut keyspace, 0, format!("{{t}}{nth}").as_bytes(), b"new");
    }
    let (mut steps, mut keys) = (0, 0);
    while let Some(chunk) = keyspace.walk_cut(CUT_CHUNK) {
        steps += 1;
        keys += chunk.keys;
        keyspace.check_cut();
    }
    assert_eq!(keys, 1);
    // Each of them is passed as an entry and forgotten as a hash.
    let per_step = CUT_CHUNK / super::VISIT_COST;
    assert!(steps >= made * 2 / (per_step + 100), "{steps} steps");
}

/// A cut under random overwrites, as many as a busy core does: what it holds at once is one step's changes, and a
/// rank for each hash that is settled and not passed.
#[test]
fn a_cut_takes_memory_for_changes_only() {
    let keys = if cfg!(miri) { 500 } else { 1_000_000 };
    let hasher = KeyHasher::new(1);
    let mut keyspace = whole(hasher.clone());
    let mut random = Random(1);
    let name = |nth: usize| format!("key:{nth:012}").into_bytes();
    (0..keys).for_each(|nth| put(&mut keyspace, 0, &name(nth), &[b'v'; 32]));
    let before = keyspace.used_memory();
    keyspace.begin_cut(encode);
    let (mut given, mut most, mut early) = (0, 0, 0);
    let writes = 200;
    while let Some(chunk) = keyspace.walk_cut(CUT_CHUNK) {
        given += chunk.keys;
        let held = keyspace.cut_memory();
        for _ in 0..writes {
            put(&mut keyspace, 0, &name(random.below(keys)), &[b'w'; 32]);
        }
        most = most.max(keyspace.cut_memory());
        early = early.max(keyspace.cut_memory() - held);
    }
    assert_eq!(given, keys);
    assert_eq!(keyspace.used_memory(), before);
    // An encoded entry takes 64 bytes, a buffer is at most twice what it holds, a settled hash counts 32.
    assert!(early <= writes * (2 * 64 + 32), "{early} bytes were held between two steps");
    println!("{most} bytes were held at most");
    // Half of the writes meet keys that the walk has passed. The databases take forty times as much.
    assert!(most <= 2 << 20, "{most} bytes were held for {keys} keys");
}
