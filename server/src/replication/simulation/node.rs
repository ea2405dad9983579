//! One server: what `node::log_core` does with the state machines, step for step, with data that fits a test.

use std::collections::{BTreeMap, VecDeque};

use super::failover::Handing;
use super::model::{Model, command, first_command, good_length, random_unit};
use super::net::{Conn, PRIMARY, REPLICA};
use super::upstream::{Upstream, WAYS, Way};
use super::waits::Claim;
use crate::commands::{ReplicaIdentity, SyncRequest};
use crate::log::simulation::Random;
use crate::replication::{Bounds, History, Next, Primary, ReplicaId, Waiters};

/// What all nodes share.
pub struct Env {
    pub random: Random,
    pub now: u64,
    pub conns: BTreeMap<u32, Conn>,
    pub ids: u64,
    /// The digest of the data at an offset of a history: the same wherever it is.
    pub known: BTreeMap<(String, u64), u64>,
    /// Who is to take over, having everything: by the history and the next offset.
    pub due: BTreeMap<(String, i64), usize>,
    pub seen: BTreeMap<&'static str, usize>,
    /// What clients were told since it was last looked at.
    pub claims: Vec<Claim>,
    /// One turn in so many has changes.
    pub idleness: usize,
}

impl Env {
    pub fn see(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// A node may be without what it has acknowledged.
    pub fn forget_due(&mut self, node: usize) {
        self.due.retain(|_, due| *due != node);
    }

    pub fn random_id(&mut self) -> String {
        self.ids += 1;
        format!("{:040x}", self.ids)
    }

    /// What stands at an offset of a history stands there for ever.
    pub fn know(&mut self, id: &str, offset: u64, digest: u64) {
        let known = *self.known.entry((id.to_owned(), offset)).or_insert(digest);
        assert_eq!(known, digest, "two states at offset {offset} of history {}", id.trim_start_matches('0'));
    }
}

/// Files: the state at `start`, and the stream from there on.
#[derive(Clone, Default)]
pub struct Disk {
    start: u64,
    base: Model,
    bytes: Vec<u8>,
    written: usize,
    flushed: usize,
    pub note: Option<History>,
}

/// What a snapshot is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Purpose {
    Sync,
    Rewrite,
}

struct Snapshot {
    purpose: Purpose,
    asked: Option<u64>,
    cut: Option<(u64, Model)>,
    left: VecDeque<u8>,
    done_at: u64,
    streams: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    Lead,
    Follow(usize),
}

/// A connection that may become a replica's.
#[derive(Default)]
struct Guest {
    input: Vec<u8>,
    asks: Option<(SyncRequest, u64)>,
    admitted: bool,
}

pub struct Node {
    pub index: usize,
    pub alive: bool,
    pub life: u32,
    pub frozen_until: u64,
    /// Keeps files; they count.
    pub durable: bool,
    pub disk: Disk,
    pub founded: bool,
    /// The stream's end, and the database its next command would apply to if its reader knows.
    pub at: u64,
    db: Option<usize>,
    pub model: Model,
    pub applied: u64,
    pub applying: VecDeque<Vec<u8>>,
    pub digests: BTreeMap<u64, u64>,
    pub primary: Primary,
    /// Clients that wait, and for which place in which history.
    pub waiters: Waiters<u64>,
    bounds: Bounds,
    guests: BTreeMap<u32, Guest>,
    pub upstream: Option<Upstream>,
    /// How it takes in a full sync.
    pub way: Way,
    pub next_role: Option<Role>,
    pub role_cut: Option<u64>,
    pub handing: Handing,
    snapshot: Option<Snapshot>,
    sync_files: Vec<Vec<u8>>,
    queue: VecDeque<Purpose>,
    looked_at: u64,
    /// Until when the applier stands still.
    stalled_until: u64,
    stream: Vec<u8>,
    pub writes: bool,
}

fn bounds(random: &mut Random) -> Bounds {
    let backlog = [0, 400, 5000, 50_000][random.below(4)];
    Bounds {
        backlog,
        backlog_ttl_ms: [0, 500, 5000][random.below(3)],
        most_kept: backlog.max([1000, 20_000, 200_000][random.below(3)]),
        timeout_ms: 4000,
        ping_ms: 700,
        diskless: !random.once_in(3),
        delay_ms: [0, 0, 300][random.below(3)],
        most_waiting: random.below(2),
        most_lag_ms: 1000,
    }
}

/// How long the shards take to agree on a cut.
pub fn cut_ms(random: &mut Random) -> u64 {
    let most = [60, 60, 60, 1500][random.below(4)];
    random.ms(most)
}

impl Node {
    pub fn new(index: usize, durable: bool, env: &mut Env) -> Node {
        let history = History::new(env.random_id());
        let bounds = bounds(&mut env.random);
        let primary = Primary::new(history, bounds);
        let mut node = Node {
            index,
            alive: true,
            life: 0,
            frozen_until: 0,
            durable,
            disk: Disk::default(),
            founded: durable,
            at: 0,
            db: None,
            model: Model::default(),
            applied: 0,
            applying: VecDeque::new(),
            digests: BTreeMap::new(),
            primary,
            waiters: Waiters::default(),
            bounds,
            guests: BTreeMap::new(),
            upstream: None,
            way: WAYS[env.random.below(WAYS.len())],
            next_role: None,
            role_cut: None,
            handing: Handing::default(),
            snapshot: None,
            sync_files: Vec::new(),
            queue: VecDeque::new(),
            looked_at: 0,
            stalled_until: 0,
            stream: Vec::new(),
            writes: true,
        };
        node.note_history(env);
        node.note_state(env);
        node
    }

    pub fn follows(&self) -> bool {
        self.upstream.is_some()
    }

    pub fn is_loading(&self) -> bool {
        self.upstream.as_ref().is_some_and(Upstream::is_loading)
    }

    pub fn is_applied(&self) -> bool {
        self.applying.is_empty()
    }

    fn note_state(&mut self, env: &mut Env) {
        let digest = self.model.digest();
        self.digests.insert(self.applied, digest);
        env.know(&self.primary.history.id, self.applied, digest);
    }

    /// The history has changed: what it claims of both names is so.
    pub fn check_history(&self, env: &mut Env) {
        let History { id, earlier } = &self.primary.history;
        for (offset, digest) in &self.digests {
            env.know(id, *offset, *digest);
            if let Some((earlier, _)) = earlier.as_ref().filter(|(_, end)| offset <= end) {
                env.know(earlier, *offset, *digest);
            }
        }
    }

    pub fn note_history(&mut self, env: &mut Env) {
        if self.durable && self.founded {
            self.disk.note = Some(self.primary.history.clone());
        }
        self.check_history(env);
    }

    // ---- crash and restart ----

    pub fn crash(&mut self, env: &mut Env) {
        self.alive = false;
        self.life += 1;
        env.forget_due(self.index);
        for conn in env.conns.values_mut() {
            for end in 0..2 {
                if conn.nodes[end] == self.index {
                    conn.sever(env.now, &mut env.random);
                    conn.forget(end);
                }
            }
        }
    }

    /// Starts again, as `node/log_core/start.rs` does.
    pub fn restart(&mut self, follows: Option<usize>, env: &mut Env) {
        let (index, life, power) = (self.index, self.life, env.random.once_in(2));
        let mut disk = std::mem::take(&mut self.disk);
        let (durable, writes) = (self.durable, self.writes);
        *self = Node::new(index, durable, env);
        (self.life, self.writes) = (life, writes);
        if durable {
            let least = if power { disk.flushed } else { disk.written };
            let kept = least + env.random.below(disk.written - least + 1);
            disk.bytes.truncate(kept);
            let good = good_length(&disk.bytes);
            disk.bytes.truncate(good);
            (disk.written, disk.flushed) = (good, good);
            self.at = disk.start + good as u64;
            (self.model, self.applied) = (disk.base.clone(), disk.start);
            self.digests = BTreeMap::from([(disk.start, self.model.digest())]);
            let Node { model, digests, applied, .. } = self;
            model.apply(&disk.bytes, |model, length| {
                *applied += length;
                digests.insert(*applied, model.digest());
            });
            if let Some(history) = disk.note.clone() {
                self.primary.history = history;
                if follows.is_none() {
                    self.primary.history.fork(env.random_id(), self.at);
                }
            }
            self.disk = disk;
            self.note_history(env);
        }
        self.next_role = follows.map(Role::Follow);
        self.writes &= follows.is_none();
    }

    // ---- a turn ----

    pub fn turn(&mut self, env: &mut Env) {
        self.take_events(env);
        if self.is_loading() {
            return self.load(env);
        }
        self.merge(env);
        self.keep_files(env);
        self.apply_some(env);
        self.look_after_failover(env);
        self.look_after_role(env);
        self.send_snapshot(env);
        self.serve_replicas(env);
        self.settle_waits(env);
        if env.now >= self.looked_at + 100 {
            self.looked_at = env.now;
            if self.primary.is_forsaken(!self.follows() && self.next_role.is_none(), env.now) {
                self.primary.drop_backlog();
                if !(self.durable && self.founded) {
                    self.primary.begin_anew(History::new(env.random_id()));
                    self.check_history(env);
                }
                env.see("a backlog nobody came back for");
            }
            if self.primary.tick(env.now) && self.handing.over.is_none() {
                self.emit(&command(&["PING"]), env);
            }
            if env.random.once_in(8) {
                self.emit(&command(&["REPLCONF", "GETACK", "*"]), env);
            }
            let queued = self.queue.contains(&Purpose::Sync);
            let under_way = self.snapshot.as_ref().is_some_and(|one| one.purpose == Purpose::Sync);
            if self.primary.wants_walk(env.now) && !queued && !under_way {
                self.queue.push_back(Purpose::Sync);
            }
            if self.durable && self.queue.is_empty() && (!self.founded || env.random.once_in(60)) {
                self.queue.push_back(Purpose::Rewrite);
            }
        }
        self.begin_snapshot(env);
    }

    fn take_events(&mut self, env: &mut Env) {
        let ids: Vec<u32> = env.conns.keys().copied().collect();
        for id in ids {
            let Some(conn) = env.conns.get_mut(&id) else { continue };
            if conn.nodes[PRIMARY] == self.index && conn.lives[PRIMARY] == self.life {
                self.guest_events(id, env);
            }
        }
        self.upstream_events(env);
    }

    fn guest_events(&mut self, id: u32, env: &mut Env) {
        let (follows, name) = (self.follows(), self.primary.history.id.clone());
        let refuses_to_take_over = |replid: &str| match () {
            () if !follows => Some("-ERR PSYNC FAILOVER can't be sent to a master.\r\n"),
            () if name != replid => Some("-ERR PSYNC FAILOVER replid must match my replid.\r\n"),
            () => None,
        };
        let guest = self.guests.entry(id).or_default();
        let conn = env.conns.get_mut(&id).expect("it is there");
        if conn.flow(PRIMARY, env.now, &mut env.random) && guest.admitted {
            self.primary.sent(id, env.now);
        }
        while let Some(bytes) = conn.receive(PRIMARY, env.now) {
            if guest.admitted {
                self.primary.received(id, &bytes, env.now);
            } else {
                guest.input.extend(bytes);
            }
        }
        if conn.is_over(PRIMARY, env.now) {
            conn.forget(PRIMARY);
            self.guests.remove(&id);
            self.handing.successions.retain(|(waiting, _)| *waiting != id);
            self.primary.gone(id);
            return;
        }
        let loading = self.upstream.as_ref().is_some_and(Upstream::is_loading);
        if !guest.admitted && guest.asks.is_none() && !conn.is_sending(PRIMARY) {
            let mut out = Vec::new();
            while let Some((words, length)) = first_command_of(&guest.input) {
                guest.input.drain(..length);
                match words[0].as_str() {
                    _ if loading => out.extend_from_slice(b"-LOADING later\r\n"),
                    "PING" => out.extend_from_slice(b"+PONG\r\n"),
                    "REPLCONF" => out.extend_from_slice(b"+OK\r\n"),
                    "PSYNC" => {
                        let offset = words[2].parse().expect("an offset");
                        let replid: Box<str> = words[1].as_str().into();
                        let takes_over = words.len() > 3;
                        let request = match takes_over {
                            true => SyncRequest::TakeOver { replid, offset },
                            false => SyncRequest::Partial { replid, offset },
                        };
                        let refusal = refuses_to_take_over(&words[1]).filter(|_| takes_over);
                        if let Some(line) = refusal {
                            out.extend_from_slice(line.as_bytes());
                        } else {
                            guest.asks = Some((request, env.now + env.random.ms(30)));
                        }
                    }
                    other => panic!("{other} from a replica"),
                }
            }
            if !out.is_empty() {
                conn.send(PRIMARY, out);
            }
        } else if guest.asks.as_ref().is_some_and(|(_, due)| *due <= env.now) {
            let (request, _) = guest.asks.take().expect("it asks");
            guest.admitted = true;
            self.welcome(id, request, env);
        }
    }

    pub fn welcome(&mut self, id: ReplicaId, request: SyncRequest, env: &mut Env) {
        if let SyncRequest::TakeOver { replid, offset } = request {
            self.handing.successions.push((id, SyncRequest::Partial { replid, offset }));
            return self.change_role(Role::Lead);
        }
        let oldest = (self.durable && self.founded).then_some(self.disk.start);
        let from = env.conns[&id].nodes[REPLICA].to_string();
        let before = self.primary.partial_syncs;
        let identity = ReplicaIdentity { port: id as u16, ip: Some(from.into()), eof: true, psync2: true };
        let backlog = self.primary.backlog().map_or(self.at, |backlog| backlog.start());
        self.primary.admit(id, ("node:1".into(), request.clone(), identity), (self.at, oldest), env.now);
        let partial = self.primary.partial_syncs > before;
        let SyncRequest::Partial { replid, offset } = request else { return };
        let Some(at) = u64::try_from(offset).ok().and_then(|offset| offset.checked_sub(1)) else { return };
        if partial {
            env.see(if at < self.at {
                "a partial sync with something to catch up"
            } else {
                "a partial sync"
            });
            if let (Some(known), Some(here)) =
                (env.known.get(&(replid.to_string(), at)), self.digests.get(&at))
            {
                assert_eq!(known, here, "a partial sync from another state");
            }
            return;
        }
        let kept = oldest.map_or(backlog, |oldest| oldest.min(backlog));
        let has = kept <= at && at <= self.at && !self.is_loading();
        assert!(!has || !self.primary.history.holds(&replid, at), "what it needs is kept");
        if has
            && at > 0
            && self
                .digests
                .get(&at)
                .is_some_and(|here| env.known.get(&(replid.to_string(), at)) == Some(here))
        {
            env.see("a full sync only because a name was forgotten");
        }
    }

    // ---- the stream ----

    pub fn emit(&mut self, command: &[u8], env: &mut Env) {
        // Who has been told to follow may have started with another's history: the stream is not its own to write.
        if !self.follows() && !matches!(self.next_role, Some(Role::Follow(_))) {
            self.at += command.len() as u64;
            self.keep(command);
            self.take_in(command, env);
        }
    }

    /// The stream goes on with `bytes`.
    pub fn keep(&mut self, bytes: &[u8]) {
        let on_disk = self.durable && self.founded;
        self.primary.append(bytes, on_disk);
        let behind = self.primary.backlog().map_or(0, |backlog| (backlog.end() - backlog.start()) as usize);
        let most = self.bounds.most_kept;
        assert!(behind <= most, "{behind} bytes are kept, of {most} at most");
        if let Some(backlog) = self.primary.backlog() {
            assert_eq!(backlog.end(), self.at, "the backlog ends where the stream does");
        }
        if on_disk {
            self.disk.bytes.extend_from_slice(bytes);
            assert_eq!(self.disk.start + self.disk.bytes.len() as u64, self.at);
        }
    }

    /// Changes of our own, unless we follow; and the cut, if it is due.
    fn merge(&mut self, env: &mut Env) {
        let start = self.at;
        let due =
            |snapshot: &Snapshot| snapshot.cut.is_none() && snapshot.asked.is_some_and(|at| at <= env.now);
        let cut = self.snapshot.as_ref().is_some_and(due);
        self.write_some(env);
        let mut walk = None;
        if cut && let Some(snapshot) = &mut self.snapshot {
            self.db = None;
            assert_eq!(self.applied, self.at, "a cut lies at what is applied");
            snapshot.cut = Some((self.at, self.model.clone()));
            snapshot.done_at = env.now + env.random.ms(300);
            if snapshot.purpose == Purpose::Sync {
                let padding = env.random.below(4000);
                // Our own stream names its database behind the cut; a primary's goes on.
                snapshot.left = self.model.snapshot(padding).into();
                walk = Some(self.at);
                env.see(if snapshot.streams { "a walk" } else { "a walk into a file" });
            } else {
                self.stream_into_files();
            }
        }
        if cut {
            self.write_some(env);
        }
        if let Some(at) = walk {
            self.primary.walk_at(at, start, env.now);
        }
        let bytes = std::mem::take(&mut self.stream);
        self.keep(&bytes);
        if self.role_cut.is_some_and(|due| due <= env.now) {
            self.db = None;
            self.begin_role(env);
        }
    }

    /// A rewrite's cut: a log that is turned on keeps what follows.
    fn stream_into_files(&mut self) {
        let bytes = std::mem::take(&mut self.stream);
        self.keep(&bytes);
    }

    fn write_some(&mut self, env: &mut Env) {
        let pauses = self.handing.is_frozen() || self.next_role.is_some() || self.role_cut.is_some();
        if self.follows() || !self.writes || pauses {
            return;
        }
        let count = match env.random.below(env.idleness) {
            0 if env.random.once_in(40) => 60,
            0 => env.random.below(3),
            _ => 0,
        };
        for _ in 0..count {
            let commands = random_unit(&mut env.random);
            let whole = commands.len() > 1;
            let mut bytes = Vec::new();
            let mut select = |db: usize, bytes: &mut Vec<u8>| {
                if self.db != Some(db) {
                    self.db = Some(db);
                    bytes.extend(command(&["SELECT", &db.to_string()]));
                }
            };
            select(commands[0].0, &mut bytes);
            if whole {
                bytes.extend(command(&["MULTI"]));
            }
            for (db, command) in commands {
                select(db, &mut bytes);
                bytes.extend(command);
            }
            if whole {
                bytes.extend(command(&["EXEC"]));
            }
            self.at += bytes.len() as u64;
            self.stream.extend_from_slice(&bytes);
            self.take_in(&bytes, env);
        }
    }

    /// Whole units take effect.
    fn take_in(&mut self, bytes: &[u8], env: &mut Env) {
        let Node { model, digests, applied, primary, .. } = self;
        model.apply(bytes, |model, length| {
            *applied += length;
            let digest = model.digest();
            digests.insert(*applied, digest);
            env.know(&primary.history.id, *applied, digest);
        });
    }

    fn apply_some(&mut self, env: &mut Env) {
        if env.random.once_in(400) {
            self.stalled_until = env.now + env.random.ms(4000);
        }
        let stalled = env.random.once_in(4) || env.now < self.stalled_until;
        let count = if stalled { 0 } else { 1 + env.random.below(5) };
        for _ in 0..count {
            if let Some(bytes) = self.applying.pop_front() {
                self.take_in(&bytes, env);
            }
        }
        if self.applying.is_empty() && self.follows() {
            assert_eq!(self.applied, self.at, "what was fed is the stream");
        }
    }

    pub fn apply_all(&mut self, env: &mut Env) {
        while let Some(bytes) = self.applying.pop_front() {
            self.take_in(&bytes, env);
        }
    }

    fn keep_files(&mut self, env: &mut Env) {
        let Disk { bytes, written, flushed, .. } = &mut self.disk;
        if env.random.once_in(2) {
            *written += env.random.below(bytes.len() - *written + 1);
        }
        if env.random.once_in(10) {
            *flushed = *written;
        }
    }

    /// Up to where the stream is on the disk, if it is kept there.
    pub fn durable_offset(&self) -> Option<u64> {
        (self.durable && self.founded).then_some(self.disk.start + self.disk.flushed as u64)
    }

    /// Where a restart goes on that finds no more than what was flushed.
    pub fn surviving_offset(&self) -> u64 {
        self.disk.start + good_length(&self.disk.bytes[..self.disk.flushed]) as u64
    }

    /// Files of what was are nobody's any more; new ones begin with a cut.
    pub fn drop_files(&mut self) {
        if self.durable {
            self.founded = false;
            self.disk.note = None;
            self.disk.bytes.truncate(self.disk.written);
        }
    }

    // ---- snapshots ----

    pub fn has_snapshot(&self) -> bool {
        self.snapshot.is_some()
    }

    pub fn forget_db(&mut self) {
        self.db = None;
    }

    /// Whether the stream waits for a cut.
    pub fn holds(&self) -> bool {
        self.snapshot.as_ref().is_some_and(|snapshot| snapshot.cut.is_none()) || self.role_cut.is_some()
    }

    fn begin_snapshot(&mut self, env: &mut Env) {
        if self.snapshot.is_none()
            && self.role_cut.is_none()
            && let Some(purpose) = self.queue.pop_front()
        {
            let streams = purpose == Purpose::Sync && self.primary.begin_walk(env.random_id());
            let asked = (!self.follows()).then(|| env.now + cut_ms(&mut env.random));
            self.snapshot =
                Some(Snapshot { purpose, asked, cut: None, left: VecDeque::new(), done_at: 0, streams });
        }
    }

    pub fn ask_for_due_cut(&mut self, env: &mut Env) {
        let applied = self.is_applied();
        if let Some(snapshot) = self.snapshot.as_mut().filter(|one| applied && one.asked.is_none()) {
            snapshot.asked = Some(env.now + cut_ms(&mut env.random));
        }
    }

    fn send_snapshot(&mut self, env: &mut Env) {
        let Some(snapshot) = &mut self.snapshot else { return };
        if snapshot.purpose == Purpose::Rewrite {
            if snapshot.cut.is_some() && env.now >= snapshot.done_at {
                self.found(env);
            }
            return;
        }
        if !self.primary.is_walk_wanted() {
            env.see("a walk was given up");
            return self.fail_snapshot();
        }
        if !snapshot.streams {
            if snapshot.cut.is_some() && env.now >= snapshot.done_at {
                let number = self.sync_files.len() as u64;
                self.primary.end_file(number, snapshot.left.len() as u64);
                self.sync_files.push(snapshot.left.drain(..).collect());
                self.snapshot = None;
            }
            return;
        }
        if !self.primary.takes_piece() {
            return;
        }
        if snapshot.left.is_empty() {
            self.primary.end_walk();
            self.snapshot = None;
        } else {
            let count = (1 + env.random.below(500)).min(snapshot.left.len());
            self.primary.piece(snapshot.left.drain(..count).collect());
        }
    }

    /// A rewrite ends: the files begin at its cut.
    fn found(&mut self, env: &mut Env) {
        let Some(Snapshot { cut: Some((at, base)), .. }) = self.snapshot.take() else { return };
        if self.founded {
            let skipped = (at - self.disk.start) as usize;
            if skipped > self.disk.written {
                // The cut has yet to reach the files.
                return;
            }
            let disk = &mut self.disk;
            disk.bytes.drain(..skipped);
            (disk.start, disk.base) = (at, base);
            disk.written -= skipped;
            disk.flushed = disk.flushed.saturating_sub(skipped);
        } else if self.is_applied() {
            // In one go: the real one writes what follows the cut meanwhile.
            self.founded = true;
            let base = self.model.clone();
            self.disk = Disk { start: self.at, base, ..Disk::default() };
            self.note_history(env);
            env.see("files were begun anew");
        }
    }

    pub fn fail_snapshot(&mut self) {
        if self.snapshot.take().is_some_and(|snapshot| snapshot.purpose == Purpose::Sync) {
            self.primary.abandon_walk();
        }
    }

    // ---- replicas ----

    fn serve_replicas(&mut self, env: &mut Env) {
        for id in self.primary.ids() {
            let bytes = match self.primary.next_send(id) {
                Some(Next::Send(bytes)) => Some(bytes),
                Some(Next::Read { from, most }) => {
                    let most = most.min(1 + env.random.below(300));
                    self.primary.read(id, self.read_files(from, most))
                }
                Some(Next::ReadFile { walk, from, most }) => {
                    let most = most.min(1 + env.random.below(300));
                    let bytes = self.sync_files[walk as usize][from as usize..][..most].to_vec();
                    self.primary.read(id, Ok(bytes))
                }
                None => None,
            };
            if let Some(bytes) = bytes {
                env.conns.get_mut(&id).expect("it is connected").send(PRIMARY, bytes);
            }
        }
        for (id, why) in self.primary.leaving() {
            let whys = [
                "silent",
                "other replicas wait",
                "kept nowhere",
                "another's now",
                "new name",
                "snapshot failed",
            ];
            let which = whys.iter().find(|part| why.contains(**part));
            env.see(which.unwrap_or_else(|| panic!("left for {why}")));
            self.primary.gone(id);
            assert!(self.guests.remove(&id).is_some(), "it is left once");
            let conn = env.conns.get_mut(&id).expect("it is connected");
            conn.close(PRIMARY, env.now, &mut env.random);
        }
    }

    fn read_files(&self, from: u64, most: usize) -> Result<Vec<u8>, String> {
        let disk = &self.disk;
        if !self.durable || !self.founded || from < disk.start {
            return Err("kept nowhere".to_owned());
        }
        let from = (from - disk.start) as usize;
        Ok(disk.bytes[from.min(disk.written)..disk.written.min(from + most).max(from.min(disk.written))]
            .to_vec())
    }
}

fn first_command_of(bytes: &[u8]) -> Option<(Vec<String>, usize)> {
    bytes.contains(&b'\n').then(|| first_command(bytes)).flatten()
}
