//! The server that this one follows: its link, and its stream on the way to the shards.
//!
//! While it follows, the shards' effects count for nothing: the stream of the primary is the log, to the byte, and what
//! the applier makes of it is the data. Both roles begin with a cut, so that no transaction is half in either.

use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

use super::*;
use crate::commands::{Client, ClientFlags, Cut, Link, PrimaryFacts};
use crate::log::select;
use crate::node::shared::Drawn;
use crate::replication::{Action as Move, Manners, Position, Replica};
use crate::session::Counters;

/// Bytes of the stream under way to the applier before the link is read no further, and of a snapshot before it is loaded.
const APPLYING: u64 = 4 << 20;
const SNAPSHOT_AHEAD: usize = 4 << 20;

/// What the role becomes, once a cut has ended the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Lead,
    Follow { host: Box<str>, port: u16 },
}

/// The link to the primary.
pub(super) struct Upstream {
    host: Box<str>,
    port: u16,
    pub(super) replica: Replica,
    connecting: Option<Receiver<std::io::Result<OwnedFd>>>,
    conn: Option<ConnId>,
    out: Vec<u8>,
    sending: bool,
    paused: bool,
    /// Pieces of the stream that wait for a cut to be over.
    held: VecDeque<Vec<u8>>,
    /// A full sync is under way: its snapshot as it comes, whether all of it is here or no more will come, and the stream
    /// behind it.
    syncing: bool,
    pub(super) snapshot: VecDeque<Vec<u8>>,
    pub(super) snapshot_bytes: usize,
    pub(super) ended: Option<Result<(), String>>,
    behind: VecDeque<Vec<u8>>,
    /// The file that it comes into.
    pub(super) receiving: Option<Receiving>,
    /// It is being loaded.
    pub(super) loading: bool,
    /// Unix seconds since when the link is down; 0: it is not.
    down_since: i64,
}

impl Upstream {
    pub(super) fn is_on(&self, conn: ConnId) -> bool {
        self.conn == Some(conn)
    }

    pub(super) fn received(&mut self, bytes: &[u8], now: u64) {
        self.replica.received(bytes, now);
    }

    pub(super) fn set_manners(&mut self, manners: Manners) {
        self.replica.set_manners(manners);
    }

    pub(super) fn sent(&mut self) {
        self.sending = false;
    }

    pub(super) fn address(self) -> (Box<str>, u16) {
        (self.host, self.port)
    }

    /// A full sync begins. What is held of the stream so far stays good until the snapshot is loaded.
    pub(super) fn begin_sync(&mut self) {
        self.end_sync(false);
        self.syncing = true;
    }

    /// The link is gone already, and with it the rest of the snapshot of which the beginning is here: nobody would tell us so
    /// again.
    pub(super) fn has_lost_snapshot(&self) -> bool {
        self.conn.is_none() && !self.replica.has_snapshot()
    }

    /// It has ended: well, and the stream goes on behind the snapshot, or where it was.
    pub(super) fn end_sync(&mut self, well: bool) {
        (self.syncing, self.ended, self.receiving) = (false, None, None);
        self.snapshot.clear();
        self.snapshot_bytes = 0;
        let behind = std::mem::take(&mut self.behind);
        if well {
            self.held = behind;
        }
    }
}

/// How a primary is spoken to.
pub(super) fn manners(settings: &Settings) -> Manners {
    Manners {
        user: settings.masteruser.clone(),
        password: settings.masterauth.clone(),
        listening_port: match settings.replica_announce_port {
            0 => settings.port,
            port => port,
        },
        announce_ip: Some(settings.replica_announce_ip.clone()).filter(|ip| !ip.is_empty()),
        timeout_ms: u64::from(settings.repl_timeout) * 1000,
    }
}

impl LogCore {
    /// REPLICAOF. The answer comes when the role has changed.
    pub(super) fn change_role(&mut self, role: Role, asker: Option<Asker>) {
        if self.failover.is_some() {
            return self.answer(asker, Err("ERR REPLICAOF not allowed while failing over."));
        }
        let same = match (&role, &self.upstream) {
            (_, _) if self.next_role.is_some() => false,
            (Role::Lead, None) => true,
            (Role::Follow { host, port }, Some(now)) => (host, *port) == (&now.host, now.port),
            _ => false,
        };
        if same {
            return self.answer(
                asker,
                Ok(match role {
                    Role::Lead => "OK",
                    Role::Follow { .. } => "OK Already connected to specified master",
                }),
            );
        }
        tracing::info!("the role changes: {role:?}");
        self.next_role = Some(role);
        self.role_askers.extend(asker);
    }

    /// Whether the stream is another server's.
    pub(super) fn follows(&self) -> bool {
        self.upstream.is_some()
    }

    /// What is due for the role: the cut that ends the one before, and the link.
    pub(super) fn look_after_role(&mut self) {
        if self.role_cut.is_none() && !self.is_ending() {
            if self.next_role.is_some() && self.snapshot.is_none() {
                self.prepare_role();
            } else if self.freezes() && self.snapshot.as_ref().is_none_or(|snapshot| snapshot.is_cut) {
                self.begin_role_cut(Cut::Freeze);
            }
        }
        self.poll_connecting();
        self.tick_upstream();
    }

    pub(super) fn tick_upstream(&mut self) {
        // While the rest is loaded of a snapshot that is here, a new link could but wait.
        let waits =
            self.upstream.as_ref().is_some_and(|upstream| upstream.loading && upstream.conn.is_none());
        let ends = self.is_ending();
        if let Some(upstream) = self.upstream.as_mut().filter(|_| !ends && !waits) {
            upstream.replica.tick(now_ms());
        }
        self.obey();
    }

    /// The cut is to lie behind all that belongs to the role before: what the applier has been given, and writes that have
    /// begun, as they would take effect on a replica.
    fn prepare_role(&mut self) {
        if self.follows() {
            self.leave_upstream("the role changes");
            if !self.is_applied() {
                return;
            }
        }
        if self.next_role == Some(Role::Lead) {
            return self.begin_role_cut(Cut::Lead);
        }
        self.pause_writes();
        if self.is_quiet() {
            self.begin_role_cut(Cut::Follow);
        }
    }

    fn begin_role_cut(&mut self, kind: Cut) {
        self.cuts += 1;
        let number = NonZeroU64::MIN.saturating_add(self.cuts);
        self.role_cut = Some((number, kind));
        self.port.send(0, Mail::Cut(number, kind));
    }

    fn is_applied(&self) -> bool {
        self.underway.applied.bytes == self.underway.fed && self.underway.applied.outstanding == 0
    }

    /// The cut between two roles lies at offset `at`: the new one begins. What is wanted may have changed meanwhile;
    /// then another cut follows.
    pub(super) fn begin_role(&mut self, kind: Cut, at: u64) {
        if kind == Cut::Freeze {
            return self.frozen();
        }
        // It may have come up again while the cut was under way.
        self.leave_upstream("the role changes");
        let is_meant = |role: &mut Role| (*role == Role::Lead) == (kind == Cut::Lead);
        match self.next_role.take_if(is_meant) {
            _ if kind == Cut::Lead => {
                self.upstream = None;
                self.found_due = self.founding.is_some();
                self.primary.rename(clock::random_id(), at);
                self.note_history();
                tracing::info!("this is a primary now, from offset {at} on");
            }
            Some(Role::Follow { host, port }) => {
                let position = Position { replid: self.primary.history.id.clone(), offset: at };
                if let Some(db) = self.merger.db() {
                    // The applier takes no part while we lead: it has to be where the stream is.
                    self.apply(select(db));
                }
                self.merger.forget_db();
                self.follow(host, port, Some(position));
                self.unblock_waits();
            }
            _ => {}
        }
        if self.next_role.is_some() {
            return;
        }
        match (&self.failover, &mut self.upstream) {
            (Some(_), Some(upstream)) => upstream.replica.promote(),
            _ => self.resume_writes(),
        }
        self.publish();
        for newcomer in std::mem::take(&mut self.successions) {
            self.welcome(newcomer);
        }
        for asker in std::mem::take(&mut self.role_askers) {
            self.answer(Some(asker), Ok("OK"));
        }
    }

    /// Begins to follow; the shards know already.
    pub(super) fn follow(&mut self, host: Box<str>, port: u16, position: Option<Position>) {
        self.upstream = Some(Upstream {
            host,
            port,
            replica: Replica::new(manners(&self.settings), position),
            connecting: None,
            conn: None,
            out: Vec::new(),
            sending: false,
            paused: false,
            held: VecDeque::new(),
            syncing: false,
            snapshot: VecDeque::new(),
            snapshot_bytes: 0,
            ended: None,
            behind: VecDeque::new(),
            receiving: None,
            loading: false,
            down_since: clock::unix_us() / 1_000_000,
        });
    }

    pub(super) fn leave_upstream(&mut self, why: &str) {
        let Some(upstream) = &mut self.upstream else { return };
        (upstream.connecting, upstream.sending) = (None, false);
        if upstream.syncing {
            upstream.ended.get_or_insert_with(|| Err(why.to_owned()));
        }
        if upstream.down_since == 0 {
            upstream.down_since = clock::unix_us() / 1_000_000;
        }
        // What is held stays: it counts as known from here on, and the link asks for what comes behind it.
        upstream.out.clear();
        if let Some(conn) = upstream.conn.take() {
            tracing::warn!("the link to the primary ends: {why}");
            self.net.close(conn);
        }
        upstream.replica.disconnected(why, now_ms());
    }

    // ---- the link ----

    fn poll_connecting(&mut self) {
        let Some(upstream) = &mut self.upstream else { return };
        let Some(connecting) = &upstream.connecting else { return };
        let why = match connecting.try_recv() {
            Err(TryRecvError::Empty) => return,
            Err(TryRecvError::Disconnected) => "the thread that connects has gone".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Ok(Ok(socket)) => {
                let client = link_to_primary(&socket, Drawn(Arc::clone(&self.shared)).next_client());
                let conn = self.links.insert(Box::new(client)) as ConnId;
                upstream.connecting = None;
                upstream.conn = Some(conn);
                upstream.paused = false;
                self.net.adopt(socket, conn);
                return upstream.replica.connected(now_ms());
            }
        };
        upstream.connecting = None;
        tracing::warn!("cannot connect to the primary {}:{}: {why}", upstream.host, upstream.port);
        upstream.replica.disconnected(&why, now_ms());
    }

    /// Carries out what the link's state machine wants.
    pub(super) fn obey(&mut self) {
        while let Some(upstream) = &mut self.upstream {
            if upstream.snapshot_bytes > SNAPSHOT_AHEAD {
                break;
            }
            let Some(action) = upstream.replica.next_action() else { break };
            match action {
                Move::Connect => self.connect(),
                Move::Send(bytes) => upstream.out.extend_from_slice(&bytes),
                Move::Disconnect { why } => {
                    self.leave_upstream(&why);
                    break;
                }
                Move::BeginFull { position, size } => self.begin_full(position, size),
                Move::Snapshot(bytes) => {
                    upstream.snapshot_bytes += bytes.len();
                    upstream.snapshot.push_back(bytes);
                }
                Move::EndFull => upstream.ended = Some(Ok(())),
                Move::Continue { replid } => self.go_on(replid),
                Move::Declined { why } => self.end_failover(&why),
                Move::Stream(bytes) if upstream.syncing => upstream.behind.push_back(bytes),
                Move::Stream(bytes) => upstream.held.push_back(bytes),
            }
        }
        self.receive();
        self.feed();
        self.send_upstream();
    }

    fn send_upstream(&mut self) {
        let Some(upstream) = &mut self.upstream else { return };
        if let Some(conn) = upstream.conn.filter(|_| !upstream.sending && !upstream.out.is_empty()) {
            upstream.sending = true;
            self.net.send(conn, std::mem::take(&mut upstream.out));
        }
    }

    /// Names are looked up and connections made by a thread that may take its time.
    fn connect(&mut self) {
        let Some(upstream) = &mut self.upstream else { return };
        let (sender, receiver) = channel();
        let (host, port) = (upstream.host.to_string(), upstream.port);
        let patience = Duration::from_secs(u64::from(self.settings.repl_timeout.max(1)));
        upstream.connecting = Some(receiver);
        let connect = move || {
            let connected = (host.as_str(), port).to_socket_addrs().and_then(|addresses| {
                let mut last = std::io::Error::other("the name has no address");
                for address in addresses {
                    match TcpStream::connect_timeout(&address, patience) {
                        Ok(stream) => {
                            stream.set_nodelay(true)?;
                            return Ok(OwnedFd::from(stream));
                        }
                        Err(error) => last = error,
                    }
                }
                Err(last)
            });
            // Nobody listens any more if the role has changed.
            let _ = sender.send(connected);
        };
        if let Err(error) = std::thread::Builder::new().name("torc-connect".into()).spawn(connect) {
            tracing::warn!("cannot start a thread to connect with: {error}");
        }
    }

    // ---- the stream ----

    fn go_on(&mut self, replid: Option<String>) {
        let at = self.merger.at();
        let receiving = self.upstream.as_mut().and_then(|upstream| upstream.receiving.as_mut());
        if let Some(receiving) = receiving {
            receiving.go_on(replid);
        } else if let Some(id) = replid.filter(|id| *id != self.primary.history.id) {
            self.primary.rename(id, at);
            self.note_history();
        }
        tracing::info!("following from offset {at} on");
        self.primary.keep_stream(at);
        self.conclude_failover();
        self.link_is_up();
        self.publish();
    }

    pub(super) fn link_is_up(&mut self) {
        if let Some(upstream) = self.upstream.as_mut().filter(|upstream| upstream.conn.is_some()) {
            upstream.down_since = 0;
        }
    }

    /// Passes the stream on to files, replicas and the applier; not while a cut is to be made at what is applied.
    fn feed(&mut self) {
        let holds =
            self.snapshot.as_ref().is_some_and(|snapshot| !snapshot.is_cut) || self.role_cut.is_some();
        while !holds
            && let Some(upstream) = self.upstream.as_mut().filter(|upstream| !upstream.loading)
            && let Some(bytes) = upstream.held.pop_front()
        {
            self.merger.pass(bytes.len());
            self.keep(&bytes);
            self.apply(bytes);
        }
        self.pace_upstream();
        self.ask_for_due_cut();
    }

    fn apply(&mut self, bytes: Vec<u8>) {
        self.underway.fed += bytes.len() as u64;
        self.port.send(0, Mail::Apply(bytes));
    }

    fn pace_upstream(&mut self) {
        let behind = self.underway.fed - self.underway.applied.bytes;
        let at = self.merger.at();
        let durable = self.journal.as_ref().filter(|journal| journal.is_founded()).map(Journal::durable);
        let Some(upstream) = &mut self.upstream else { return };
        if !upstream.syncing {
            upstream.replica.flushed(durable);
            // Not before it can be read here, on whatever shard.
            let unsettled = self.underway.fed - self.underway.applied.settled;
            upstream.replica.applied(at - unsettled.min(at));
        }
        let Some(conn) = upstream.conn else { return };
        let held: usize = upstream.held.iter().chain(&upstream.behind).map(Vec::len).sum();
        let full = behind > APPLYING || held as u64 > APPLYING || upstream.snapshot_bytes > SNAPSHOT_AHEAD;
        if full != upstream.paused {
            upstream.paused = full;
            if full { self.net.pause(conn) } else { self.net.resume(conn) }
        }
    }

    /// A cut must lie where the applied stream ends: it waits until nothing is under way.
    fn ask_for_due_cut(&mut self) {
        let applied = self.is_applied();
        if let Some(snapshot) =
            self.snapshot.as_mut().filter(|one| self.upstream.is_some() && !one.is_asked && applied)
        {
            snapshot.is_asked = true;
            // The stream goes on in this database, and says so no more.
            snapshot.write_db(self.underway.applied.db);
            let number = snapshot.number;
            self.port.send(0, Mail::Cut(number, Cut::Snapshot));
        }
    }

    /// A command of the primary failed here. What came behind it is under way to the applier and in our log, which stays
    /// true of the data; but neither is the primary's any more.
    pub(super) fn diverge(&mut self, why: &str) {
        let at = self.merger.at() - (self.underway.fed - self.underway.applied.bytes);
        let Some(upstream) = &mut self.upstream else { return };
        let why = format!("at or behind offset {at}: {why}");
        tracing::error!("the data differs from the primary's now: {why}");
        upstream.held.clear();
        if upstream.syncing {
            // All is on its way anew already.
            upstream.replica.forget();
        } else {
            upstream.replica.refuse(why);
        }
        self.primary.begin_anew(History::new(clock::random_id()));
        self.forget_history();
    }

    pub(super) fn primary_facts(&self) -> Option<PrimaryFacts> {
        let upstream = self.upstream.as_ref()?;
        let replica = &upstream.replica;
        let heard = replica
            .last_io_ms()
            .map_or(0, |at| clock::unix_us() / 1_000_000 - (now_ms().saturating_sub(at) / 1000) as i64);
        let link = if upstream.syncing { Link::Sync } else { replica.link() };
        Some(PrimaryFacts {
            host: upstream.host.clone(),
            port: upstream.port,
            link,
            offset: self.merger.at(),
            lag_bytes: self.underway.fed - self.underway.applied.bytes,
            silent_ms: match (self.settings.replica_max_lag_ms, replica.last_io_ms()) {
                (0, _) | (_, None) => 0,
                (_, Some(at)) => now_ms().saturating_sub(at),
            },
            last_io: heard,
            down_since: upstream.down_since,
            sync_read: replica.sync_read(),
            sync_total: replica.sync_total(),
            error: replica.refusal().map(Into::into),
        })
    }
}

/// What CLIENT LIST says of the link to the primary.
fn link_to_primary(socket: &OwnedFd, id: u64) -> Client {
    let socket_ref = socket2::SockRef::from(socket);
    let name = |addr: std::io::Result<socket2::SockAddr>| -> Box<str> {
        addr.ok().and_then(|addr| addr.as_socket()).map(|addr| addr.to_string()).unwrap_or_default().into()
    };
    let (addr, laddr) = (name(socket_ref.peer_addr()), name(socket_ref.local_addr()));
    let mut client = Client::new(id, socket.as_raw_fd(), addr, laddr, clock::unix_us() / 1000);
    client.flags |= ClientFlags::PRIMARY;
    client
}
