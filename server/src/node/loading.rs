//! Reading snapshots and logs at start: framed here, decoded and applied on the shards, in pieces that keep
//! what is under way bounded.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;

use super::mail::{Applied, Encoded, Entries, Mail};
use super::snapshot::{DB_AUX, OWN_AUX};
use crate::commands::{SnapshotLoad, refuse_logged};
use crate::keyspace::{Ring, slot_of};
use crate::log::{self, Scanner};
use crate::rdb::{Item, Reader, Step};
use crate::runtime::Fault;

/// Bytes read at once.
const PIECE: usize = 1 << 20;

/// Bytes of entries in one message to a shard, and such messages under way to it.
const BATCH: usize = 256 * 1024;
const BATCHES: usize = 4;

/// Bytes of commands under way to the session that applies them.
const APPLYING: u64 = 4 << 20;

/// What loading needs of the log core: messages out, and turns in which the answers come in.
pub trait Shards {
    fn send(&mut self, shard: usize, mail: Mail);
    /// Waits a little for answers; an error if the server is to stop.
    fn turn(&mut self) -> Result<(), Fault>;
    /// So many more bytes have been read.
    fn loaded(&mut self, bytes: u64);
    /// What is under way.
    fn state(&mut self) -> &mut Underway;
}

/// Answers so far.
#[derive(Debug, Default)]
pub struct Underway {
    /// Batches of entries that each shard has yet to take in.
    pub batches: Vec<usize>,
    pub fed: u64,
    pub applied: Applied,
    pub failure: Option<Failure>,
}

/// What a shard could not take in.
#[derive(Debug)]
pub enum Failure {
    /// An entry of a snapshot, which it names with its offset.
    Entry(String),
    /// A command.
    Command(Box<str>),
}

impl Underway {
    pub fn new(shards: usize) -> Self {
        Underway { batches: vec![0; shards], ..Underway::default() }
    }

    fn has_room(&self, shard: usize) -> bool {
        self.batches[shard] < BATCHES
    }

    fn is_idle(&self) -> bool {
        let applied = self.applied.bytes == self.fed && self.applied.outstanding == 0;
        applied && self.batches.iter().all(|batches| *batches == 0)
    }
}

/// Loads files one after the other.
pub struct Loader<'a, S: Shards> {
    pub shards: &'a mut S,
    pub ring: Ring,
    pub databases: usize,
    /// Whether checksums of snapshots are compared.
    pub compares: bool,
    /// Keys of snapshots and bytes of commands so far, to be told.
    pub keys: u64,
    pub bytes: u64,
    /// Torc wrote the last snapshot that was loaded.
    pub is_own: bool,
    /// The database in which a stream goes on behind it.
    pub stream_db: usize,
    /// Snapshots go where nobody sees them yet.
    pub aside: bool,
    /// Keys whose time was up then (Unix ms) are told of as expired.
    pub expired_before: Option<i64>,
    pub last_snapshot: Option<SnapshotLoad>,
    /// What is being loaded, for the operator.
    name: String,
    /// Bytes fed of all commands, and how far into their file that is; the first one is not past what has been applied.
    marks: VecDeque<(u64, u64)>,
    batches: Vec<Entries>,
    db: usize,
}

/// Where bytes to load come from; `S`: what a source may have to wait with.
pub trait Source<S> {
    /// Appends the next piece to `buffer`; false at the end.
    fn fill(&mut self, shards: &mut S, buffer: &mut Vec<u8>) -> Result<bool, Fault>;

    fn name(&self) -> String;

    fn damage(&self, damage: &impl std::fmt::Display) -> Fault {
        Fault::new(format!("{} is damaged: {damage}", self.name()))
    }
}

/// A file that is read in pieces.
pub struct Piecewise {
    name: String,
    file: Rc<File>,
    /// Bytes read so far.
    read: u64,
}

impl Piecewise {
    fn open(path: &Path) -> Result<Piecewise, Fault> {
        let fault = |error| Fault::io(format!("cannot read '{}'", path.display()), &error);
        let file = File::open(path).map_err(fault)?;
        Ok(Piecewise::of(format!("'{}'", path.display()), Rc::new(file)))
    }

    /// All of a file called `name`.
    pub fn of(name: impl Into<String>, file: Rc<File>) -> Piecewise {
        Piecewise { name: name.into(), file, read: 0 }
    }
}

impl<S: Shards> Source<S> for Piecewise {
    fn fill(&mut self, _shards: &mut S, buffer: &mut Vec<u8>) -> Result<bool, Fault> {
        let start = buffer.len();
        buffer.resize(start + PIECE, 0);
        let count = self
            .file
            .read_at(&mut buffer[start..], self.read)
            .map_err(|error| Fault::io(format!("cannot read {}", self.name), &error))?;
        buffer.truncate(start + count);
        self.read += count as u64;
        Ok(count > 0)
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

impl<'a, S: Shards> Loader<'a, S> {
    pub fn new(shards: &'a mut S, ring: Ring, databases: usize) -> Self {
        let batches = (0..ring.shards()).map(|_| Entries::default()).collect();
        Loader {
            shards,
            ring,
            databases,
            compares: true,
            keys: 0,
            bytes: 0,
            is_own: false,
            stream_db: 0,
            aside: false,
            expired_before: None,
            last_snapshot: None,
            name: "what is loaded".to_owned(),
            marks: VecDeque::new(),
            batches,
            db: 0,
        }
    }

    /// Loads a snapshot file.
    pub fn snapshot(&mut self, path: &Path) -> Result<(), Fault> {
        self.stream(Piecewise::open(path)?)
    }

    /// Loads the snapshot that `source` brings.
    pub fn stream(&mut self, mut source: impl Source<S>) -> Result<(), Fault> {
        self.name = source.name();
        let mut buffer = Vec::new();
        let loaded = self.entries(&mut source, &mut buffer);
        // What is under way is not to arrive behind whatever comes next.
        let settled = self.settle();
        loaded.and(settled)
    }

    /// Has a command applied, behind all that is under way.
    pub fn command(&mut self, command: &[u8]) -> Result<(), Fault> {
        self.settle()?;
        self.feed(command.to_vec());
        self.settle()
    }

    /// Loads one file of the log; returns the length of its good part. A torn tail is cut off if `torn_allowed`.
    pub fn log(&mut self, path: &Path, torn_allowed: bool) -> Result<u64, Fault> {
        let mut source = Piecewise::open(path)?;
        self.name.clone_from(&source.name);
        let mut buffer = Vec::new();
        self.fill(&mut source, &mut buffer)?;
        let mut begin = 0;
        if log::begins_as_rdb(&buffer) {
            self.entries(&mut source, &mut buffer)?;
            self.settle()?;
            begin = source.read - buffer.len() as u64;
        }
        // Every file begins in database 0.
        self.feed(log::select(0));
        let good = self.commands(&mut source, buffer, begin, torn_allowed)?;
        self.settle()?;
        Ok(good)
    }

    fn fill(&mut self, source: &mut impl Source<S>, buffer: &mut Vec<u8>) -> Result<bool, Fault> {
        let before = buffer.len();
        let more = source.fill(self.shards, buffer)?;
        self.shards.loaded((buffer.len() - before) as u64);
        Ok(more)
    }

    /// Ships the entries of an RDB file; what lies behind its end stays in `buffer`.
    fn entries(&mut self, source: &mut impl Source<S>, buffer: &mut Vec<u8>) -> Result<(), Fault> {
        let mut reader = Reader::default().with_checksum(self.compares);
        (self.db, self.is_own, self.stream_db) = (0, false, 0);
        self.last_snapshot = Some(SnapshotLoad::default());
        loop {
            let mut used = 0;
            let ended = loop {
                match reader.next(&buffer[used..]).map_err(|damage| source.damage(&damage))? {
                    Step::More => break false,
                    Step::Item { item, used: more } => {
                        let ended = matches!(item, Item::End);
                        self.item(item, source)?;
                        used += more;
                        if ended {
                            break true;
                        }
                    }
                }
            };
            buffer.drain(..used);
            if ended {
                return self.flush_all();
            }
            if !self.fill(source, buffer)? {
                return Err(source.damage(&reader.cut_off(buffer.len())));
            }
        }
    }

    fn item(&mut self, item: Item<'_>, source: &impl Source<S>) -> Result<(), Fault> {
        match item {
            Item::Select(db) => {
                self.db = usize::try_from(db).ok().filter(|db| *db < self.databases).ok_or_else(|| {
                    Fault::new(format!(
                        "{} has keys in database {db}: raise 'databases' ({})",
                        source.name(),
                        self.databases
                    ))
                })?;
            }
            Item::Entry(entry) => {
                let home = self.ring.home(slot_of(&entry.key));
                let batch = &mut self.batches[home];
                if batch.bytes.is_empty() {
                    batch.bytes.reserve(BATCH + entry.key.len() + entry.value.len());
                }
                let key = batch.bytes.len();
                batch.bytes.extend_from_slice(&entry.key);
                let value = batch.bytes.len();
                batch.bytes.extend_from_slice(entry.value);
                let (end, offset, expire) = (batch.bytes.len(), entry.offset, entry.expire);
                batch.entries.push(Encoded {
                    db: if self.aside { self.databases + self.db } else { self.db },
                    key,
                    value,
                    end,
                    codec: entry.codec,
                    expire,
                    offset,
                });
                self.keys += 1;
                let is_expired = expire.zip(self.expired_before).is_some_and(|(at, now)| at < now);
                let counts = self.last_snapshot.get_or_insert_default();
                *(if is_expired { &mut counts.expired } else { &mut counts.loaded }) += 1;
                if batch.bytes.len() >= BATCH {
                    self.flush(home)?;
                }
            }
            Item::Skipped { what, offset } => {
                tracing::warn!("{}: offset {offset}: {what} is skipped", source.name());
            }
            Item::Aux { name, .. } if name == OWN_AUX => self.is_own = true,
            Item::Aux { name, value } if name == DB_AUX => {
                let text = std::str::from_utf8(&value).ok();
                let db = text.and_then(|text| text.parse().ok()).filter(|db| *db < self.databases);
                self.stream_db = db.unwrap_or(0);
            }
            Item::Aux { .. } | Item::Resize { .. } | Item::End => {}
        }
        Ok(())
    }

    fn flush(&mut self, shard: usize) -> Result<(), Fault> {
        while !self.shards.state().has_room(shard) {
            self.wait()?;
        }
        let batch = std::mem::take(&mut self.batches[shard]);
        self.shards.state().batches[shard] += 1;
        self.shards.send(shard, Mail::Load(Box::new(batch)));
        Ok(())
    }

    fn flush_all(&mut self) -> Result<(), Fault> {
        for shard in 0..self.batches.len() {
            if !self.batches[shard].entries.is_empty() {
                self.flush(shard)?;
            }
        }
        Ok(())
    }

    /// Feeds the commands of a log, whole ones and whole transactions only.
    fn commands(
        &mut self,
        source: &mut impl Source<S>,
        mut buffer: Vec<u8>,
        begin: u64,
        torn_allowed: bool,
    ) -> Result<u64, Fault> {
        let mut scanner = Scanner::new(begin).judged_by(refuse_logged);
        self.marks = VecDeque::from([(self.shards.state().fed, begin)]);
        loop {
            // About as much comes out as goes in.
            let mut whole = Vec::with_capacity(buffer.len() + BATCH);
            scanner.scan(&buffer, &mut whole).map_err(|damage| match scanner.is_refused() {
                true => Fault::new(format!("{} cannot be applied: {damage}", source.name())),
                false => source.damage(&damage),
            })?;
            if !whole.is_empty() {
                self.feed(whole);
                self.mark(scanner.good());
            }
            while self.shards.state().fed - self.shards.state().applied.bytes > APPLYING {
                self.wait()?;
            }
            buffer.clear();
            if !self.fill(source, &mut buffer)? {
                break;
            }
        }
        let end = scanner.finish();
        match end.torn {
            Some(torn) if torn_allowed => {
                tracing::warn!(
                    "{} is cut off at offset {}, its last whole command: {torn}",
                    source.name(),
                    end.good
                );
                Ok(end.good)
            }
            Some(torn) => Err(Fault::new(format!(
                "{}; 'aof-load-truncated yes' starts without a torn end of the last file",
                source.damage(&torn)
            ))),
            None => Ok(end.good),
        }
    }

    fn feed(&mut self, bytes: Vec<u8>) {
        self.bytes += bytes.len() as u64;
        self.shards.state().fed += bytes.len() as u64;
        self.shards.send(0, Mail::Apply(bytes));
    }

    /// All that has been fed ends at `offset` of the file.
    fn mark(&mut self, offset: u64) {
        let Underway { fed, applied, .. } = *self.shards.state();
        while self.marks.get(1).is_some_and(|(fed, _)| *fed <= applied.bytes) {
            self.marks.pop_front();
        }
        self.marks.push_back((fed, offset));
    }

    fn wait(&mut self) -> Result<(), Fault> {
        self.turn()?.map_or(Ok(()), Err)
    }

    /// Waits until everything under way has arrived.
    fn settle(&mut self) -> Result<(), Fault> {
        let mut failed = None;
        while !self.shards.state().is_idle() {
            let failure = self.turn()?;
            failed = failed.or(failure);
        }
        failed.map_or(Ok(()), Err)
    }

    /// Waits a little; returns what has failed meanwhile.
    fn turn(&mut self) -> Result<Option<Fault>, Fault> {
        let applied = self.shards.state().applied.bytes;
        self.shards.turn()?;
        let failure = self.shards.state().failure.take();
        Ok(failure.map(|failure| self.fault(failure, applied)))
    }

    /// Up to `applied` all was well.
    fn fault(&self, failure: Failure, applied: u64) -> Fault {
        let name = &self.name;
        Fault::new(match failure {
            Failure::Entry(why) => format!("{name}: {why}"),
            Failure::Command(why) => {
                let before = self.marks.iter().rev().find(|(fed, _)| *fed <= applied);
                let (from, to) =
                    (before.map_or(0, |mark| mark.1), self.marks.back().map_or(0, |mark| mark.1));
                format!("{name} cannot be applied: between the offsets {from} and {to}: {why}")
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Applies so many bytes, then fails.
    struct Failing {
        underway: Underway,
        good: u64,
    }

    impl Shards for Failing {
        fn send(&mut self, _shard: usize, _mail: Mail) {}

        fn turn(&mut self) -> Result<(), Fault> {
            let Underway { applied, fed, failure, .. } = &mut self.underway;
            if applied.bytes < self.good {
                applied.bytes = self.good;
            } else {
                applied.bytes = *fed;
                *failure = Some(Failure::Command("command 'SYNC': no".into()));
            }
            Ok(())
        }

        fn loaded(&mut self, _bytes: u64) {}

        fn state(&mut self) -> &mut Underway {
            &mut self.underway
        }
    }

    fn load(bytes: &[u8], good: usize) -> String {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("increment");
        std::fs::write(&path, bytes).expect("it is ours");
        let mut shards = Failing { underway: Underway::new(1), good: good as u64 };
        let loaded = Loader::new(&mut shards, Ring::new(1), 1).log(&path, true);
        let line = loaded.expect_err("something cannot be applied").to_string();
        line.replace(&*path.to_string_lossy(), "it")
    }

    #[test]
    fn what_cannot_be_applied_is_told_with_its_file_and_where_in_it() {
        let command = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
        let known = command.repeat(3 * PIECE / command.len());
        let unknown = [&known, &b"*1\r\n$3\r\nFOO\r\n"[..]].concat();
        let named =
            format!("'it' cannot be applied: offset {}: command 'FOO': it is not known here", known.len());
        assert_eq!(load(&unknown, 0), named);
        assert_eq!(
            load(&known, 0),
            format!("'it' cannot be applied: between the offsets 0 and {}: command 'SYNC': no", known.len())
        );
        let (whole, select) = (2 * PIECE / command.len() * command.len(), log::select(0).len());
        assert_eq!(
            load(&known, select + whole + 1),
            format!(
                "'it' cannot be applied: between the offsets {whole} and {}: command 'SYNC': no",
                known.len()
            )
        );
    }
}
