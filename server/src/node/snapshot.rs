//! One snapshot on its way to a file: the shards' pieces of a cut, framed and written in the order they come.

use std::fs::File;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::rc::Rc;

use crate::keyspace::Chunk;
use crate::limits::REDIS_VERSION;
use crate::rdb::{self, Checksum};

/// What a snapshot is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `dbfilename`.
    Save,
    /// The base of the append-only file.
    Rewrite,
    /// For replicas that need everything.
    Sync,
}

/// Where a snapshot goes.
pub enum Sink {
    /// A file, written under a temporary name.
    File {
        path: PathBuf,
        file: Rc<File>,
    },
    Replicas,
}

/// Whom to answer when it is done: a core, and the session and reply slot there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    pub core: usize,
    pub session: u64,
    pub reply: u64,
}

pub struct Snapshot {
    pub number: NonZeroU64,
    pub purpose: Purpose,
    /// SAVE waits for it, and BGSAVE for its cut.
    pub asker: Option<Asker>,
    pub starter: Option<Asker>,
    pub sink: Sink,
    /// The shards have been asked for the cut; its place in the stream is known.
    pub is_asked: bool,
    pub is_cut: bool,
    /// Unix seconds.
    pub began: i64,
    /// Effects counted when it began: what changes later is not in it.
    pub changes: u64,
    /// What waits to be written, how much of it is under way, and how much has been.
    buffer: Vec<u8>,
    under_way: usize,
    written: u64,
    checksum: Checksum,
    db: Option<usize>,
    /// Keys written, and of all shards that have counted theirs.
    keys: (u64, u64),
    /// Shards whose part is complete, and all of them.
    ended: usize,
    shards: usize,
    /// Shards whose pieces are in the buffer, then in the write under way: each may send another afterwards.
    waiting: Vec<usize>,
    in_write: Vec<usize>,
    writing: bool,
    closed: bool,
    /// The file's last flush is under way.
    pub flushing: bool,
}

/// The field that says that Torc wrote a snapshot.
pub const OWN_AUX: &[u8] = b"torc-ver";

/// The field that says in which database a replica's stream goes on.
pub const DB_AUX: &[u8] = b"repl-stream-db";

/// A snapshot of nothing, with which a log begins.
pub fn empty(mut checksum: Checksum) -> Vec<u8> {
    let mut bytes = Vec::new();
    rdb::write_header(&mut bytes);
    rdb::write_aux(&mut bytes, OWN_AUX, env!("CARGO_PKG_VERSION").as_bytes());
    checksum.update(&bytes);
    rdb::write_end(&mut bytes, Some(checksum));
    bytes
}

impl Snapshot {
    pub fn new(
        number: NonZeroU64,
        purpose: Purpose,
        asker: Option<Asker>,
        sink: Sink,
        (now, changes, shards): (i64, u64, usize),
        mut checksum: Checksum,
    ) -> Self {
        let mut buffer = Vec::new();
        rdb::write_header(&mut buffer);
        rdb::write_aux(&mut buffer, b"redis-ver", REDIS_VERSION.as_bytes());
        rdb::write_aux(&mut buffer, OWN_AUX, env!("CARGO_PKG_VERSION").as_bytes());
        rdb::write_aux(&mut buffer, b"redis-bits", b"64");
        rdb::write_aux(&mut buffer, b"ctime", itoa::Buffer::new().format(now).as_bytes());
        rdb::write_aux(&mut buffer, b"aof-base", if purpose == Purpose::Rewrite { b"1" } else { b"0" });
        checksum.update(&buffer);
        Snapshot {
            number,
            purpose,
            asker,
            starter: None,
            sink,
            is_asked: false,
            is_cut: false,
            began: now,
            changes,
            buffer,
            under_way: 0,
            written: 0,
            checksum,
            db: None,
            keys: (0, 0),
            ended: 0,
            shards,
            waiting: Vec::new(),
            in_write: Vec::new(),
            writing: false,
            closed: false,
            flushing: false,
        }
    }

    /// The stream goes on in database `db` behind the cut. Nothing has been taken yet.
    pub fn write_db(&mut self, db: usize) {
        let start = self.buffer.len();
        rdb::write_aux(&mut self.buffer, DB_AUX, itoa::Buffer::new().format(db).as_bytes());
        self.checksum.update(&self.buffer[start..]);
    }

    /// A shard's next piece, or the end of its part.
    pub fn take(&mut self, shard: usize, chunk: Option<Chunk>) {
        let start = self.buffer.len();
        match chunk {
            Some(chunk) => {
                self.keys.0 += chunk.keys as u64;
                if !chunk.bytes.is_empty() && self.db != Some(chunk.db) {
                    self.db = Some(chunk.db);
                    rdb::write_select(&mut self.buffer, chunk.db);
                }
                self.buffer.extend_from_slice(&chunk.bytes);
                self.waiting.push(shard);
            }
            None => self.ended += 1,
        }
        self.checksum.update(&self.buffer[start..]);
        if self.ended == self.shards && !self.closed {
            self.closed = true;
            let checksum = std::mem::take(&mut self.checksum);
            rdb::write_end(&mut self.buffer, Some(checksum));
        }
    }

    /// A shard has so many keys at the cut.
    pub fn holds(&mut self, keys: u64) {
        self.keys.1 += keys;
    }

    /// Keys that have been taken, and that there are.
    pub fn keys(&self) -> (u64, u64) {
        self.keys
    }

    /// What to write next and at which offset, if anything waits and no write is under way.
    pub fn next_write(&mut self) -> Option<(u64, Vec<u8>)> {
        if self.writing || self.buffer.is_empty() {
            return None;
        }
        self.writing = true;
        self.in_write = std::mem::take(&mut self.waiting);
        self.under_way = self.buffer.len();
        Some((self.written, std::mem::take(&mut self.buffer)))
    }

    pub fn is_writing(&self) -> bool {
        self.writing
    }

    /// The write has ended well: the shards that may send another piece.
    pub fn wrote(&mut self) -> Vec<usize> {
        self.writing = false;
        self.written += self.under_way as u64;
        std::mem::take(&mut self.in_write)
    }

    /// Whether all of it is in the file.
    pub fn is_written(&self) -> bool {
        self.closed && !self.writing && self.buffer.is_empty()
    }

    /// Bytes written.
    pub fn size(&self) -> u64 {
        self.written
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::ValueRef;
    use crate::rdb::{Item, Reader, Step};

    fn chunk(db: usize, keys: &[&str]) -> Chunk {
        let mut chunk = Chunk { db, ..Chunk::default() };
        for key in keys {
            rdb::write_entry(&mut chunk.bytes, key.as_bytes(), ValueRef::Str(b"v"), None, true);
        }
        chunk
    }

    #[test]
    fn pieces_of_several_shards_make_one_file() {
        let number = NonZeroU64::MIN;
        let (facts, checksum) = ((1_700_000_000, 0, 2), Checksum::default());
        let mut snapshot = Snapshot::new(number, Purpose::Save, None, Sink::Replicas, facts, checksum);
        let mut bytes = Vec::new();
        let mut drain = |snapshot: &mut Snapshot| {
            let Some((offset, piece)) = snapshot.next_write() else { return Vec::new() };
            assert_eq!(offset, bytes.len() as u64);
            bytes.extend_from_slice(&piece);
            snapshot.wrote()
        };
        snapshot.take(0, Some(chunk(0, &["a", "b"])));
        snapshot.take(1, Some(chunk(3, &["c"])));
        assert_eq!(drain(&mut snapshot), [0, 1]);
        snapshot.take(1, None);
        snapshot.take(0, Some(chunk(0, &["d"])));
        assert!(!snapshot.is_written());
        snapshot.take(0, None);
        assert_eq!(drain(&mut snapshot), [0]);
        assert!(snapshot.is_written());
        assert_eq!(keys(&bytes), ["0 a", "0 b", "3 c", "0 d"]);
        assert_eq!(keys(&empty(Checksum::default())), [""; 0]);
    }

    fn keys(mut bytes: &[u8]) -> Vec<String> {
        let (mut reader, mut db, mut keys) = (Reader::default(), 0, Vec::new());
        loop {
            let Step::Item { item, used } = reader.next(bytes).unwrap() else { panic!("the file is whole") };
            match item {
                Item::Select(number) => db = number,
                Item::Entry(entry) => keys.push(format!("{db} {}", String::from_utf8_lossy(&entry.key))),
                Item::End => return keys,
                _ => {}
            }
            bytes = &bytes[used..];
        }
    }
}
