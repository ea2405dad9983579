//! What a handler works on: its shard's data, the clock of this turn, and the reply it writes.

use super::{Args, Outbox, WatchTable};
use crate::keyspace::{Access, Encode, Entry, Key, Keyspace, Usage, Value, ValueRef};
use crate::limits;
use crate::resp::{Refusal, Reply};

/// What is done about keys whose time is up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expiry {
    /// They are removed, when met and in the background.
    #[default]
    Remove,
    /// They stay until the primary removes them. Who reads misses them; who writes, which is the primary, finds them.
    Hide,
    /// They stay, and are found: a log is being applied, which removes them where it says so.
    Keep,
}

/// All that a shard holds and commands work on.
pub struct Data {
    pub keyspace: Keyspace,
    pub outbox: Outbox,
    pub watches: WatchTable,
    pub hits: u64,
    pub misses: u64,
    /// Keys removed because their time was up, lazily or actively.
    pub expired: u64,
    /// Whether active expiry runs (DEBUG SET-ACTIVE-EXPIRE).
    pub active_expire: bool,
    /// Number of the last cut that began here.
    pub cut: u64,
    pub expiry: Expiry,
    /// How lookups mark entries as used: the policy of `maxmemory-policy`.
    pub access: Access,
    /// State of `next_random`, seeded at start.
    pub random: u64,
    /// `proto-max-bulk-len`: longest string that a command may build, in bytes.
    pub max_string: u64,
    /// `rdbcompression`: whether DUMP compresses strings.
    pub compresses: bool,
}

impl Data {
    pub fn new(keyspace: Keyspace, seed: u64) -> Self {
        Data {
            keyspace,
            outbox: Outbox::default(),
            watches: WatchTable::default(),
            hits: 0,
            misses: 0,
            expired: 0,
            active_expire: true,
            cut: 0,
            expiry: Expiry::default(),
            access: Access::default(),
            random: seed | 1,
            max_string: limits::MAX_BULK,
            compresses: true,
        }
    }

    pub fn next_random(&mut self) -> u64 {
        next_random(&mut self.random)
    }
}

/// xorshift64*: fast, and good enough for RANDOMKEY and LFU counters, which need no secrecy.
fn next_random(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_F491_4F6C_DD1D)
}

pub struct Ctx<'a> {
    pub data: &'a mut Data,
    pub db: usize,
    /// Unix time in milliseconds, the same for all commands of a turn.
    pub now: i64,
    pub reply: Reply<'a>,
    /// CLIENT NO-TOUCH: lookups leave LRU and LFU bits alone.
    pub no_touch: bool,
}

impl<'a> Ctx<'a> {
    /// Removes `key` if its time is up and that is for this server to decide. Every lookup comes through here first.
    /// True if a reader must miss a key that is there.
    #[inline]
    fn expire_if_due(&mut self, key: &Key) -> bool {
        self.data.keyspace.is_due(self.db, key, self.now) && self.overdue(key)
    }

    #[cold]
    fn overdue(&mut self, key: &Key) -> bool {
        if self.data.expiry == Expiry::Remove {
            self.expire(key);
        }
        self.data.expiry == Expiry::Hide
    }

    #[cold]
    fn expire(&mut self, key: &Key) {
        self.data.keyspace.remove(self.db, key);
        self.data.watches.touch(self.db, key);
        self.data.expired += 1;
        self.effect(&[b"DEL", key.bytes]);
    }

    /// Whether a key that is to expire at `at` goes at once.
    pub fn has_come(&self, at: i64) -> bool {
        at <= self.now && self.data.expiry == Expiry::Remove
    }

    /// The entry, for a command that reads it: counts a hit or a miss and marks the entry as used.
    #[inline]
    pub fn read(&mut self, key: &Key) -> Option<Entry<'_>> {
        if self.expire_if_due(key) {
            self.data.misses += 1;
            return None;
        }
        self.find_counted(key)
    }

    /// As `read`, for a command that writes elsewhere what it reads here.
    pub fn read_source(&mut self, key: &Key) -> Option<Entry<'_>> {
        self.expire_if_due(key);
        self.find_counted(key)
    }

    #[inline]
    fn find_counted(&mut self, key: &Key) -> Option<Entry<'_>> {
        let access = if self.no_touch { None } else { Some(&self.data.access) };
        let entry = self.data.keyspace.find(self.db, key, access);
        if entry.is_some() {
            self.data.hits += 1;
        } else {
            self.data.misses += 1;
        }
        entry
    }

    /// As `read`, without marking the entry as used (TTL, TYPE, EXISTS).
    pub fn read_no_touch(&mut self, key: &Key) -> Option<Entry<'_>> {
        if self.expire_if_due(key) {
            self.data.misses += 1;
            return None;
        }
        let entry = self.data.keyspace.get(self.db, key);
        if entry.is_some() {
            self.data.hits += 1;
        } else {
            self.data.misses += 1;
        }
        entry
    }

    /// The entry, unmarked and uncounted (OBJECT, DEBUG).
    pub fn peek(&mut self, key: &Key) -> Option<Entry<'_>> {
        if self.expire_if_due(key) { None } else { self.data.keyspace.get(self.db, key) }
    }

    /// The entry, for a command that is going to write it: marks it as used, counts nothing.
    #[inline]
    pub fn lookup(&mut self, key: &Key) -> Option<Entry<'_>> {
        self.expire_if_due(key);
        let access = if self.no_touch { None } else { Some(&self.data.access) };
        self.data.keyspace.find(self.db, key, access)
    }

    /// The string at `key` for reading; another type is refused.
    #[inline]
    pub fn read_string(&mut self, key: &Key) -> Result<Option<ValueRef<'_>>, Refusal> {
        self.read(key).map(string_of).transpose()
    }

    /// As `read_string`, with the reply to write it to, which could not be borrowed beside the value.
    #[inline]
    pub fn read_replying(&mut self, key: &Key) -> Result<(Option<ValueRef<'_>>, &mut Reply<'a>), Refusal> {
        let hidden = self.expire_if_due(key);
        let data = &mut *self.data;
        let access = if self.no_touch { None } else { Some(&data.access) };
        let entry = if hidden { None } else { data.keyspace.find(self.db, key, access) };
        if entry.is_some() {
            data.hits += 1;
        } else {
            data.misses += 1;
        }
        Ok((entry.map(string_of).transpose()?, &mut self.reply))
    }

    /// The string at `key` for a command that is going to write it.
    pub fn lookup_string(&mut self, key: &Key) -> Result<Option<ValueRef<'_>>, Refusal> {
        self.lookup(key).map(string_of).transpose()
    }

    /// As `lookup_string`, with the key's time of expiry in Unix ms.
    #[inline]
    pub fn lookup_string_with_expiry(
        &mut self,
        key: &Key,
    ) -> Result<Option<(ValueRef<'_>, Option<i64>)>, Refusal> {
        let Some(entry) = self.lookup(key) else { return Ok(None) };
        Ok(Some((string_of(entry)?, entry.expire())))
    }

    /// Time of expiry of an existing key, in Unix ms.
    pub fn expire_of(&self, key: &Key) -> Option<i64> {
        self.data.keyspace.get(self.db, key).and_then(|entry| entry.expire())
    }

    /// Stores bytes as a string value, integers as integers; `expire` in Unix ms replaces any earlier one.
    #[inline]
    pub fn put_str(&mut self, key: &Key, bytes: &[u8], encode: Encode, expire: Option<i64>) {
        self.data.keyspace.put_str(self.db, key, bytes, encode, expire);
        self.data.watches.touch(self.db, key);
    }

    pub fn put_int(&mut self, key: &Key, value: i64, expire: Option<i64>) {
        self.data.keyspace.put_int(self.db, key, value, expire);
        self.data.watches.touch(self.db, key);
    }

    pub fn put(&mut self, key: &Key, value: Value, expire: Option<i64>) {
        self.data.keyspace.put(self.db, key, value, expire);
        self.data.watches.touch(self.db, key);
    }

    /// Changes a string in place; its encoding is then raw. False if the key does not exist.
    pub fn edit(&mut self, key: &Key, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let edited = self.data.keyspace.edit(self.db, key, change);
        self.data.watches.touch(self.db, key);
        edited
    }

    /// Sets or clears the expiry; false if the key does not exist.
    pub fn set_expire(&mut self, key: &Key, expire: Option<i64>) -> bool {
        let found = self.data.keyspace.set_expire(self.db, key, expire);
        if found {
            self.data.watches.touch(self.db, key);
        }
        found
    }

    /// Marks an entry as used so, if that is what `maxmemory-policy` tracks.
    pub fn set_usage(&mut self, key: &Key, usage: Usage) {
        if let Some(bits) = self.data.access.restored(usage) {
            self.data.keyspace.set_access(self.db, key, bits);
        }
    }

    /// Removes a key that is not past its time; true if there was one.
    pub fn remove(&mut self, key: &Key) -> bool {
        self.expire_if_due(key);
        let removed = self.data.keyspace.remove(self.db, key);
        if removed {
            self.data.watches.touch(self.db, key);
        }
        removed
    }

    /// A key of this shard chosen at random; for one whose time is up another one is drawn.
    pub fn random_key(&mut self) -> Option<Vec<u8>> {
        /// With more draws than this all keys may well be past their time; the last one drawn will do then.
        const DRAWS: usize = 100;
        for draw in 0.. {
            let data = &mut *self.data;
            let random = &mut data.random;
            let entry = data.keyspace.random(self.db, &mut || next_random(random))?;
            let bytes = entry.key().to_vec();
            let key = data.keyspace.hasher().key(&bytes);
            if draw == DRAWS || !data.keyspace.is_due(self.db, &key, self.now) {
                return Some(bytes);
            }
            self.expire_if_due(&key);
        }
        None
    }

    /// Removes a key and hands out its value and expiry.
    pub fn take(&mut self, key: &Key) -> Option<(Value, Option<i64>)> {
        self.expire_if_due(key);
        let taken = self.data.keyspace.take(self.db, key);
        if taken.is_some() {
            self.data.watches.touch(self.db, key);
        }
        taken
    }

    /// Emits what the command changed, in deterministic form.
    #[inline]
    pub fn effect(&mut self, argv: &[&[u8]]) {
        if self.data.outbox.is_open() {
            self.data.outbox.push(self.db, argv.len(), argv.iter().copied());
        }
    }

    /// Emits the command as it came: it is deterministic already.
    #[inline]
    pub fn effect_as_is(&mut self, args: &Args) {
        if self.data.outbox.is_open() {
            self.data.outbox.push(self.db, args.argv().len(), args.argv().iter());
        }
    }

    /// Emits `SET key value [PXAT ms]`, the deterministic form of whatever left a string at `key`.
    pub fn effect_string(&mut self, key: &Key) {
        if !self.data.outbox.is_open() {
            return;
        }
        let data = &mut *self.data;
        let Some(entry) = data.keyspace.get(self.db, key) else { return };
        let (mut digits, mut stamp) = (itoa::Buffer::new(), itoa::Buffer::new());
        let value = entry.value();
        let value = value.to_bytes(&mut digits);
        let set: [&[u8]; 3] = [b"SET", key.bytes, value];
        match entry.expire() {
            None => data.outbox.push(self.db, 3, set.into_iter()),
            Some(at) => {
                let expiry: [&[u8]; 2] = [b"PXAT", stamp.format(at).as_bytes()];
                data.outbox.push(self.db, 5, set.into_iter().chain(expiry));
            }
        }
    }
}

#[inline]
fn string_of(entry: Entry<'_>) -> Result<ValueRef<'_>, Refusal> {
    // The one place that will refuse other types: strings are the only kind of value so far.
    Ok(entry.value())
}
