//! Keys among few and among many: found, not found, put in, taken out, looked up by the batch.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use torc_server::keyspace::{Encode, Key, KeyHasher, Keyspace};

use crate::one_core::SEED;

/// Keys of a keyspace that the caches hold, and of one that they do not.
const SIZES: [u64; 2] = [10_000, 1_000_000];
const VALUE: [u8; 32] = [b'v'; 32];
/// Commands that a core looks up together at most.
const BATCH: usize = 64;

pub fn benches(criterion: &mut Criterion) {
    for keys in SIZES {
        let mut keyspace = filled(keys);
        find(criterion, &keyspace, keys);
        batch(criterion, &keyspace, keys);
        change(criterion, &mut keyspace, keys);
    }
    growth(criterion);
    scan(criterion);
}

fn empty() -> Keyspace {
    Keyspace::new(16, 0..16384, KeyHasher::new(SEED))
}

fn filled(keys: u64) -> Keyspace {
    let mut keyspace = empty();
    for nth in 0..keys {
        put(&mut keyspace, &name(nth));
    }
    keyspace
}

fn put(keyspace: &mut Keyspace, name: &[u8; 16]) {
    let key = keyspace.hasher().key(name);
    keyspace.put_str(0, &key, &VALUE, Encode::Auto, None);
}

/// The 16 bytes of key number `nth`.
fn name(nth: u64) -> [u8; 16] {
    let mut name = *b"key:000000000000";
    let mut rest = nth;
    for byte in name[4..].iter_mut().rev() {
        *byte = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    name
}

/// Names in an order without pattern, a few thousand of them, from `first` on; by way of a permutation of a power of two.
fn names(first: u64, keys: u64) -> Vec<[u8; 16]> {
    let scattered = |nth: u64| nth.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    (0..8192).map(|nth| name(first + scattered(nth) % keys)).collect()
}

/// Calls `each` with one name after the other, round and round.
fn in_turn<'a>(names: &'a [[u8; 16]], mut each: impl FnMut(&'a [u8; 16])) -> impl FnMut() {
    let mut names = names.iter().cycle();
    move || each(names.next().expect("a cycle has no end"))
}

fn find(criterion: &mut Criterion, keyspace: &Keyspace, keys: u64) {
    for (what, first) in [("hit", 0), ("miss", keys)] {
        let names = names(first, keys);
        criterion.bench_function(&format!("slot table/get {what}/{keys}"), |bench| {
            bench.iter(in_turn(&names, |name| {
                let key = keyspace.hasher().key(name);
                assert_eq!(black_box(keyspace.get(0, &key)).is_some(), first == 0);
            }));
        });
    }
}

/// A pipeline's keys: with the three stages of prefetching, and without.
fn batch(criterion: &mut Criterion, keyspace: &Keyspace, keys: u64) {
    let names = names(0, keys);
    let mut group = criterion.benchmark_group("slot table");
    group.throughput(Throughput::Elements(BATCH as u64));
    for (what, ahead) in [("prefetched", true), ("one by one", false)] {
        let mut batches = names.chunks_exact(BATCH).cycle();
        group.bench_function(BenchmarkId::new(format!("batch of {BATCH} {what}"), keys), |bench| {
            bench.iter(|| {
                let batch = batches.next().expect("a cycle has no end");
                let keys: Vec<Key> = batch.iter().map(|name| keyspace.hasher().key(name)).collect();
                if ahead {
                    keys.iter().for_each(|key| keyspace.prefetch_slot(0, key.slot));
                    keys.iter().for_each(|key| keyspace.prefetch_bucket(0, key.slot, key.hash));
                    keys.iter().for_each(|key| keyspace.prefetch_entry(0, key.slot, key.hash));
                }
                let hits = keys.iter().filter(|key| keyspace.get(0, key).is_some()).count();
                assert_eq!(black_box(hits), BATCH);
            });
        });
    }
    group.finish();
}

fn change(criterion: &mut Criterion, keyspace: &mut Keyspace, keys: u64) {
    let names = names(0, keys);
    criterion.bench_function(&format!("slot table/overwrite/{keys}"), |bench| {
        bench.iter(in_turn(&names, |name| put(keyspace, name)));
    });
    let fresh = self::names(keys, keys);
    criterion.bench_function(&format!("slot table/insert and remove/{keys}"), |bench| {
        bench.iter(in_turn(&fresh, |name| {
            put(keyspace, name);
            let key = keyspace.hasher().key(name);
            assert!(keyspace.remove(0, &key));
        }));
    });
}

/// A keyspace from nothing to 100 000 keys: over all slots, and in one that is split again and again.
fn growth(criterion: &mut Criterion) {
    const KEYS: u64 = 100_000;
    let tagged = |nth| {
        let mut name = name(nth);
        name[..4].copy_from_slice(b"{t}:");
        name
    };
    let mut group = criterion.benchmark_group("slot table");
    group.sample_size(10).throughput(Throughput::Elements(KEYS));
    for (what, name) in [("all slots", name as fn(u64) -> [u8; 16]), ("one slot", tagged)] {
        let names: Vec<[u8; 16]> = (0..KEYS).map(name).collect();
        group.bench_function(format!("growth, {what}"), |bench| {
            let grow = |mut keyspace: Keyspace| {
                names.iter().for_each(|name| put(&mut keyspace, name));
                keyspace
            };
            bench.iter_batched(empty, grow, BatchSize::PerIteration);
        });
    }
    group.finish();
}

fn scan(criterion: &mut Criterion) {
    let keyspace = filled(SIZES[0]);
    let mut cursor = 0;
    criterion.bench_function("slot table/scan of 10", |bench| {
        bench.iter(|| {
            let mut seen = 0;
            cursor = keyspace.scan(0, cursor, 10, &mut |entry| seen += entry.key().len());
            black_box(seen)
        });
    });
}
