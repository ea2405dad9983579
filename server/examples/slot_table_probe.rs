//! Measures the keyspace alone: memory per key, the slowest single insertion, lookups with and without prefetch, an
//! expiry storm, clearing, cuts. `cargo run --release --example slot_table_probe` runs each scenario in a process of its own;
//! name one (`spread:1000000`, `one-slot:1000000`, `storm:1000000`, `overwrite:1000000`, `cut:1000000`) to run only that.
//! Touches the library's public interface only.

use std::hint::black_box;
use std::sync::mpsc::{Sender, channel};
use std::time::Instant;

use torc_server::keyspace::{Ahead, Encode, Key, KeyHasher, Keyspace, ValueRef};
use torc_server::limits::CUT_CHUNK;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SCENARIOS: [&str; 9] = [
    "spread:100000",
    "spread:1000000",
    "spread:10000000",
    "one-slot:1000000",
    "storm:1000000",
    "overwrite:1000000",
    "cut:1000000",
    "cut-one-slot:1000000",
    "growth:4000000",
];
const VALUE: [u8; 32] = *b"a value of thirty-two bytes, yes";
/// An insertion this slow (ns) is looked at more closely.
const SLOW: u64 = 100_000;

fn main() {
    let Some(scenario) = std::env::args().nth(1) else {
        let this = std::env::current_exe().expect("the probe runs");
        for scenario in SCENARIOS {
            let status = std::process::Command::new(&this).arg(scenario).status().expect("the probe starts");
            assert!(status.success(), "{scenario} failed");
        }
        return;
    };
    let (name, keys) = scenario.split_once(':').expect("scenario:keys");
    let keys: u64 = keys.parse().expect("a number of keys");
    println!("== {name}, {keys} keys of 16 + 32 bytes");
    match name {
        "spread" => spread(keys),
        "one-slot" => one_slot(keys),
        "storm" => storm(keys),
        "overwrite" => overwrite(keys),
        "cut" => cut(keys, self::name),
        "cut-one-slot" => cut(keys, tagged),
        "growth" => growth(keys),
        other => panic!("no scenario {other}"),
    }
}

#[expect(clippy::disallowed_methods, reason = "a probe measures real time")]
fn now() -> Instant {
    Instant::now()
}

/// A spread-out permutation of the key numbers.
fn mixed(nth: u64) -> u64 {
    let word = nth.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (word ^ (word >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

/// The 16 bytes of key number `nth`.
fn name(nth: u64) -> [u8; 16] {
    let mut name = *b"0000000000000000";
    for (at, byte) in name.iter_mut().enumerate() {
        *byte = b"0123456789abcdef"[(mixed(nth) >> (at * 4) & 15) as usize];
    }
    name
}

fn tagged(nth: u64) -> [u8; 16] {
    let mut name = name(nth);
    name[..3].copy_from_slice(b"{t}");
    name
}

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.expect("statm lists pages") * 4096
}

/// Runs `slice` until it says that there is no more; prints the whole and the slowest slice that had the core to itself.
fn sliced(what: &str, mut slice: impl FnMut() -> bool) {
    let start = ran();
    let (mut worst, mut switches, mut more) = (0.0f64, preemptions(), true);
    while more {
        let begin = now();
        more = slice();
        let took = begin.elapsed().as_secs_f64() * 1e3;
        if took > worst {
            let count = preemptions();
            if count == switches {
                worst = took;
            }
            switches = count;
        }
    }
    println!("{what:<13} {:.0} ms in all, worst slice {worst:.2} ms", (ran() - start) as f64 / 1e6);
}

/// How often this thread was put aside for another.
fn preemptions() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok()).expect("status counts switches")
}

/// Time this thread ran on a core (ns), so that long stretches can be measured on a machine that is not idle.
fn ran() -> u64 {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    schedstat.split(' ').next().and_then(|ran| ran.parse().ok()).expect("schedstat begins with a time")
}

/// What one of `count` steps since `start` took (ns of a core).
fn each(start: u64, count: u64) -> f64 {
    (ran() - start) as f64 / count as f64
}

/// A thread that faults in what the keyspace will need.
struct Helper(Sender<Ahead>);

impl Helper {
    fn start() -> Self {
        let (sender, regions) = channel::<Ahead>();
        let (awake, started) = channel();
        std::thread::spawn(move || {
            awake.send(()).expect("its maker waits");
            regions.into_iter().for_each(Ahead::fault_in);
        });
        // What a thread costs is not to be counted as what keys cost.
        started.recv().expect("it starts");
        Helper(sender)
    }
}

fn keyspace() -> Keyspace {
    Keyspace::new(16, 0..16384, KeyHasher::new(0x5eed))
}

#[derive(Default)]
struct Insertions {
    each: f64,
    worst: u64,
    worst_preempted: u64,
    slow: u64,
}

/// Inserts and times each; slow ones during which another process had the core are told apart.
fn insert(
    keyspace: &mut Keyspace,
    helper: &Helper,
    names: impl Iterator<Item = [u8; 16]>,
    expire: Option<i64>,
) -> Insertions {
    let mut timing = Insertions::default();
    let (start, mut count) = (ran(), 0);
    let mut switches = preemptions();
    let hasher = keyspace.hasher().clone();
    let mut last = now();
    for name in names {
        if let Some(ahead) = keyspace.ahead() {
            helper.0.send(ahead).expect("the helper waits for the last sender");
        }
        let key = hasher.key(&name);
        keyspace.put_str(0, &key, &VALUE, Encode::Auto, expire);
        let next = now();
        let took = (next - last).as_nanos() as u64;
        count += 1;
        last = next;
        if took > SLOW {
            let count = preemptions();
            if count == switches {
                timing.worst = timing.worst.max(took);
                timing.slow += 1;
            } else {
                timing.worst_preempted = timing.worst_preempted.max(took);
            }
            switches = count;
            last = now();
        } else {
            timing.worst = timing.worst.max(took);
        }
    }
    timing.each = each(start, count);
    timing
}

fn report_insertions(timing: &Insertions) {
    println!(
        "insert        {:>6.1} ns each; worst {:.3} ms, {} over {:.1} ms ({:.1} ms with preemption)",
        timing.each,
        timing.worst as f64 / 1e6,
        timing.slow,
        SLOW as f64 / 1e6,
        timing.worst_preempted as f64 / 1e6
    );
}

fn report_memory(keyspace: &Keyspace, before: usize, keys: u64) {
    let per_key = |bytes: usize| bytes as f64 / keys as f64;
    println!(
        "memory        {:.1} B/key resident, {:.1} B/key counted",
        per_key(resident() - before),
        per_key(keyspace.used_memory())
    );
}

fn spread(keys: u64) {
    let helper = Helper::start();
    let before = resident();
    let mut keyspace = keyspace();
    let timing = insert(&mut keyspace, &helper, (0..keys).map(name), None);
    report_insertions(&timing);
    report_memory(&keyspace, before, keys);
    lookups(&keyspace, keys, name);
    scan(&keyspace, keys);
    let start = now();
    keyspace.clear(0);
    println!("clear         {:.3} ms", start.elapsed().as_secs_f64() * 1e3);
    sliced("reap", || keyspace.reap(1 << 18));
    println!("              {:.1} MB stay resident", resident().saturating_sub(before) as f64 / 1e6);
}

fn lookups(keyspace: &Keyspace, keys: u64, name: fn(u64) -> [u8; 16]) {
    let rounds = keys.clamp(1 << 20, 1 << 22);
    let picked = |nth: u64| name(mixed(nth ^ 0xabcdef) % keys);
    // What making the keys and hashing them costs by itself.
    let start = ran();
    let mut sum = 0;
    for nth in 0..rounds {
        let name = picked(nth);
        let key = keyspace.hasher().key(&name);
        sum ^= key.hash ^ u64::from(key.slot);
    }
    black_box(sum);
    let floor = each(start, rounds);
    let mut value = [0u8; 32];
    for batch in [1usize, 16, 64] {
        for prefetch in [false, true] {
            if batch == 1 && prefetch {
                continue;
            }
            let mut names = vec![[0u8; 16]; batch];
            let mut hashes = Vec::with_capacity(batch);
            let start = ran();
            for first in (0..rounds).step_by(batch) {
                for (at, slot) in names.iter_mut().enumerate() {
                    *slot = picked(first + at as u64);
                }
                look_up(keyspace, &names, &mut hashes, prefetch, &mut value);
            }
            black_box(value);
            let got = each(start, rounds) - floor;
            let how = if prefetch { "prefetched" } else { "" };
            println!("get           batch {batch:>2} {how:<10} {got:>6.1} ns (+ {floor:.1} for the key)");
        }
    }
}

fn look_up(
    keyspace: &Keyspace,
    names: &[[u8; 16]],
    hashes: &mut Vec<(u64, u16)>,
    prefetch: bool,
    value: &mut [u8; 32],
) {
    hashes.clear();
    for name in names {
        let key = keyspace.hasher().key(name);
        if prefetch {
            keyspace.prefetch_bucket(0, key.slot, key.hash);
        }
        hashes.push((key.hash, key.slot));
    }
    if prefetch {
        hashes.iter().for_each(|&(hash, slot)| keyspace.prefetch_entry(0, slot, hash));
    }
    for (name, &(hash, slot)) in names.iter().zip(hashes.iter()) {
        let entry = keyspace.get(0, &Key { bytes: name, hash, slot }).expect("every key is there");
        let mut digits = itoa::Buffer::new();
        let bytes = entry.value().to_bytes(&mut digits);
        for (to, from) in value.iter_mut().zip(bytes) {
            *to ^= from;
        }
    }
}

fn scan(keyspace: &Keyspace, keys: u64) {
    let start = ran();
    let (mut cursor, mut seen) = (0, 0);
    loop {
        cursor = keyspace.scan(0, cursor, 10, &mut |_| seen += 1);
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(seen, keys);
    println!("scan          {:>6.1} ns/key, 10 at a time", each(start, keys));
}

fn one_slot(keys: u64) {
    let helper = Helper::start();
    let before = resident();
    let mut keyspace = keyspace();
    let timing = insert(&mut keyspace, &helper, (0..keys).map(tagged), None);
    report_insertions(&timing);
    report_memory(&keyspace, before, keys);
    lookups(&keyspace, keys, tagged);
}

/// All keys expire in the same millisecond.
fn storm(keys: u64) {
    let helper = Helper::start();
    let before = resident();
    let mut keyspace = keyspace();
    let timing = insert(&mut keyspace, &helper, (0..keys).map(name), Some(1000));
    report_insertions(&timing);
    report_memory(&keyspace, before, keys);
    let mut expired = 0;
    sliced("expire", || {
        let step = keyspace.expire_step(1000, 500, &mut |_, key| {
            black_box(key);
        });
        expired += step.expired as u64;
        step.more
    });
    assert_eq!(expired, keys);
    sliced("give back", || keyspace.reap(1 << 18));
    println!("              {:.1} MB stay resident", resident().saturating_sub(before) as f64 / 1e6);
}

/// SET over existing keys: the same size, then other sizes.
fn overwrite(keys: u64) {
    let helper = Helper::start();
    let before = resident();
    let mut keyspace = keyspace();
    insert(&mut keyspace, &helper, (0..keys).map(name), None);
    let timing = insert(&mut keyspace, &helper, (0..keys).map(|nth| name(mixed(nth) % keys)), None);
    report_insertions(&timing);
    let hasher = keyspace.hasher().clone();
    let start = ran();
    for nth in 0..keys {
        let length = mixed(nth) as usize % 80;
        keyspace.put_str(0, &hasher.key(&name(nth)), &[b'v'; 80][..length], Encode::Auto, None);
    }
    println!("other sizes   {:>6.1} ns each", each(start, keys));
    report_memory(&keyspace, before, keys);
    let start = ran();
    for nth in 0..keys {
        assert!(keyspace.remove(0, &hasher.key(&name(nth))));
    }
    println!("remove        {:>6.1} ns each", each(start, keys));
}

/// About what an entry of a snapshot file takes to write.
fn encode(out: &mut Vec<u8>, key: &[u8], value: ValueRef<'_>, expire: Option<i64>) {
    if let Some(at) = expire {
        out.push(0xfc);
        out.extend_from_slice(&at.to_le_bytes());
    }
    let mut digits = itoa::Buffer::new();
    let value = value.to_bytes(&mut digits);
    out.push(0);
    for bytes in [key, value] {
        out.push(bytes.len() as u8);
        out.extend_from_slice(bytes);
    }
}

fn set(keyspace: &mut Keyspace, hasher: &KeyHasher, names: impl Iterator<Item = [u8; 16]>) {
    for name in names {
        keyspace.put_str(0, &hasher.key(&name), &VALUE, Encode::Auto, None);
    }
}

/// Walks a cut, at rest and under 64 SETs a step, and what it takes.
fn cut(keys: u64, name: fn(u64) -> [u8; 16]) {
    let helper = Helper::start();
    let mut keyspace = keyspace();
    insert(&mut keyspace, &helper, (0..keys).map(name), None);
    let hasher = keyspace.hasher().clone();
    let start = ran();
    let random = |nth: u64| name(mixed(nth) % keys);
    set(&mut keyspace, &hasher, (0..keys).map(random));
    println!("set           {:>6.1} ns each without a cut", each(start, keys));
    let (start, mut given, mut bytes) = (ran(), 0, 0);
    keyspace.begin_cut(encode);
    sliced("walk", || {
        let chunk = keyspace.walk_cut(CUT_CHUNK).unwrap_or_default();
        given += chunk.keys as u64;
        bytes += chunk.bytes.len();
        keyspace.is_cutting()
    });
    assert_eq!(given, keys);
    println!("              {:.1} ns/key, {:.1} B/key", each(start, keys), bytes as f64 / keys as f64);
    let (mut setting, mut sets, mut most) = (0, 0, 0);
    let start = ran();
    keyspace.begin_cut(encode);
    while keyspace.is_cutting() {
        let begin = ran();
        set(&mut keyspace, &hasher, (sets..sets + 64).map(random));
        setting += ran() - begin;
        sets += 64;
        most = most.max(keyspace.cut_memory());
        black_box(keyspace.walk_cut(CUT_CHUNK));
    }
    let walking = (ran() - start - setting) as f64 / keys as f64;
    println!(
        "under writes  {:>6.1} ns each of {sets}, {walking:.1} ns/key walked",
        setting as f64 / sets as f64
    );
    println!("              {:.1} kB held at most", most as f64 / 1e3);
    // All of it changes before the walk begins.
    keyspace.begin_cut(encode);
    let start = ran();
    set(&mut keyspace, &hasher, (0..keys).map(name));
    println!(
        "first change  {:>6.1} ns each, {:.1} B held per key",
        each(start, keys),
        keyspace.cut_memory() as f64 / keys as f64
    );
    sliced("give up", || {
        keyspace.end_cut();
        keyspace.reap(1 << 18)
    });
}

/// Memory per key all along the way: resizes must not leave holes.
fn growth(keys: u64) {
    let helper = Helper::start();
    let before = resident();
    let mut keyspace = keyspace();
    let mut from = 0;
    let mut to = 100_000;
    while from < keys {
        insert(&mut keyspace, &helper, (from..to).map(name), None);
        print!("{to:>9} keys  ");
        report_memory(&keyspace, before, to);
        (from, to) = (to, (to + to / 6).min(keys));
        if from == to {
            break;
        }
    }
}
