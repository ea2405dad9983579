//! Writing: putting values in, changing them in place, taking them out.

use super::graveyard::is_big;
use super::value::canonical_int;
use super::{Encode, Encoding, Key, Keyspace, Value};
use crate::limits::INLINE_VALUE;
use crate::structures::{Content, Draft, Object, OwnedEntry, Payload, Place, Rank, SlotTable};

impl Keyspace {
    /// Stores bytes as a string; `expire` (Unix ms) replaces any earlier one.
    #[inline]
    pub fn put_str(&mut self, db: usize, key: &Key, bytes: &[u8], encode: Encode, expire: Option<i64>) {
        if encode == Encode::Auto
            && let Some(value) = canonical_int(bytes)
        {
            return self.put_int(db, key, value, expire);
        }
        self.before_write(db, key);
        if bytes.len() > INLINE_VALUE {
            return self.put_long(db, key, bytes, expire);
        }
        let encoding = if encode == Encode::Raw { Encoding::Raw } else { Encoding::of_length(bytes.len()) };
        self.store(db, key, encoding, Content::Bytes(bytes), expire);
    }

    pub fn put_int(&mut self, db: usize, key: &Key, value: i64, expire: Option<i64>) {
        self.before_write(db, key);
        self.store(db, key, Encoding::Int, Content::Int(value), expire);
    }

    pub fn put(&mut self, db: usize, key: &Key, value: Value, expire: Option<i64>) {
        match value {
            Value::Int(value) => self.put_int(db, key, value, expire),
            Value::Str { bytes, raw } => {
                self.before_write(db, key);
                let encoding = if raw { Encoding::Raw } else { Encoding::of_length(bytes.len()) };
                self.store_bytes(db, key, encoding, bytes, expire);
            }
        }
    }

    /// Stores bytes that have a buffer already, in it if they are too long for an entry.
    fn store_bytes(&mut self, db: usize, key: &Key, encoding: Encoding, bytes: Vec<u8>, expire: Option<i64>) {
        if bytes.len() <= INLINE_VALUE {
            self.store(db, key, encoding, Content::Bytes(&bytes), expire);
        } else {
            let object = Box::new(Object::Str(bytes));
            self.store(db, key, encoding, Content::Object(object), expire);
        }
    }

    /// Stores a string too long for its entry, in the buffer of the one before if that is about as long.
    #[cold]
    fn put_long(&mut self, db: usize, key: &Key, bytes: &[u8], expire: Option<i64>) {
        let fits = |object: &Object| {
            let Object::Str(old) = object;
            (bytes.len()..=bytes.len() * 2).contains(&old.capacity())
        };
        let local = self.local(key.slot);
        let (fresh, survives) = self.birth;
        let Some(place) = self.databases[db].locate(local, key).filter(
            |&place| matches!(self.databases[db].entry(place).payload(), Payload::Object(old) if fits(old)),
        ) else {
            let object = Box::new(Object::Str(bytes.to_vec()));
            return self.store(db, key, Encoding::Raw, Content::Object(object), expire);
        };
        self.databases[db].change_expiry(place, &mut self.heap, |entry, heap| {
            entry.edit(heap, |Object::Str(old)| {
                old.clear();
                old.extend_from_slice(bytes);
            });
            entry.set_meta(Encoding::Raw.meta());
            if !survives {
                entry.set_access(fresh);
            }
            entry.set_expire(expire, heap);
        });
    }

    /// The database's table, made at its first use.
    #[inline]
    fn table_for_writing(&mut self, db: usize) -> &mut SlotTable {
        if !self.databases[db].is_allocated() {
            self.databases[db] = SlotTable::new(self.slots.len(), &mut self.heap);
        }
        &mut self.databases[db]
    }

    fn store(&mut self, db: usize, key: &Key, encoding: Encoding, content: Content<'_>, expire: Option<i64>) {
        let local = self.local(key.slot);
        let access = self.birth.0;
        let draft = Draft { key: key.bytes, meta: encoding.meta(), access, expire, content };
        match self.databases[db].locate(local, key) {
            Some(place) => self.overwrite(db, place, draft),
            None => {
                let entry = OwnedEntry::new(draft, &mut self.heap);
                self.table_for_writing(db);
                self.databases[db].insert(local, key.hash, entry, &self.hasher, &mut self.heap);
            }
        }
    }

    #[inline]
    fn overwrite(&mut self, db: usize, place: Place, mut draft: Draft<'_>) {
        let (graveyard, survives) = (&mut self.graveyard, self.birth.1);
        self.databases[db].change_expiry(place, &mut self.heap, |entry, heap| {
            if survives {
                draft.access = entry.view().access();
            }
            let draft = if is_big(entry) { Err(draft) } else { entry.overwrite(draft, heap) };
            if let Err(draft) = draft {
                let new = OwnedEntry::new(draft, heap);
                graveyard.bury(std::mem::replace(entry, new), heap);
            }
        });
    }

    /// Changes a string in place; its encoding is reported raw from then on, its expiry stays. False if missing.
    pub fn edit(&mut self, db: usize, key: &Key, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let local = self.local(key.slot);
        let Some(place) = self.databases[db].locate(local, key) else { return false };
        self.before_write(db, key);
        let entry = self.databases[db].entry(place);
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        match entry.payload() {
            Payload::Bytes(old) => bytes.extend_from_slice(old),
            Payload::Int(old) => bytes.extend_from_slice(itoa::Buffer::new().format(old).as_bytes()),
            Payload::Object(_) => {
                let heap = &mut self.heap;
                self.databases[db].change(place, |entry| {
                    entry.edit(heap, |Object::Str(old)| change(old));
                    entry.set_meta(Encoding::Raw.meta());
                });
                self.scratch = bytes;
                return true;
            }
        }
        let expire = entry.expire();
        change(&mut bytes);
        if bytes.len() <= INLINE_VALUE {
            self.store(db, key, Encoding::Raw, Content::Bytes(&bytes), expire);
            self.scratch = bytes;
        } else {
            self.store_bytes(db, key, Encoding::Raw, bytes, expire);
        }
        true
    }

    /// Sets or clears the expiry (Unix ms); false if the key does not exist.
    pub fn set_expire(&mut self, db: usize, key: &Key, expire: Option<i64>) -> bool {
        let local = self.local(key.slot);
        let Some(place) = self.databases[db].locate(local, key) else { return false };
        self.before_write(db, key);
        self.databases[db].change_expiry(place, &mut self.heap, |entry, heap| entry.set_expire(expire, heap));
        true
    }

    fn take_entry(&mut self, db: usize, key: &Key) -> Option<OwnedEntry> {
        let local = self.local(key.slot);
        let place = self.databases[db].locate(local, key)?;
        if let Some(cut) = &mut self.cut {
            cut.before_removal(db, Rank::new(local, key.hash), self.databases[db].entry(place));
        }
        Some(self.databases[db].remove(place, key.hash, &self.hasher, &mut self.heap))
    }

    pub fn remove(&mut self, db: usize, key: &Key) -> bool {
        let Some(entry) = self.take_entry(db, key) else { return false };
        self.graveyard.bury(entry, &mut self.heap);
        true
    }

    /// Removes the key and hands out its value and expiry.
    pub fn take(&mut self, db: usize, key: &Key) -> Option<(Value, Option<i64>)> {
        let entry = self.take_entry(db, key)?;
        let view = entry.view();
        let expire = view.expire();
        let raw = Encoding::from_meta(view.meta()) == Encoding::Raw;
        let value = match view.payload() {
            Payload::Int(value) => Some(Value::Int(value)),
            Payload::Bytes(bytes) => Some(Value::Str { bytes: bytes.to_vec(), raw }),
            Payload::Object(_) => None,
        };
        let object = entry.into_object(&mut self.heap).map(|object| match *object {
            Object::Str(bytes) => Value::Str { bytes, raw },
        });
        Some((value.or(object).expect("what is not inline is an object"), expire))
    }
}
