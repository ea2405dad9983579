//! The link to the server that a node follows: what `node/log_core/following.rs` does.

use std::collections::{BTreeMap, VecDeque};

use super::model::Model;
use super::net::{Conn, REPLICA};
use super::node::{Env, Node, Role, cut_ms};
use crate::replication::{Action, History, Manners, Position, Replica};

/// Bytes of the stream under way before the link is read no further.
const APPLYING: usize = 3000;

pub struct Upstream {
    pub target: usize,
    pub replica: Replica,
    /// When the attempt to connect ends.
    pub connecting: Option<u64>,
    pub conn: Option<u32>,
    out: Vec<u8>,
    held: VecDeque<Vec<u8>>,
    sync: Option<Sync>,
    snapshot: Vec<u8>,
    ended: Option<Result<(), ()>>,
    /// Of the stream behind the snapshot.
    behind: VecDeque<Vec<u8>>,
}

/// A full sync under way: what it will be, the way it is taken in, and how long the next step of that goes on once all is here.
struct Sync {
    position: Position,
    way: Way,
    ms: u64,
    until: Option<u64>,
}

/// What `repl-diskless-load` makes of a full sync.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// All there is makes room, and the node stands still until it is loaded.
    InPlace,
    /// The node goes on with what it has, until all is here; then as above.
    Received,
    /// The node stands still, and keeps what it has until all is here and loaded.
    Aside,
}

pub const WAYS: [Way; 3] = [Way::InPlace, Way::Received, Way::Aside];

impl Upstream {
    /// Whether the node does nothing but take in a snapshot.
    pub fn is_loading(&self) -> bool {
        self.sync.as_ref().is_some_and(|sync| sync.way != Way::Received)
    }

    /// Well: the stream goes on behind the snapshot; else where it was.
    fn end_sync(&mut self, well: bool) {
        (self.sync, self.ended) = (None, None);
        self.snapshot.clear();
        let behind = std::mem::take(&mut self.behind);
        if well {
            self.held = behind;
        }
    }
}

pub fn manners() -> Manners {
    Manners {
        user: String::new(),
        password: String::new(),
        listening_port: 1,
        announce_ip: None,
        timeout_ms: 4000,
    }
}

fn follow(target: usize, position: Option<Position>) -> Upstream {
    Upstream {
        target,
        replica: Replica::new(manners(), position),
        connecting: None,
        conn: None,
        out: Vec::new(),
        held: VecDeque::new(),
        sync: None,
        snapshot: Vec::new(),
        ended: None,
        behind: VecDeque::new(),
    }
}

impl Node {
    pub fn change_role(&mut self, role: Role) {
        if self.handing.over.is_some() {
            return;
        }
        if self.next_role.is_none() {
            let now = self.upstream.as_ref().map_or(Role::Lead, |upstream| Role::Follow(upstream.target));
            if now == role {
                return;
            }
        }
        self.next_role = Some(role);
        if let Some(upstream) = &mut self.upstream {
            upstream.ended = Some(Err(()));
        }
    }

    pub fn look_after_role(&mut self, env: &mut Env) {
        if self.next_role.is_some() && self.role_cut.is_none() && !self.has_snapshot() {
            if self.follows() {
                self.leave_upstream(env);
            }
            if self.is_applied() {
                self.role_cut = Some(env.now + cut_ms(&mut env.random));
            }
        }
        if let Some(upstream) = &mut self.upstream {
            upstream.replica.tick(env.now);
        }
        self.obey(env);
    }

    pub fn begin_role(&mut self, env: &mut Env) {
        self.role_cut = None;
        self.leave_upstream(env);
        assert_eq!(self.applied, self.at, "a role begins where the one before ended");
        match self.next_role.take() {
            Some(Role::Follow(target)) => {
                let position = Position { replid: self.primary.history.id.clone(), offset: self.at };
                let upstream = self.upstream.insert(follow(target, Some(position)));
                if self.handing.over.is_some() {
                    upstream.replica.promote();
                }
            }
            _ => {
                for (_, request) in &self.handing.successions {
                    self.check_succession(request, env);
                }
                self.upstream = None;
                let id = env.random_id();
                self.primary.rename(id, self.at);
                self.note_history(env);
                env.see("a promotion");
            }
        }
        for (id, request) in std::mem::take(&mut self.handing.successions) {
            self.welcome(id, request, env);
        }
    }

    fn leave_upstream(&mut self, env: &mut Env) {
        let Some(upstream) = &mut self.upstream else { return };
        upstream.connecting = None;
        if upstream.sync.is_some() {
            upstream.ended.get_or_insert(Err(()));
        }
        upstream.out.clear();
        if let Some(conn) = upstream.conn.take() {
            let conn = env.conns.get_mut(&conn).expect("it is connected");
            conn.close(REPLICA, env.now, &mut env.random);
        }
        upstream.replica.disconnected("", env.now);
    }

    pub fn connected(&mut self, id: u32, conn: Conn, env: &mut Env) {
        let Some(upstream) = &mut self.upstream else { return };
        env.conns.insert(id, conn);
        (upstream.connecting, upstream.conn) = (None, Some(id));
        upstream.replica.connected(env.now);
    }

    pub fn not_connected(&mut self, env: &mut Env) {
        let Some(upstream) = &mut self.upstream else { return };
        upstream.connecting = None;
        upstream.replica.disconnected("refused", env.now);
    }

    pub fn upstream_events(&mut self, env: &mut Env) {
        let behind: usize = self.applying.iter().map(Vec::len).sum();
        let Some(upstream) = &mut self.upstream else { return };
        if let Some(id) = upstream.conn {
            let conn = env.conns.get_mut(&id).expect("it is connected");
            conn.flow(REPLICA, env.now, &mut env.random);
            let held: usize = upstream.held.iter().chain(&upstream.behind).map(Vec::len).sum();
            let paused = behind > APPLYING || held > APPLYING;
            while !paused && let Some(bytes) = conn.receive(REPLICA, env.now) {
                upstream.replica.received(&bytes, env.now);
            }
            if conn.is_over(REPLICA, env.now) {
                self.leave_upstream(env);
            }
        }
        self.obey(env);
    }

    fn obey(&mut self, env: &mut Env) {
        while let Some(upstream) = &mut self.upstream {
            let Some(action) = upstream.replica.next_action() else { break };
            match action {
                Action::Connect => upstream.connecting = Some(env.now + env.random.ms(100)),
                Action::Send(bytes) => upstream.out.extend_from_slice(&bytes),
                Action::Disconnect { .. } => {
                    env.see("a replica hung up");
                    self.leave_upstream(env);
                    break;
                }
                Action::BeginFull { position, .. } => self.begin_full(position, env),
                Action::Snapshot(bytes) => {
                    upstream.snapshot.extend_from_slice(&bytes);
                    // As if so much lay there already that it has to be loaded or written first.
                    if env.random.once_in(8) {
                        break;
                    }
                }
                Action::EndFull => upstream.ended = Some(Ok(())),
                Action::Continue { replid } => self.go_on(replid, env),
                Action::Declined { .. } => self.end_failover(env),
                Action::Stream(bytes) if upstream.sync.is_some() => upstream.behind.push_back(bytes),
                Action::Stream(bytes) => upstream.held.push_back(bytes),
            }
        }
        self.receive(env);
        self.feed(env);
        let Some(upstream) = &mut self.upstream else { return };
        if let Some(id) = upstream.conn.filter(|_| !upstream.out.is_empty()) {
            let conn = env.conns.get_mut(&id).expect("it is connected");
            if !conn.is_sending(REPLICA) {
                conn.send(REPLICA, std::mem::take(&mut upstream.out));
            }
        }
    }

    fn go_on(&mut self, replid: Option<String>, env: &mut Env) {
        self.conclude_failover(env);
        self.primary.keep_stream(self.at);
        if let Some(sync) = self.upstream.as_mut().and_then(|upstream| upstream.sync.as_mut()) {
            sync.position.replid = replid.unwrap_or_else(|| sync.position.replid.clone());
            env.see("a snapshot got a new name");
        } else if let Some(id) = replid.filter(|id| *id != self.primary.history.id) {
            self.primary.rename(id, self.at);
            self.note_history(env);
            env.see("a history got a new name");
        }
    }

    fn feed(&mut self, env: &mut Env) {
        while !self.holds()
            && let Some(upstream) = self.upstream.as_mut().filter(|upstream| !upstream.is_loading())
            && let Some(bytes) = upstream.held.pop_front()
        {
            self.at += bytes.len() as u64;
            self.keep(&bytes);
            self.applying.push_back(bytes);
        }
        let behind: u64 = self.applying.iter().map(|bytes| bytes.len() as u64).sum();
        let durable = self.durable_offset();
        let Some(upstream) = self.upstream.as_mut().filter(|upstream| !upstream.is_loading()) else { return };
        if upstream.sync.is_none() {
            upstream.replica.flushed(durable);
            upstream.replica.applied(self.at - behind);
        }
        self.ask_for_due_cut(env);
    }

    // ---- everything anew ----

    fn begin_full(&mut self, position: Position, env: &mut Env) {
        env.see("a full sync begins");
        self.conclude_failover(env);
        let most = [500, 500, 500, 6000][env.random.below(4)];
        let (way, ms) = (self.way, env.random.ms(most));
        let Some(upstream) = &mut self.upstream else { return };
        if upstream.conn.is_none() && !upstream.replica.has_snapshot() {
            return self.decline_snapshot(env);
        }
        upstream.end_sync(false);
        upstream.sync = Some(Sync { position, way, ms, until: None });
        match way {
            Way::InPlace => self.make_room(env),
            Way::Received => {}
            Way::Aside => {
                self.fail_snapshot();
                self.apply_all(env);
            }
        }
    }

    /// Until all is here this is nobody's data, and afterwards it has nothing to do with what came before.
    fn make_room(&mut self, env: &mut Env) {
        self.fail_snapshot();
        self.apply_all(env);
        self.give_up_history(env);
    }

    fn give_up_history(&mut self, env: &mut Env) {
        env.forget_due(self.index);
        self.primary.begin_anew(History::new(env.random_id()));
        self.drop_files();
    }

    /// Takes the snapshot on while all else goes on, and begins to load it once it is whole.
    fn receive(&mut self, env: &mut Env) {
        let Some(upstream) = self.upstream.as_mut().filter(|upstream| !upstream.is_loading()) else { return };
        let Some(sync) = &mut upstream.sync else { return };
        if self.next_role.is_some() || upstream.ended == Some(Err(())) {
            env.see("a full sync failed before it touched anything");
            self.decline_snapshot(env);
        } else if upstream.ended.is_some() && env.now >= *sync.until.get_or_insert(env.now + sync.ms) {
            (sync.way, sync.until) = (Way::InPlace, None);
            self.make_room(env);
        }
    }

    fn decline_snapshot(&mut self, env: &mut Env) {
        if let Some(upstream) = &mut self.upstream {
            upstream.end_sync(false);
        }
        self.leave_upstream(env);
        if let Some(upstream) = &mut self.upstream {
            upstream.replica.decline_snapshot();
        }
    }

    pub fn load(&mut self, env: &mut Env) {
        let Some(upstream) = &mut self.upstream else { return };
        if upstream.conn.is_some() {
            upstream.replica.tick(env.now);
        }
        let Some(sync) = &mut upstream.sync else { return };
        match (upstream.ended, sync.way) {
            (Some(Ok(())), _) if env.now < *sync.until.get_or_insert(env.now + sync.ms) => {}
            (Some(Ok(())), way) => {
                let position = sync.position.clone();
                if way == Way::Aside {
                    self.give_up_history(env);
                }
                self.follow_anew(position, env);
            }
            (Some(Err(())), Way::Aside) => {
                env.see("a full sync failed beside what there was");
                self.decline_snapshot(env);
            }
            (Some(Err(())), _) => {
                env.see("a full sync failed");
                let target = upstream.target;
                self.leave_upstream(env);
                self.model = Model::default();
                self.applied = self.at;
                self.digests = BTreeMap::from([(self.at, self.model.digest())]);
                self.upstream = Some(follow(target, None));
                self.check_history(env);
            }
            (None, _) => {}
        }
        self.obey(env);
    }

    fn follow_anew(&mut self, Position { replid, offset }: Position, env: &mut Env) {
        let Some(upstream) = &mut self.upstream else { return };
        (self.model, self.at, self.applied) = (Model::load(&upstream.snapshot), offset, offset);
        upstream.end_sync(true);
        self.forget_db();
        self.digests = BTreeMap::from([(offset, self.model.digest())]);
        self.primary.begin_anew(History::new(replid));
        self.primary.keep_stream(offset);
        self.check_history(env);
        env.see("a full sync");
    }
}
