//! Everything anew: a primary's snapshot on its way to us, and what takes its place.
//!
//! As `repl-diskless-load` says, it is received into a file first, while what there is goes on serving, or loaded straight
//! from the link, be it in place of what there is or aside. Until it takes the place of what there is, a link that ends leaves all as it was.

use super::*;
use crate::commands::Cut;
use crate::config::ReplDisklessLoad;
use crate::log::select;
use crate::node::files::create_unnamed;
use crate::node::loading::{Piecewise, Source};
use crate::rdb::{Item, Reader, Step};
use crate::replication::Position;

/// Bytes of a snapshot in one write.
const PIECE: usize = 1 << 20;

/// A snapshot on its way into a file.
pub(super) struct Receiving {
    /// Tells its writes from those of one that was given up.
    number: u64,
    position: Position,
    file: Rc<File>,
    written: u64,
    writing: bool,
    /// What has come and is not being written yet.
    pending: Vec<u8>,
    vetting: Vetting,
}

impl Receiving {
    /// The stream behind the snapshot, which is here and not loaded yet, goes on: its name, if it has a new one, is the
    /// snapshot's and not that of what it will replace.
    pub(super) fn go_on(&mut self, replid: Option<String>) {
        self.position.replid = replid.unwrap_or_else(|| std::mem::take(&mut self.position.replid));
    }
}

/// Looks a snapshot over as it comes: what is found at its end could not be mended any more.
struct Vetting {
    reader: Reader,
    buffer: Vec<u8>,
    ended: bool,
}

impl Vetting {
    fn new(compares: bool) -> Vetting {
        Vetting { reader: Reader::default().with_checksum(compares), buffer: Vec::new(), ended: false }
    }

    fn take(&mut self, bytes: &[u8], databases: usize) -> Result<(), String> {
        self.buffer.extend_from_slice(bytes);
        let mut used = 0;
        while !self.ended
            && let Step::Item { item, used: more } =
                self.reader.next(&self.buffer[used..]).map_err(|damage| damage.to_string())?
        {
            match item {
                Item::Entry(entry) => entry.check().map_err(|damage| damage.to_string())?,
                Item::Select(db) if db >= databases as u64 => {
                    return Err(format!("it has keys in database {db}: raise 'databases' ({databases})"));
                }
                Item::End => self.ended = true,
                _ => {}
            }
            used += more;
        }
        self.buffer.drain(..used);
        Ok(())
    }

    fn finish(&self) -> Result<(), String> {
        if self.ended { Ok(()) } else { Err(self.reader.cut_off(self.buffer.len()).to_string()) }
    }
}

impl LogCore {
    /// The primary is about to send all it has.
    pub(super) fn begin_full(&mut self, position: Position, size: Option<u64>) {
        tracing::info!(
            "full sync from offset {}: {}",
            position.offset,
            size.map_or("streamed".to_owned(), |size| format!("{size} bytes"))
        );
        self.conclude_failover();
        let Some(upstream) = &mut self.upstream else { return };
        if upstream.has_lost_snapshot() {
            return self.decline_snapshot("the link ended as it began");
        }
        upstream.begin_sync();
        let size = size.unwrap_or(0);
        let straight = match self.settings.repl_diskless_load {
            ReplDisklessLoad::Disabled => false,
            ReplDisklessLoad::OnEmptyDb => self.shared.keys() == 0,
            ReplDisklessLoad::Swapdb => return self.load_aside(position, size),
            ReplDisklessLoad::FlushBeforeLoad => true,
        };
        if straight {
            return self.load_anew(position, Upstreaming, size);
        }
        let path = PathBuf::from(&self.settings.dir).join(format!("temp-load-{}.rdb", std::process::id()));
        match create_unnamed(&path) {
            Ok(file) => {
                self.cuts += 1;
                let (number, file) = (self.cuts, Rc::new(file));
                let (pending, vetting) = (Vec::new(), Vetting::new(self.settings.rdbchecksum));
                let receiving =
                    Receiving { number, position, file, written: 0, writing: false, pending, vetting };
                upstream.receiving = Some(receiving);
            }
            Err(error) => self.refuse_snapshot(&format!("cannot create '{}': {error}", path.display())),
        }
        self.publish();
    }

    /// Takes the snapshot on into its file, and loads that once it is whole.
    pub(super) fn receive(&mut self) {
        let Some(upstream) = self.upstream.as_mut().filter(|upstream| !upstream.loading) else { return };
        let Some(receiving) = &mut upstream.receiving else { return };
        let stops = self.shared.is_stop_asked();
        if stops || self.next_role.is_some() {
            return self.decline_snapshot("something else is to be done");
        }
        if let Some(Err(why)) = &upstream.ended {
            let why = why.clone();
            return self.decline_snapshot(&why);
        }
        let mut vetted = Ok(());
        while vetted.is_ok()
            && let Some(bytes) = upstream.snapshot.pop_front()
        {
            vetted = receiving.vetting.take(&bytes, self.settings.databases);
            receiving.pending.extend_from_slice(&bytes);
        }
        let whole = matches!(upstream.ended, Some(Ok(())));
        if let Err(why) = vetted.and_then(|()| if whole { receiving.vetting.finish() } else { Ok(()) }) {
            return self.refuse_snapshot(&why);
        }
        if receiving.writing {
            return;
        }
        if receiving.pending.len() >= PIECE || whole && !receiving.pending.is_empty() {
            receiving.writing = true;
            let bytes = std::mem::take(&mut receiving.pending);
            let op = self.net.write(&receiving.file, bytes, receiving.written);
            self.operations.insert(op, Operation::Received(receiving.number));
        } else if whole && let Some(Receiving { position, file, written, .. }) = upstream.receiving.take() {
            self.load_anew(position, Piecewise::of("the primary's snapshot", file), written);
        }
    }

    /// A write of a snapshot has ended.
    pub(super) fn received(&mut self, number: u64, count: usize, error: i32) {
        let Some(upstream) = &mut self.upstream else { return };
        let Some(receiving) = upstream.receiving.as_mut().filter(|one| one.number == number) else { return };
        if error != 0 {
            let error = std::io::Error::from_raw_os_error(error);
            return self.refuse_snapshot(&format!("cannot write it: {error}"));
        }
        receiving.writing = false;
        receiving.written += count as u64;
        upstream.snapshot_bytes -= count;
    }

    /// It would be the same the next time.
    fn refuse_snapshot(&mut self, why: &str) {
        let why = format!("the snapshot cannot be loaded: {why}");
        tracing::warn!("full sync failed: {why}");
        if let Some(upstream) = &mut self.upstream {
            upstream.end_sync(false);
            upstream.replica.refuse(why);
        }
    }

    /// The snapshot takes the place of all there is. Until it is loaded nothing else happens: clients are told so.
    fn load_anew(&mut self, position: Position, source: impl Source<LogCore>, size: u64) {
        self.set_loading(true, false);
        self.give_up_history();
        let loaded = self.load_upstream(source, size);
        self.set_loading(false, false);
        match loaded {
            Ok(()) => self.follow_anew(position),
            Err(fault) => self.fail_load(&fault.to_string()),
        }
        self.publish();
    }

    /// The snapshot is loaded beside what there is, which it then replaces on all shards at one instant. If it is of the same
    /// history, what there is serves meanwhile.
    fn load_aside(&mut self, position: Position, size: u64) {
        let serves = position.replid == self.primary.history.id;
        self.set_loading(!serves, serves);
        let loaded = self.load_files(size, |loader| {
            loader.aside = true;
            loader.stream(Upstreaming)?;
            Ok(loader.stream_db)
        });
        let swapped = loaded.and_then(|db| {
            self.swap_in()?;
            self.give_up_history();
            self.load_files(0, |loader| loader.command(&select(db)))
        });
        self.set_loading(false, false);
        match swapped {
            Ok(()) => self.follow_anew(position),
            Err(fault) => {
                (0..self.shards).for_each(|shard| self.port.send(shard, Mail::DropAside));
                self.keep_what_there_is(&fault.to_string());
            }
        }
        self.publish();
    }

    /// Nothing is under way to the shards.
    fn swap_in(&mut self) -> Result<(), Fault> {
        self.cuts += 1;
        let number = NonZeroU64::MIN.saturating_add(self.cuts);
        self.swap_cut = Some(number);
        self.port.send(0, Mail::Cut(number, Cut::Swap));
        while self.swap_cut.is_some() {
            Shards::turn(self)?;
            self.merge();
        }
        Ok(())
    }

    fn keep_what_there_is(&mut self, why: &str) {
        let Some(upstream) = &mut self.upstream else { return };
        if self.next_role.is_none() && !matches!(upstream.ended, Some(Err(_))) {
            return self.refuse_snapshot(why);
        }
        self.decline_snapshot(why);
    }

    /// What there is stays, and the link asks for what comes behind that.
    fn decline_snapshot(&mut self, why: &str) {
        tracing::warn!("full sync failed: {why}");
        if let Some(upstream) = &mut self.upstream {
            upstream.end_sync(false);
        }
        self.leave_upstream(why);
        if let Some(upstream) = &mut self.upstream {
            upstream.replica.decline_snapshot();
        }
    }

    /// What there is has no name from here on that anybody else knows.
    fn give_up_history(&mut self) {
        self.primary.begin_anew(History::new(clock::random_id()));
        // The files stay as they are until there is something to put in their place.
        self.founding = self.drop_journal().or(self.founding.take());
        self.found_due = false;
        self.forget_history();
    }

    /// While a snapshot is loaded no other is made.
    fn set_loading(&mut self, loading: bool, aside: bool) {
        if self.snapshot.is_some() {
            self.fail_snapshot(&std::io::Error::other("a primary sends everything anew"));
        }
        if let Some(upstream) = &mut self.upstream {
            upstream.loading = loading || aside;
        }
        (self.facts.loading, self.facts.async_loading) = (loading, aside);
        self.publish();
    }

    /// What the snapshot had is there, and the stream goes on from it.
    fn follow_anew(&mut self, Position { replid, offset }: Position) {
        self.merger.jump(offset);
        self.progress.iter_mut().for_each(|progress| progress.consumed.clear());
        self.primary.begin_anew(History::new(replid));
        self.primary.keep_stream(offset);
        if let Some(upstream) = &mut self.upstream {
            upstream.end_sync(true);
        }
        self.link_is_up();
        self.found_due = self.founding.is_some();
        tracing::info!("full sync done");
    }

    /// What there was is gone, and with it the place to go on from.
    fn fail_load(&mut self, why: &str) {
        let Some(upstream) = &mut self.upstream else { return };
        if self.next_role.is_none() && !matches!(upstream.ended, Some(Err(_))) {
            return self.refuse_snapshot(why);
        }
        tracing::warn!("full sync failed: {why}");
        self.leave_upstream(why);
        if let Some((host, port)) = self.upstream.take().map(|upstream| upstream.address()) {
            self.follow(host, port, None);
        }
    }

    fn load_upstream(&mut self, source: impl Source<LogCore>, size: u64) -> Result<(), Fault> {
        // What is under way to the applier ends first.
        self.load_files(size, |loader| {
            loader.command(FLUSHALL)?;
            let loaded = loader.stream(source);
            if loaded.is_err() {
                loader.command(FLUSHALL)?;
            }
            let db = loader.stream_db;
            loader.command(&select(db))?;
            loaded
        })
    }
}

const FLUSHALL: &[u8] = b"*1\r\n$8\r\nFLUSHALL\r\n";

/// The snapshot that the link brings, as a file to load.
struct Upstreaming;

impl Source<LogCore> for Upstreaming {
    fn fill(&mut self, core: &mut LogCore, buffer: &mut Vec<u8>) -> Result<bool, Fault> {
        loop {
            let Some(upstream) = core.upstream.as_mut().filter(|_| core.next_role.is_none()) else {
                return Err(Fault::new("the role changes"));
            };
            if let Some(bytes) = upstream.snapshot.pop_front() {
                upstream.snapshot_bytes -= bytes.len();
                buffer.extend_from_slice(&bytes);
                return Ok(true);
            }
            match &upstream.ended {
                Some(Ok(())) => return Ok(false),
                Some(Err(why)) => return Err(Fault::new(why.clone())),
                None => Shards::turn(core)?,
            }
        }
    }

    fn name(&self) -> String {
        "the primary's snapshot".to_owned()
    }
}
