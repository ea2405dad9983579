//! The slot table against a map, with segments so small that they split and join all the time.

use std::collections::HashMap;

use super::SlotTable;
use crate::structures::entry::{Content, Draft, OwnedEntry, Payload};
use crate::structures::hash::KeyHasher;
use crate::structures::heap::Heap;
use crate::structures::walk::Position;

const SLOTS: usize = 2;

struct Bench {
    table: SlotTable,
    heap: Heap,
    hasher: KeyHasher,
    model: HashMap<Vec<u8>, (i64, Option<i64>)>,
}

fn name(nth: u64) -> Vec<u8> {
    format!("key:{nth}").into_bytes()
}

impl Bench {
    fn new(seed: u64) -> Self {
        let mut heap = Heap::new();
        let table = SlotTable::new(SLOTS, &mut heap);
        Bench { table, heap, hasher: KeyHasher::new(seed), model: HashMap::new() }
    }

    fn put(&mut self, nth: u64, value: i64, expire: Option<i64>) {
        let bytes = name(nth);
        let key = self.hasher.key(&bytes);
        let local = nth as usize % SLOTS;
        let draft = Draft { key: &bytes, meta: 0, access: 0, expire, content: Content::Int(value) };
        match self.table.locate(local, &key) {
            None => {
                let entry = OwnedEntry::new(draft, &mut self.heap);
                self.table.insert(local, key.hash, entry, &self.hasher, &mut self.heap);
            }
            Some(place) => self.table.change_expiry(place, &mut self.heap, |entry, heap| {
                let new = OwnedEntry::new(draft, heap);
                std::mem::replace(entry, new).free(heap);
            }),
        }
        self.model.insert(bytes, (value, expire));
    }

    fn remove(&mut self, nth: u64) {
        let bytes = name(nth);
        let key = self.hasher.key(&bytes);
        let place = self.table.locate(nth as usize % SLOTS, &key);
        assert_eq!(place.is_some(), self.model.remove(&bytes).is_some());
        if let Some(place) = place {
            let entry = self.table.remove(place, key.hash, &self.hasher, &mut self.heap);
            entry.free(&mut self.heap);
        }
    }

    fn sweep(&mut self, now: i64, budget: usize) {
        let model = &mut self.model;
        loop {
            let sweep = self.table.sweep(now, budget, &self.hasher, &mut self.heap, &mut |entry, _, heap| {
                let (_, expire) = model.remove(entry.view().key()).expect("it was there");
                assert!(expire.expect("it expires") <= now);
                entry.free(heap);
            });
            if !sweep.more {
                break;
            }
        }
    }

    fn check(&self) {
        self.table.check_invariants(&self.hasher);
        assert_eq!(self.table.len(), self.model.len());
        assert_eq!(self.table.volatile(), self.model.values().filter(|(_, expire)| expire.is_some()).count());
        for (bytes, &(value, expire)) in &self.model {
            let key = self.hasher.key(bytes);
            let nth: u64 = std::str::from_utf8(&bytes[4..]).expect("digits").parse().expect("digits");
            let entry = self.table.find(nth as usize % SLOTS, &key).expect("the model has it");
            assert!(matches!(entry.payload(), Payload::Int(found) if found == value));
            assert_eq!(entry.expire(), expire);
        }
    }

    fn finish(mut self) {
        while !self.table.drain(10, &mut self.heap, &mut |entry, heap| entry.free(heap)) {}
        assert_eq!(self.heap.used(), 0);
        assert_eq!(self.table.len(), 0);
    }
}

fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
    *state >> 33
}

#[test]
fn grows_shrinks_splits_and_joins_like_a_map() {
    for seed in 0..if cfg!(miri) { 1 } else { 20 } {
        println!("seed {seed}");
        let mut bench = Bench::new(seed);
        let mut state = seed;
        let steps: u64 = if cfg!(miri) { 300 } else { 4000 };
        for step in 0..steps {
            let nth = random(&mut state) % 1500;
            // Mostly growing at first, mostly shrinking in the end.
            if random(&mut state) % steps > step {
                let expire = random(&mut state).is_multiple_of(3).then(|| random(&mut state) as i64 % 50_000);
                bench.put(nth, step as i64, expire);
            } else {
                bench.remove(nth);
            }
            if step.is_multiple_of(100) {
                bench.sweep(step as i64 * 10, 7);
                bench.check();
            }
        }
        bench.check();
        for nth in 0..1500 {
            bench.remove(nth);
        }
        assert!(bench.table.is_empty());
        bench.check();
        bench.finish();
    }
}

/// What is there from the first to the last step of a scan is visited, and once, while most of the table comes and goes.
#[test]
fn a_scan_keeps_its_promise_while_the_table_grows_and_shrinks() {
    for seed in 0..if cfg!(miri) { 1 } else { 30 } {
        println!("seed {seed}");
        let (mut bench, mut state) = (Bench::new(seed), seed);
        let stay = if cfg!(miri) { 40 } else { 200 };
        for nth in 0..stay {
            bench.put(nth, 0, None);
        }
        let mut seen: HashMap<Vec<u8>, usize> = HashMap::new();
        let mut from = Some(Position { local: 0, hash: 0 });
        let mut steps = 0;
        while let Some(at) = from {
            let budget = 1 + random(&mut state) as usize % 20;
            from = bench.table.scan(at, budget, &bench.hasher, &mut |entry| {
                *seen.entry(entry.key().to_vec()).or_default() += 1;
            });
            let growing = (seed + steps / 8).is_multiple_of(2);
            for _ in 0..60 {
                let nth = stay + random(&mut state) % 1000;
                if growing { bench.put(nth, 0, None) } else { bench.remove(nth) }
            }
            steps += 1;
        }
        for nth in 0..stay {
            assert_eq!(seen.get(&name(nth)), Some(&1), "key {nth}");
        }
        bench.finish();
    }
}

#[test]
fn a_sweep_finds_all_that_is_due_and_rests_after_a_poor_one() {
    let mut bench = Bench::new(5);
    for nth in 0..400 {
        bench.put(nth, 0, Some(1000 + nth as i64 * 1000));
    }
    assert_eq!(bench.table.first_due(), Some(1000));
    bench.sweep(999, 10);
    assert_eq!(bench.model.len(), 400);
    bench.sweep(200_000, 10);
    assert_eq!(bench.model.len(), 200);
    bench.check();
    // Each later sweep examines what is left for one or two: the table says when the next is worth it.
    bench.sweep(201_000, 10);
    let due = bench.table.first_due().expect("more expire");
    assert!((201_000..=202_000).contains(&due), "{due}");
    bench.sweep(i64::MAX - 1, 10);
    assert!(bench.model.is_empty());
    assert_eq!(bench.table.first_due(), None);
    bench.finish();
}

#[test]
fn random_entries_are_spread_evenly() {
    let mut bench = Bench::new(9);
    for nth in 0..50 {
        bench.put(nth, 0, None);
    }
    let mut hits: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut state = 1;
    let rounds = if cfg!(miri) { 100 } else { 50_000 };
    for _ in 0..rounds {
        let mut word = || random(&mut state) << 32 ^ random(&mut state);
        let entry = bench.table.random(&mut word).expect("it is not empty");
        *hits.entry(entry.key().to_vec()).or_default() += 1;
    }
    if !cfg!(miri) {
        assert_eq!(hits.len(), 50);
        assert!(hits.values().all(|&count| (700..1300).contains(&count)), "{hits:?}");
    }
    bench.finish();
}
