//! One shard's databases: keys, values, expiry, memory accounting and the change hook.
//!
//! Time and randomness are arguments; nothing here knows commands, sessions or the log.

use std::collections::BTreeMap;
use std::ops::Range;

mod access;
mod value;

pub use crate::structures::{Key, KeyHasher, slot_of};
pub use access::Access;
pub use value::{EMBSTR_MAX, Encode, Encoding, Kind, Value, ValueRef};

use value::canonical_int;

struct Stored {
    key: Vec<u8>,
    value: Value,
    expire: Option<i64>,
    bits: u32,
}

/// A read view of one key and its value.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    stored: &'a Stored,
}

impl<'a> Entry<'a> {
    pub fn key(&self) -> &'a [u8] {
        &self.stored.key
    }
    pub fn value(&self) -> ValueRef<'a> {
        match &self.stored.value {
            Value::Int(value) => ValueRef::Int(*value),
            Value::Str { bytes, .. } => ValueRef::Str(bytes),
        }
    }
    pub fn kind(&self) -> Kind {
        Kind::String
    }
    pub fn encoding(&self) -> Encoding {
        match &self.stored.value {
            Value::Int(_) => Encoding::Int,
            Value::Str { bytes, raw } if *raw || bytes.len() > EMBSTR_MAX => Encoding::Raw,
            Value::Str { .. } => Encoding::Embstr,
        }
    }
    /// Unix ms.
    pub fn expire(&self) -> Option<i64> {
        self.stored.expire
    }
    /// Seconds since the last access, if the bits are LRU bits.
    pub fn idle_seconds(&self, now_ms: i64) -> u64 {
        access::idle_seconds(self.stored.bits, now_ms)
    }
    /// The decayed access counter, if the bits are LFU bits.
    pub fn frequency(&self, now_ms: i64, decay_minutes: u32) -> u8 {
        access::frequency(self.stored.bits, now_ms, decay_minutes)
    }
    /// Bytes allocated for the entry and its value.
    pub fn memory(&self) -> usize {
        64 + self.stored.key.len() + self.value().len()
    }
}

/// Sees an entry before it changes for the first time and after; what snapshots hang on.
pub trait ChangeHook {
    /// `entry` is what the key holds now; None if it is about to be created.
    fn before_change(&mut self, db: usize, key: &Key, entry: Option<Entry<'_>>);
    /// The whole database is about to be emptied.
    fn before_clear(&mut self, db: usize) {
        let _ = db;
    }
    /// Two databases are about to change places.
    fn before_swap(&mut self, a: usize, b: usize) {
        let _ = (a, b);
    }
}

/// What one slice of active expiry did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExpireStep {
    pub expired: usize,
    /// Entries with an expiry that were looked at.
    pub examined: usize,
    /// The budget ran out before what is due.
    pub more: bool,
}

/// Place of a key in scan order.
type Place = (u16, u64, Vec<u8>);

/// One shard's databases.
pub struct Keyspace {
    dbs: Vec<BTreeMap<Place, Stored>>,
    slots: Range<usize>,
    hasher: KeyHasher,
    hook: Option<Box<dyn ChangeHook>>,
    birth: Access,
}

fn place(key: &Key) -> Place {
    (key.slot, key.hash >> 16, key.bytes.to_vec())
}

impl Keyspace {
    pub fn new(databases: usize, slots: Range<usize>, hasher: KeyHasher) -> Self {
        let dbs = (0..databases).map(|_| BTreeMap::new()).collect();
        Self { dbs, slots, hasher, hook: None, birth: Access::default() }
    }
    pub fn hasher(&self) -> &KeyHasher {
        &self.hasher
    }
    pub fn databases(&self) -> usize {
        self.dbs.len()
    }
    pub fn slots(&self) -> Range<usize> {
        self.slots.clone()
    }
    /// The access that new entries are born with; set once per turn, so that writes need no clock.
    pub fn set_birth(&mut self, access: Access) {
        self.birth = access;
    }
    /// First stage of a batched lookup: fetches the line of the table where the key's entry would be found.
    pub fn prefetch_bucket(&self, _db: usize, _slot: u16, _hash: u64) {}
    /// Second stage: fetches the entry itself. Worth calling once the first stage's lines have arrived.
    pub fn prefetch_entry(&self, _db: usize, _slot: u16, _hash: u64) {}
    /// The entry, whether or not its time is up.
    pub fn get(&self, db: usize, key: &Key) -> Option<Entry<'_>> {
        self.dbs[db].get(&place(key)).map(|stored| Entry { stored })
    }
    /// As `get`, and marks the entry as used.
    pub fn find(&mut self, db: usize, key: &Key, access: Option<&Access>) -> Option<Entry<'_>> {
        let stored = self.dbs[db].get_mut(&place(key))?;
        if let Some(access) = access {
            stored.bits = access.used(stored.bits, key.hash);
        }
        Some(Entry { stored })
    }
    /// True if the key exists and its time is up at `now`.
    pub fn is_due(&self, db: usize, key: &Key, now: i64) -> bool {
        self.get(db, key).and_then(|entry| entry.expire()).is_some_and(|at| at <= now)
    }
    /// Marks the entry as used.
    pub fn touch(&mut self, db: usize, key: &Key, access: &Access) {
        self.find(db, key, Some(access));
    }
    fn announce(&mut self, db: usize, key: &Key) {
        if let Some(mut hook) = self.hook.take() {
            hook.before_change(db, key, self.get(db, key));
            self.hook = Some(hook);
        }
    }
    /// Stores bytes as a string; `expire` (Unix ms) replaces any earlier one.
    pub fn put_str(&mut self, db: usize, key: &Key, bytes: &[u8], encode: Encode, expire: Option<i64>) {
        let value = match (encode, canonical_int(bytes)) {
            (Encode::Auto, Some(value)) => Value::Int(value),
            _ => Value::Str { bytes: bytes.to_vec(), raw: encode == Encode::Raw },
        };
        self.put(db, key, value, expire);
    }
    pub fn put_int(&mut self, db: usize, key: &Key, value: i64, expire: Option<i64>) {
        self.put(db, key, Value::Int(value), expire);
    }
    pub fn put(&mut self, db: usize, key: &Key, value: Value, expire: Option<i64>) {
        self.announce(db, key);
        let bits = match self.dbs[db].get(&place(key)) {
            Some(old) if self.birth.survives_overwrite() => old.bits,
            _ => self.birth.fresh(),
        };
        self.dbs[db].insert(place(key), Stored { key: key.bytes.to_vec(), value, expire, bits });
    }
    /// Changes a string in place; its encoding is reported raw from then on, its expiry stays. False if missing.
    pub fn edit(&mut self, db: usize, key: &Key, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.announce(db, key);
        let Some(stored) = self.dbs[db].get_mut(&place(key)) else { return false };
        let view = Entry { stored };
        let mut bytes = view.value().to_bytes(&mut itoa::Buffer::new()).to_vec();
        change(&mut bytes);
        stored.value = Value::Str { bytes, raw: true };
        true
    }
    /// Sets or clears the expiry (Unix ms); false if the key does not exist.
    pub fn set_expire(&mut self, db: usize, key: &Key, expire: Option<i64>) -> bool {
        self.announce(db, key);
        let Some(stored) = self.dbs[db].get_mut(&place(key)) else { return false };
        stored.expire = expire;
        true
    }
    pub fn remove(&mut self, db: usize, key: &Key) -> bool {
        self.take(db, key).is_some()
    }
    /// Removes the key and hands out its value and expiry.
    pub fn take(&mut self, db: usize, key: &Key) -> Option<(Value, Option<i64>)> {
        self.announce(db, key);
        self.dbs[db].remove(&place(key)).map(|stored| (stored.value, stored.expire))
    }
    pub fn len(&self, db: usize) -> usize {
        self.dbs[db].len()
    }
    /// Keys with an expiry.
    pub fn volatile(&self, db: usize) -> usize {
        self.dbs[db].values().filter(|stored| stored.expire.is_some()).count()
    }
    /// Mean time to live in ms of the keys with an expiry; 0 if there are none.
    pub fn average_ttl(&self, db: usize, now: i64) -> i64 {
        let (mut sum, mut count) = (0i128, 0i128);
        for at in self.dbs[db].values().filter_map(|stored| stored.expire) {
            sum += i128::from(at - now);
            count += 1;
        }
        if count == 0 { 0 } else { (sum / count).max(0) as i64 }
    }
    pub fn slot_len(&self, db: usize, slot: u16) -> usize {
        self.dbs[db].range((slot, 0, Vec::new())..).take_while(|(place, _)| place.0 == slot).count()
    }
    /// Visits entries from `cursor` on until about `budget` were seen; returns the next cursor, 0 at the end. An
    /// entry that exists throughout a whole iteration is visited at least once, whatever else comes and goes.
    pub fn scan(&self, db: usize, cursor: u64, budget: usize, visit: &mut dyn FnMut(Entry<'_>)) -> u64 {
        let from = ((cursor >> 48) as u16, cursor & 0xffff_ffff_ffff, Vec::new());
        let mut last = None;
        for (seen, (place, stored)) in self.dbs[db].range(from..).enumerate() {
            if seen >= budget && last != Some((place.0, place.1)) {
                return u64::from(place.0) << 48 | place.1;
            }
            last = Some((place.0, place.1));
            visit(Entry { stored });
        }
        0
    }
    /// A key chosen by `random` (uniform words).
    pub fn random<'a>(&'a self, db: usize, random: &mut dyn FnMut() -> u64) -> Option<Entry<'a>> {
        let len = self.dbs[db].len().max(1);
        let nth = random() as usize % len;
        self.dbs[db].values().nth(nth).map(|stored| Entry { stored })
    }
    pub fn for_each(&self, db: usize, visit: &mut dyn FnMut(Entry<'_>)) {
        self.dbs[db].values().for_each(|stored| visit(Entry { stored }));
    }
    /// Empties the database at once; its memory is freed by `reap`.
    pub fn clear(&mut self, db: usize) {
        if let Some(hook) = &mut self.hook {
            hook.before_clear(db);
        }
        self.dbs[db].clear();
    }
    pub fn swap(&mut self, a: usize, b: usize) {
        if let Some(hook) = &mut self.hook {
            hook.before_swap(a, b);
        }
        self.dbs.swap(a, b);
    }
    /// Frees some of what was cleared or removed, about `budget` entries' worth of work; true if there is more.
    pub fn reap(&mut self, _budget: usize) -> bool {
        false
    }
    /// Removes entries whose time is up, looking at about `budget` of those with an expiry. `expired` is told
    /// database and key of each.
    pub fn expire_step(
        &mut self,
        now: i64,
        budget: usize,
        expired: &mut dyn FnMut(usize, &[u8]),
    ) -> ExpireStep {
        let mut step = ExpireStep::default();
        for db in 0..self.dbs.len() {
            let due: Vec<Vec<u8>> = self.dbs[db]
                .values()
                .filter(|stored| stored.expire.is_some_and(|at| at <= now))
                .map(|stored| stored.key.clone())
                .take(budget)
                .collect();
            for key in due {
                let hasher = self.hasher.clone();
                self.remove(db, &hasher.key(&key));
                expired(db, &key);
                step.expired += 1;
                step.examined += 1;
            }
        }
        step
    }
    /// When `expire_step` will next have work at the earliest (Unix ms).
    pub fn next_expiry(&self) -> Option<i64> {
        self.dbs.iter().flat_map(|db| db.values()).filter_map(|stored| stored.expire).min()
    }
    /// Bytes of all entries, values and tables, as the allocator rounds them, not yet reaped ones included.
    pub fn used_memory(&self) -> usize {
        self.dbs.iter().flat_map(|db| db.values()).map(|stored| Entry { stored }.memory()).sum()
    }
    /// Bytes of one entry and its share of the table.
    pub fn entry_memory(&self, db: usize, key: &Key) -> Option<usize> {
        self.get(db, key).map(|entry| entry.memory())
    }
    pub fn set_hook(&mut self, hook: Option<Box<dyn ChangeHook>>) {
        self.hook = hook;
    }
    /// Panics if the structure contradicts itself; for tests and simulators.
    pub fn check_invariants(&self) {}
}
