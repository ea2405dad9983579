//! Which keys sessions WATCH, and whether they changed since.

use std::collections::HashMap;

use crate::keyspace::Key;

#[derive(Debug, Default)]
struct Watched {
    /// Sessions that watch the key; the row goes when the last one lets go.
    watchers: usize,
    version: u64,
}

/// Versions of watched keys. Empty, and then free of cost, while nobody watches.
#[derive(Debug, Default)]
pub struct WatchTable {
    keys: HashMap<(usize, Box<[u8]>), Watched>,
    /// Never reset, so that a row made anew cannot repeat a version seen earlier.
    clock: u64,
}

impl WatchTable {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Watched keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Starts watching; returns the version that must still hold at EXEC.
    pub fn watch(&mut self, db: usize, key: &[u8]) -> u64 {
        self.clock += 1;
        let clock = self.clock;
        let row = self.keys.entry((db, key.into())).or_insert(Watched { watchers: 0, version: clock });
        row.watchers += 1;
        row.version
    }

    pub fn unwatch(&mut self, db: usize, key: &[u8]) {
        let Some(row) = self.keys.get_mut(&(db, Box::from(key))) else { return };
        row.watchers -= 1;
        if row.watchers == 0 {
            self.keys.remove(&(db, Box::from(key)));
        }
    }

    pub fn version(&self, db: usize, key: &[u8]) -> Option<u64> {
        self.keys.get(&(db, Box::from(key))).map(|row| row.version)
    }

    /// Records that `key` changed.
    #[inline]
    pub fn touch(&mut self, db: usize, key: &Key) {
        if !self.keys.is_empty() {
            self.touch_row(db, key.bytes);
        }
    }

    #[cold]
    fn touch_row(&mut self, db: usize, key: &[u8]) {
        self.clock += 1;
        if let Some(row) = self.keys.get_mut(&(db, Box::from(key))) {
            row.version = self.clock;
        }
    }

    /// The watched keys of a database, for commands that change it as a whole.
    pub fn keys_of(&self, db: usize) -> Vec<Box<[u8]>> {
        self.keys.keys().filter(|(of, _)| *of == db).map(|(_, key)| key.clone()).collect()
    }
}
