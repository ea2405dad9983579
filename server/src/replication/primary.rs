//! The primary's end of all its links: who follows, how far each has come, and what each is sent next.
//!
//! Knows no socket and no file: requests, bytes, completions and the time come in; what to send, what to read from the
//! files, whom to leave comes out. One walk over the shards serves all replicas that wait when it begins: piece by piece,
//! at the pace of the slowest, where one that stands still is left behind; or through a file, which each is sent at its own.
//!
//! A replica that follows is sent the stream from where it is: out of the backlog in memory, else out of the files. What
//! memory has to keep for replicas without files behind it is bounded by [`Bounds::most_kept`]; a replica that needs more begins anew.

use std::collections::BTreeMap;

use super::history::History;
use super::marks::Marks;
use crate::commands::{ReplicaFacts, ReplicaIdentity, ReplicaState, SyncRequest};
use crate::log::Backlog;
use crate::resp::{Commands, ParseLimits, Parser, parse_i64};

/// Bytes of the stream in one send.
const PIECE: usize = 256 * 1024;

/// Bytes that a replica may have sent of a command without its end: an acknowledgement is some 50.
const MOST_INPUT: usize = 64 * 1024;

/// Milliseconds between two newlines to a replica that waits for its snapshot.
const KEEP_ALIVE_MS: u64 = 1000;

/// A replica may keep others of its walk waiting for this part of the timeout, so that they do not take us for silent.
const STALLING: u64 = 8;

/// Names a replica's link.
pub type ReplicaId = u32;

/// What the settings say.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of the stream kept in memory while somebody follows.
    pub backlog: usize,
    /// How long that is kept once nobody follows any more, ms; 0: for ever.
    pub backlog_ttl_ms: u64,
    /// Bytes of the stream kept at most for replicas that are behind, if no file has them.
    pub most_kept: usize,
    /// Silence that ends a link, and how often the stream gets a sign of life; ms.
    pub timeout_ms: u64,
    pub ping_ms: u64,
    /// Snapshots go to the replicas as they are made, if these can take that; else through a file.
    pub diskless: bool,
    /// How long a walk waits for more replicas, ms, unless there are so many; 0: any.
    pub delay_ms: u64,
    pub most_waiting: usize,
    /// A replica that has not spoken for longer does not count as good; ms.
    pub most_lag_ms: u64,
}

/// What a replica is to be sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    Send(Vec<u8>),
    /// The stream from `from`, at most `most` bytes, which only the files have: ends in [`Primary::read`].
    Read {
        from: u64,
        most: usize,
    },
    /// The file of this walk, likewise.
    ReadFile {
        walk: u64,
        from: u64,
        most: usize,
    },
}

#[derive(Debug)]
struct Replica {
    addr: Box<str>,
    identity: ReplicaIdentity,
    /// Speaks PSYNC.
    partial: bool,
    stage: Stage,
    /// What waits to be sent before anything else.
    line: Vec<u8>,
    /// A send is under way.
    sending: bool,
    parser: Parser,
    input: Vec<u8>,
    /// The stream's offset that it has applied, and that it has on its disk.
    acked: u64,
    flushed: u64,
    /// Last word from it, last completed send; ms.
    heard_at: u64,
    moved_at: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// For a walk that begins after `since`, ms.
    Waits { since: u64 },
    /// Gets the walk's pieces: whether it has the present one.
    Snapshot { has_piece: bool },
    /// For the snapshot of offset `at` to be in its file.
    Awaits { at: u64 },
    /// Has been sent so much of the file of a walk.
    File { at: u64, walk: u64, sent: u64, length: u64 },
    /// Has the snapshot of offset `at` and takes it in.
    Loads { at: u64 },
    /// Has been sent the stream up to `at`.
    Follows { at: u64 },
}

/// The snapshot under way to replicas.
#[derive(Debug)]
struct Walk {
    /// Where the stream goes on behind it; none until the shards have agreed.
    at: Option<u64>,
    /// Announces the end; no snapshot ends so by chance. None: it goes to a file.
    mark: Option<String>,
    /// What every replica of the walk is being sent, until all have it.
    piece: Vec<u8>,
}

/// See the module.
#[derive(Debug)]
pub struct Primary {
    pub history: History,
    bounds: Bounds,
    backlog: Option<Backlog>,
    replicas: BTreeMap<ReplicaId, Replica>,
    walk: Option<Walk>,
    /// Replicas to leave, and why.
    leaving: Vec<(ReplicaId, String)>,
    pinged_at: u64,
    marks: Marks,
    /// Since when nobody follows, ms.
    alone_since: Option<u64>,
    pub full_syncs: u64,
    pub partial_syncs: u64,
    pub partial_refused: u64,
}

impl Primary {
    pub fn new(history: History, bounds: Bounds) -> Primary {
        Primary {
            history,
            bounds,
            backlog: None,
            replicas: BTreeMap::new(),
            walk: None,
            leaving: Vec::new(),
            pinged_at: 0,
            marks: Marks::default(),
            alone_since: None,
            full_syncs: 0,
            partial_syncs: 0,
            partial_refused: 0,
        }
    }

    pub fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
        if let Some(backlog) = &mut self.backlog {
            backlog.resize(bounds.backlog);
        }
    }

    /// The stream, which ends at `end`, is kept from here on. A replica does it as well: those who followed its primary may
    /// follow it one day.
    pub fn keep_stream(&mut self, end: u64) {
        self.backlog.get_or_insert_with(|| Backlog::new(self.bounds.backlog, end));
    }

    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Whether the stream is kept.
    pub fn is_active(&self) -> bool {
        self.backlog.is_some()
    }

    pub fn is_alone(&self) -> bool {
        self.replicas.is_empty()
    }

    pub fn backlog(&self) -> Option<&Backlog> {
        self.backlog.as_ref()
    }

    // ---- coming and going ----

    /// A connection asks to follow. `end` is the stream's end, `oldest` the first offset that the files have; `None`: they
    /// have nothing.
    pub fn admit(
        &mut self,
        id: ReplicaId,
        (addr, request, identity): (Box<str>, SyncRequest, ReplicaIdentity),
        (end, oldest): (u64, Option<u64>),
        now: u64,
    ) {
        let mut replica = Replica {
            addr,
            identity,
            partial: matches!(request, SyncRequest::Partial { .. }),
            stage: Stage::Waits { since: now },
            line: Vec::new(),
            sending: false,
            parser: Parser::default(),
            input: Vec::new(),
            acked: 0,
            flushed: 0,
            heard_at: now,
            moved_at: now,
        };
        match self.common(&request, end, oldest) {
            Some(at) => {
                let id = if replica.identity.psync2 { &self.history.id } else { "" };
                replica.line = format!("+CONTINUE {id}").trim_end().to_owned().into_bytes();
                replica.line.extend_from_slice(b"\r\n");
                // It has received that much; what of it is applied it will say at once.
                replica.stage = Stage::Follows { at };
                self.partial_syncs += 1;
                self.keep_stream(end);
            }
            None => {
                let asked = matches!(&request, SyncRequest::Partial { replid, .. } if &**replid != "?");
                self.partial_refused += u64::from(asked);
            }
        }
        self.replicas.insert(id, replica);
    }

    /// Where a replica that asks so can go on without a snapshot.
    fn common(&self, request: &SyncRequest, end: u64, oldest: Option<u64>) -> Option<u64> {
        let SyncRequest::Partial { replid, offset } = request else { return None };
        let at = u64::try_from(*offset).ok()?.checked_sub(1)?;
        let kept = self.backlog.as_ref().map_or(end, Backlog::start);
        let oldest = oldest.map_or(kept, |oldest| oldest.min(kept));
        (self.history.holds(replid, at) && oldest <= at && at <= end).then_some(at)
    }

    /// The connection is gone.
    pub fn gone(&mut self, id: ReplicaId) {
        self.replicas.remove(&id);
        self.leaving.retain(|(leaving, _)| *leaving != id);
    }

    /// Replicas whose connections are to be closed once nothing of their line is left, and why.
    pub fn leaving(&mut self) -> Vec<(ReplicaId, String)> {
        let replicas = &self.replicas;
        let done = |(id, _): &mut (ReplicaId, String)| {
            replicas.get(id).is_none_or(|replica| replica.line.is_empty() && !replica.sending)
        };
        self.leaving.extract_if(.., done).collect()
    }

    fn leave(&mut self, id: ReplicaId, why: &str) {
        if let Some(replica) = self.replicas.get_mut(&id) {
            // Whatever is being sent will not arrive.
            replica.line.clear();
            replica.sending = false;
            // Each is left once: its number may soon be another's.
            if self.leaving.iter().all(|(leaving, _)| *leaving != id) {
                self.leaving.push((id, why.to_owned()));
            }
        }
    }

    /// All replicas are to connect again.
    pub fn dismiss(&mut self, why: &str) {
        let ids: Vec<ReplicaId> = self.replicas.keys().copied().collect();
        ids.into_iter().for_each(|id| self.leave(id, why));
        self.walk = None;
    }

    /// The stream is another's from here on: nothing that was known of it counts any more.
    pub fn begin_anew(&mut self, history: History) {
        self.dismiss("the data is another's now");
        (self.history, self.backlog) = (history, None);
    }

    /// The stream goes on from offset `at` by itself, or its primary's has got a new name there. Who follows has to hear of the
    /// name, and connects again for that: it would take what comes next for the old history, of which another server may
    /// have a different end.
    pub fn rename(&mut self, id: String, at: u64) {
        self.history.fork(id, at);
        self.dismiss("the history has a new name");
    }

    // ---- the snapshot ----

    /// Whether replicas wait for a walk, and have done so for long enough.
    pub fn wants_walk(&self, now: u64) -> bool {
        let Bounds { diskless, delay_ms, most_waiting, .. } = self.bounds;
        let delay_ms = if diskless { delay_ms } else { 0 };
        let mut waiting = self.waiting().map(|(since, _)| since).peekable();
        self.walk.is_none()
            && waiting.peek().is_some()
            && (most_waiting > 0 && self.waiting().count() >= most_waiting
                || waiting.any(|since| now >= since + delay_ms))
    }

    /// Replicas that wait for a walk, and since when.
    fn waiting(&self) -> impl Iterator<Item = (u64, &Replica)> {
        self.staying().filter_map(|(_, replica)| match replica.stage {
            Stage::Waits { since } => Some((since, replica)),
            _ => None,
        })
    }

    fn staying(&self) -> impl Iterator<Item = (ReplicaId, &Replica)> {
        let leaves = |id| self.leaving.iter().any(|(leaving, _)| *leaving == id);
        self.replicas.iter().map(|(id, replica)| (*id, replica)).filter(move |(id, _)| !leaves(*id))
    }

    /// A walk begins. `mark`: 40 random characters. True: its pieces go to the replicas; false: all must be in a file first.
    pub fn begin_walk(&mut self, mark: String) -> bool {
        let streams = self.bounds.diskless && self.waiting().all(|(_, replica)| replica.takes_pieces());
        self.walk = Some(Walk { at: None, mark: streams.then_some(mark), piece: Vec::new() });
        streams
    }

    /// The walk's cut lies at `at`. Those who wait now get its snapshot. The next `append` goes on at `start`, not behind it.
    pub fn walk_at(&mut self, at: u64, start: u64, now: u64) {
        let Some(walk) = &mut self.walk else { return };
        walk.at = Some(at);
        self.backlog.get_or_insert_with(|| Backlog::new(self.bounds.backlog, start));
        for (id, replica) in &mut self.replicas {
            let leaves = self.leaving.iter().any(|(leaving, _)| leaving == id);
            if leaves
                || !matches!(replica.stage, Stage::Waits { .. })
                || walk.mark.is_some() && !replica.takes_pieces()
            {
                continue;
            }
            replica.stage = match walk.mark {
                Some(_) => Stage::Snapshot { has_piece: true },
                None => Stage::Awaits { at },
            };
            replica.moved_at = now;
            self.full_syncs += 1;
            if replica.partial {
                let line = format!("+FULLRESYNC {} {at}\r\n", self.history.id);
                replica.line.extend_from_slice(line.as_bytes());
            }
            if let Some(mark) = &walk.mark {
                replica.line.extend_from_slice(format!("$EOF:{mark}\r\n").as_bytes());
            }
        }
    }

    /// Whether the walk's next piece may come: all replicas have the last one.
    pub fn takes_piece(&self) -> bool {
        let begun = self.walk.as_ref().is_some_and(|walk| walk.at.is_some());
        let busy = |replica: &Replica| match replica.stage {
            Stage::Snapshot { has_piece } => !has_piece || replica.sending || !replica.line.is_empty(),
            _ => false,
        };
        begun && !self.replicas.values().any(busy)
    }

    pub fn piece(&mut self, bytes: Vec<u8>) {
        let Some(walk) = &mut self.walk else { return };
        walk.piece = bytes;
        for replica in self.replicas.values_mut() {
            if let Stage::Snapshot { has_piece } = &mut replica.stage {
                *has_piece = false;
            }
        }
    }

    /// Whether anybody is still there to take the walk under way.
    pub fn is_walk_wanted(&self) -> bool {
        let begun = self.walk.as_ref().is_some_and(|walk| walk.at.is_some());
        let wants = |replica: &Replica| match replica.stage {
            Stage::Snapshot { .. } | Stage::Awaits { .. } => true,
            Stage::Waits { .. } => !begun,
            _ => false,
        };
        self.staying().any(|(_, replica)| wants(replica))
    }

    /// All pieces have been taken.
    pub fn end_walk(&mut self) {
        let Some(Walk { at: Some(at), mark: Some(mark), .. }) = self.walk.take() else { return };
        for (id, replica) in &mut self.replicas {
            let leaves = self.leaving.iter().any(|(leaving, _)| leaving == id);
            if !leaves && matches!(replica.stage, Stage::Snapshot { .. }) {
                replica.line.extend_from_slice(mark.as_bytes());
                replica.stage = Stage::Loads { at };
            }
        }
    }

    /// All of the walk under way is in a file of `length` bytes, which is called `number` from here on.
    pub fn end_file(&mut self, number: u64, length: u64) {
        self.walk = None;
        for replica in self.replicas.values_mut() {
            if let Stage::Awaits { at } = replica.stage {
                replica.line.extend_from_slice(format!("${length}\r\n").as_bytes());
                replica.stage = Stage::File { at, walk: number, sent: 0, length };
            }
        }
    }

    /// Whether somebody is yet to be sent some of this file.
    pub fn needs_file(&self, number: u64) -> bool {
        self.staying().any(|(_, replica)| matches!(replica.stage, Stage::File { walk, .. } if walk == number))
    }

    /// There will be no more of the walk under way.
    pub fn abandon_walk(&mut self) {
        self.walk = None;
        let half = |(id, replica): (&ReplicaId, &Replica)| {
            matches!(replica.stage, Stage::Snapshot { .. } | Stage::Awaits { .. }).then_some(*id)
        };
        let ids: Vec<ReplicaId> = self.replicas.iter().filter_map(half).collect();
        ids.into_iter().for_each(|id| self.leave(id, "its snapshot failed"));
    }

    // ---- the stream ----

    /// The stream goes on with `bytes`. `on_disk`: files keep it too.
    pub fn append(&mut self, bytes: &[u8], on_disk: bool) {
        let needed = |replica: &Replica| match replica.stage {
            Stage::Awaits { at } | Stage::File { at, .. } | Stage::Loads { at } | Stage::Follows { at } => {
                Some(at)
            }
            Stage::Snapshot { .. } => self.walk.as_ref().and_then(|walk| walk.at),
            Stage::Waits { .. } => None,
        };
        let oldest = self.staying().filter_map(|(_, replica)| needed(replica)).min();
        let Some(backlog) = &mut self.backlog else { return };
        let end = backlog.end() + bytes.len() as u64;
        let behind = oldest.map_or(0, |oldest| (end - oldest) as usize);
        if !on_disk && behind > self.bounds.backlog {
            // In large steps: a resize to fit each batch would copy everything each time.
            backlog.resize(behind.next_power_of_two().min(self.bounds.most_kept));
        } else if backlog.memory() > self.bounds.backlog {
            backlog.resize(self.bounds.backlog);
        }
        backlog.append(bytes);
    }

    /// What to send a replica now; nothing while a send is under way.
    pub fn next_send(&mut self, id: ReplicaId) -> Option<Next> {
        let replica = self.replicas.get_mut(&id).filter(|replica| !replica.sending)?;
        if !replica.line.is_empty() {
            replica.sending = true;
            return Some(Next::Send(std::mem::take(&mut replica.line)));
        }
        if self.leaving.iter().any(|(leaving, _)| *leaving == id) {
            // Nor may more be sent while the send that it was left amid goes on.
            return None;
        }
        match &mut replica.stage {
            Stage::Snapshot { has_piece } if !*has_piece => {
                *has_piece = true;
                replica.sending = true;
                self.walk.as_ref().map(|walk| Next::Send(walk.piece.clone()))
            }
            &mut Stage::File { walk, sent, length, .. } if sent < length => {
                replica.sending = true;
                let most = PIECE.min((length - sent) as usize);
                Some(Next::ReadFile { walk, from: sent, most })
            }
            Stage::Follows { at } => {
                let backlog = self.backlog.as_ref()?;
                match backlog.read(*at) {
                    Some((&[], &[])) => None,
                    Some((older, newer)) => {
                        let older = &older[..older.len().min(PIECE)];
                        let newer = &newer[..newer.len().min(PIECE - older.len())];
                        let bytes = [older, newer].concat();
                        *at += bytes.len() as u64;
                        replica.sending = true;
                        Some(Next::Send(bytes))
                    }
                    None => {
                        replica.sending = true;
                        Some(Next::Read { from: *at, most: PIECE })
                    }
                }
            }
            _ => None,
        }
    }

    /// What [`Next::Read`] or [`Next::ReadFile`] asked for: the bytes to send, none if they are on their way to the files, or why there are none.
    pub fn read(&mut self, id: ReplicaId, read: Result<Vec<u8>, String>) -> Option<Vec<u8>> {
        match (read, &mut self.replicas.get_mut(&id)?.stage) {
            (Ok(bytes), Stage::Follows { at }) if !bytes.is_empty() => {
                *at += bytes.len() as u64;
                Some(bytes)
            }
            (Ok(bytes), Stage::File { sent, .. }) if !bytes.is_empty() => {
                *sent += bytes.len() as u64;
                Some(bytes)
            }
            (Ok(_), Stage::File { .. }) => {
                self.leave(id, "the file of its snapshot is cut off");
                None
            }
            (Ok(_), _) => {
                self.replicas.get_mut(&id)?.sending = false;
                None
            }
            (Err(why), _) => {
                self.leave(id, &why);
                None
            }
        }
    }

    /// The last send to a replica has ended.
    pub fn sent(&mut self, id: ReplicaId, now: u64) {
        if let Some(replica) = self.replicas.get_mut(&id) {
            (replica.sending, replica.moved_at) = (false, now);
            if let Stage::File { at, sent, length, .. } = replica.stage
                && sent == length
            {
                // It knows where the file ends, so the stream may follow at once.
                (replica.stage, replica.heard_at) = (Stage::Follows { at }, now);
            }
        }
    }

    /// Replicas that may have something to be sent.
    pub fn ids(&self) -> Vec<ReplicaId> {
        self.replicas.keys().copied().collect()
    }

    /// Whether every replica that follows has been sent all there is.
    pub fn is_drained(&self) -> bool {
        let Some(backlog) = &self.backlog else { return true };
        let drained = |replica: &Replica| match replica.stage {
            Stage::Follows { at } => at == backlog.end() && !replica.sending,
            _ => true,
        };
        self.staying().all(|(_, replica)| drained(replica))
    }

    // ---- what replicas say ----

    /// Bytes from a replica: its acknowledgements.
    pub fn received(&mut self, id: ReplicaId, bytes: &[u8], now: u64) {
        let Some(replica) = self.replicas.get_mut(&id) else { return };
        replica.heard_at = now;
        replica.input.extend_from_slice(bytes);
        let limits = ParseLimits { max_bulk: MOST_INPUT as u64, authenticated: true };
        let mut commands = Commands::default();
        let mut input = std::mem::take(&mut replica.input);
        let mut used = 0;
        loop {
            let Ok(more) = replica.parser.parse(&input[used..], &limits, &mut commands) else {
                return self.leave(id, "it does not speak the protocol");
            };
            for index in 0..commands.len() {
                replica.heed(&commands.argv(index, &input[used..]).iter().collect::<Vec<_>>());
            }
            used += more;
            if commands.is_empty() {
                break;
            }
        }
        input.drain(..used);
        if input.len() > MOST_INPUT {
            return self.leave(id, "it sends more than acknowledgements");
        }
        replica.input = input;
    }

    // ---- time ----

    /// Once in a while: leaves replicas that are silent, keeps waiting ones alive. True: the stream is to get a PING.
    pub fn tick(&mut self, now: u64) -> bool {
        let timeout = self.bounds.timeout_ms;
        let (mut silent, mut stalling) = (Vec::new(), Vec::new());
        let waits_for_others = |(_, replica): (ReplicaId, &Replica)| {
            matches!(replica.stage, Stage::Snapshot { has_piece: true }) && !replica.sending
        };
        let keeps_waiting = self.staying().any(waits_for_others);
        for (id, replica) in &mut self.replicas {
            let since = match replica.stage {
                Stage::Waits { .. } | Stage::Awaits { .. } => {
                    let leaves = self.leaving.iter().any(|(leaving, _)| leaving == id);
                    let idle = !leaves && !replica.sending && replica.line.is_empty();
                    if idle && now >= replica.moved_at + KEEP_ALIVE_MS {
                        replica.line.push(b'\n');
                    }
                    replica.moved_at
                }
                // It has all there is: others are slower, or the walk is.
                Stage::Snapshot { .. } if !replica.sending && replica.line.is_empty() => {
                    replica.moved_at = now;
                    now
                }
                Stage::Snapshot { .. } if keeps_waiting && now > replica.moved_at + timeout / STALLING => {
                    stalling.push(*id);
                    now
                }
                Stage::Snapshot { .. } | Stage::File { .. } => replica.moved_at,
                // Loading may take long; what it says meanwhile counts.
                Stage::Loads { .. } => replica.heard_at.max(replica.moved_at),
                Stage::Follows { .. } if replica.partial => replica.heard_at,
                Stage::Follows { .. } => replica.moved_at,
            };
            if now > since + timeout {
                silent.push(*id);
            }
        }
        silent.into_iter().for_each(|id| self.leave(id, "it has been silent for longer than repl-timeout"));
        stalling
            .into_iter()
            .for_each(|id| self.leave(id, "other replicas wait for it in the same full sync"));
        let due = !self.replicas.is_empty() && now >= self.pinged_at + self.bounds.ping_ms;
        if due {
            self.pinged_at = now;
        }
        due && self.is_active()
    }

    /// Once in a while. True: nobody has followed this server for so long, `leads` as it may have done, that memory keeps
    /// nothing for those who may come back.
    pub fn is_forsaken(&mut self, leads: bool, now: u64) -> bool {
        if !leads || !self.is_alone() || !self.is_active() {
            self.alone_since = None;
            return false;
        }
        let since = *self.alone_since.get_or_insert(now);
        let ttl = self.bounds.backlog_ttl_ms;
        ttl > 0 && now > since.saturating_add(ttl)
    }

    /// Memory keeps nothing of the stream until somebody follows again.
    pub fn drop_backlog(&mut self) {
        self.backlog = None;
    }

    // ---- figures ----

    /// Remembers when the stream came as far as it is now.
    pub fn mark(&mut self, now: u64) {
        let Some(end) = self.backlog.as_ref().map(Backlog::end) else { return };
        let oldest = self.followers().map(|replica| replica.acked).min();
        self.marks.note(end, oldest.unwrap_or(end), now);
    }

    /// How many replicas have applied the stream up to `offset`.
    pub fn acked(&self, offset: u64) -> usize {
        self.followers().filter(|replica| replica.acked >= offset).count()
    }

    /// How many follow.
    pub fn following(&self) -> usize {
        self.followers().count()
    }

    /// How many have it on their disks up to `offset`.
    pub fn flushed(&self, offset: u64) -> usize {
        self.followers().filter(|replica| replica.flushed >= offset).count()
    }

    /// Replicas that follow and have spoken lately.
    pub fn good(&self, now: u64) -> usize {
        self.followers().filter(|replica| now <= replica.heard_at + self.bounds.most_lag_ms).count()
    }

    fn followers(&self) -> impl Iterator<Item = &Replica> {
        let follows = |replica: &&Replica| matches!(replica.stage, Stage::Follows { .. });
        self.staying().map(|(_, replica)| replica).filter(follows)
    }

    /// Where a replica is found that has applied all of the stream, which ends at `end`; `wanted`: this one.
    pub fn caught_up(&self, wanted: Option<&(Box<str>, u16)>, end: u64) -> Option<(Box<str>, u16)> {
        let meant = |replica: &&Replica| wanted.is_none_or(|(host, port)| replica.is_at(host, *port));
        let found = self.followers().filter(meant).find(|replica| replica.acked == end)?;
        Some((found.host().into(), found.identity.port))
    }

    pub fn facts(&self, now: u64) -> Vec<ReplicaFacts> {
        let end = self.backlog.as_ref().map_or(0, Backlog::end);
        let facts = |(_, replica): (ReplicaId, &Replica)| ReplicaFacts {
            ip: replica.host().into(),
            port: replica.identity.port,
            state: match replica.stage {
                Stage::Waits { .. } | Stage::Awaits { .. } => ReplicaState::WaitBgsave,
                Stage::Snapshot { .. } | Stage::File { .. } | Stage::Loads { .. } => ReplicaState::SendBulk,
                Stage::Follows { .. } => ReplicaState::Online,
            },
            offset: replica.acked,
            lag_seconds: (now.saturating_sub(replica.heard_at) / 1000) as i64,
            lag_bytes: end.saturating_sub(replica.acked),
            lag_ms: self.marks.age(replica.acked, now),
        };
        self.staying().map(facts).collect()
    }
}

impl Replica {
    /// Where it wants to be found, else where its connection comes from.
    fn host(&self) -> &str {
        let host = self.addr.rsplit_once(':').map_or(&*self.addr, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        self.identity.ip.as_deref().unwrap_or(host)
    }

    fn is_at(&self, host: &str, port: u16) -> bool {
        self.identity.port == port && self.host().eq_ignore_ascii_case(host)
    }

    /// Whether it can do without a file. Who said SYNC never acknowledges, and would not be known to have loaded it.
    fn takes_pieces(&self) -> bool {
        self.identity.eof && self.partial
    }

    /// Up to where it can know the stream, whatever it says.
    fn sent(&self) -> u64 {
        if let Stage::Follows { at } = self.stage { at } else { 0 }
    }

    /// A command of the replica. Only acknowledgements mean anything here.
    fn heed(&mut self, argv: &[&[u8]]) {
        let [name, rest @ ..] = argv else { return };
        if !name.eq_ignore_ascii_case(b"REPLCONF") {
            return;
        }
        for pair in rest.chunks_exact(2) {
            let Some(offset) = parse_i64(pair[1]).and_then(|offset| u64::try_from(offset).ok()) else {
                continue;
            };
            if pair[0].eq_ignore_ascii_case(b"ACK") {
                if let Stage::Loads { at } = self.stage {
                    self.stage = Stage::Follows { at };
                }
                self.acked = self.acked.max(offset.min(self.sent()));
            } else if pair[0].eq_ignore_ascii_case(b"FACK") {
                self.flushed = self.flushed.max(offset.min(self.sent()));
            }
        }
    }
}

#[cfg(test)]
#[path = "primary_tests.rs"]
mod tests;
