//! A thread's part in a cluster: every request goes to a node that serves its slot, and one that was sent to the wrong
//! node goes on to the right one with its stamps unchanged.
//!
//! Requests are drawn in the order of the seed. One whose node has no room is staged there, so that the others need
//! not wait for that node; drawing stops when a stage is full. In an open loop that is when it holds as many as the
//! backlog may, so that a node that stalls does not stall the requests to the others.

use std::{
    collections::VecDeque,
    sync::mpsc::{Receiver, TryRecvError, channel},
    thread,
};

use super::{
    super::{
        connection::Redirected,
        open::{Layout, Route, wanted},
        recorder::{Recorder, SECOND, Stamps},
        work::{Due, Work},
    },
    AT_ONCE, Worker,
};
use crate::link::{
    Address, Dialer, Fault, Peer, ReadFrom, Role,
    slots::{Redirect, SlotMap, slot, word},
};

/// Closed loop: requests that wait for one node before no more are drawn.
const STAGE: usize = 64;

/// Shortest time between two refreshes of the map.
const REFRESH_EVERY: u64 = SECOND / 10;

/// A request that is encoded and not on its way.
struct Staged {
    command: u16,
    verify: Option<u64>,
    bytes: Vec<u8>,
    /// Open loop: when it was due and noticed.
    due: Option<Due>,
    /// It was on its way before, with these stamps.
    resent: Option<Stamps>,
    /// The node shall serve it though the slot is not yet its own.
    asking: bool,
    hops: u8,
}

struct Node {
    peer: Peer,
    /// Indices into the worker's connections, and whose turn it is.
    connections: Vec<usize>,
    turn: usize,
    stage: VecDeque<Staged>,
}

/// The nodes of one shard, as indices.
struct Owners {
    writer: usize,
    readers: Vec<usize>,
    turn: usize,
    /// Reads were to go to replicas only, and there is none any more.
    stray: bool,
}

type Fetched = Result<(SlotMap, Vec<Peer>), Fault>;

pub struct Cluster {
    dialer: Dialer,
    routes: Vec<Route>,
    map: SlotMap,
    nodes: Vec<Node>,
    /// For each shard of the map.
    owners: Vec<Owners>,
    /// Connections of a node that joins later.
    lanes: usize,
    /// Node whose turn it is where any will do.
    turn: usize,
    /// A request whose node's stage is full.
    held: Option<(usize, Staged)>,
    refresh: Option<Receiver<Fetched>>,
    refreshed: u64,
    /// Who is to be asked for the map.
    outdated: Option<Address>,
    /// Reads that went to a primary for want of the replica they were meant for.
    strayed: u64,
}

impl Cluster {
    /// `peers` are those of the worker's connections, in their order.
    pub fn new(dialer: &Dialer, layout: &Layout, peers: &[Peer]) -> Self {
        let mut nodes: Vec<Node> = layout.nodes.iter().cloned().map(Node::new).collect();
        for (index, peer) in peers.iter().enumerate() {
            let own = nodes.iter_mut().find(|node| node.peer.is(&peer.address, peer.role));
            own.expect("connections are opened to the layout's nodes").connections.push(index);
        }
        let mut cluster = Self {
            dialer: dialer.clone(),
            routes: layout.routes.clone(),
            map: layout.map.clone(),
            lanes: (peers.len() / nodes.len()).max(1),
            nodes,
            owners: Vec::new(),
            turn: 0,
            held: None,
            refresh: None,
            refreshed: 0,
            outdated: None,
            strayed: 0,
        };
        cluster.assign();
        cluster
    }

    /// Whether requests wait for room.
    pub fn waiting(&self) -> bool {
        self.held.is_some() || self.nodes.iter().any(|node| !node.stage.is_empty())
    }

    /// The map is out of date; `ask` is who may know better.
    pub fn outdate(&mut self, ask: &Address) {
        self.outdated.get_or_insert_with(|| ask.clone());
    }

    fn find(&self, address: &Address, role: Role) -> Option<usize> {
        self.nodes.iter().position(|node| node.peer.is(address, role))
    }

    /// Works out the owners of every shard whose nodes have connections.
    fn assign(&mut self) {
        let read_from = self.dialer.target().read_from;
        let owners = self.map.shards().iter().map(|shard| {
            let writer = self.find(&shard.primary, Role::Primary).unwrap_or(0);
            let mut readers = Vec::new();
            if read_from != ReadFrom::No {
                readers.extend(shard.replicas.iter().filter_map(|replica| self.find(replica, Role::Replica)));
            }
            let stray = read_from == ReadFrom::Yes && readers.is_empty();
            if stray || read_from != ReadFrom::Yes {
                readers.push(writer);
            }
            Owners { writer, readers, turn: 0, stray }
        });
        self.owners = owners.collect();
    }

    /// The node that is to serve an encoded request.
    fn route(&mut self, command: u16, bytes: &[u8]) -> usize {
        let route = self.routes[usize::from(command)];
        let Some(key) = route.key.and_then(|index| word(bytes, index)) else {
            self.turn = (self.turn + 1) % self.nodes.len();
            return self.owners[self.turn % self.owners.len()].writer;
        };
        // A slot that nobody serves is any node's to refuse.
        let owners = &mut self.owners[self.map.owner(slot(key)).unwrap_or(0)];
        if !route.reads {
            return owners.writer;
        }
        self.strayed += u64::from(owners.stray);
        owners.turn = (owners.turn + 1) % owners.readers.len();
        owners.readers[owners.turn]
    }

    /// A connection of `node` with room, in turn.
    fn room(&mut self, node: usize, worker: &Worker<'_>, work: &Work) -> Option<usize> {
        let Node { connections, turn, .. } = &mut self.nodes[node];
        let begun = if matches!(work, Work::Closed(_)) { worker.begun } else { usize::MAX };
        let count = connections.len();
        let step = (0..count).find(|step| {
            let index = connections[(*turn + step) % count];
            index < begun && worker.connections[index].room(worker.plan.pipeline) > 0
        })?;
        let index = connections[(*turn + step) % count];
        *turn = (*turn + step + 1) % count;
        Some(index)
    }

    /// Sends what may be sent, the staged before the new.
    pub fn send(
        &mut self,
        worker: &mut Worker<'_>,
        work: &mut Work,
        recorder: &mut Recorder,
        now: u64,
    ) -> bool {
        self.keep_up(worker, now);
        if let Work::Closed(closed) = work
            && closed.expired(now)
        {
            self.drop_unsent();
        }
        let stage = match work {
            Work::Closed(_) => STAGE,
            Work::Open(open) => open.max_backlog(),
        };
        let mut sent = false;
        for node in 0..self.nodes.len() {
            while !self.nodes[node].stage.is_empty()
                && let Some(index) = self.room(node, worker, work)
                && let Some(staged) = self.nodes[node].stage.pop_front()
            {
                worker.dispatch(index, staged, recorder, now);
                sent = true;
            }
        }
        for turn in 0.. {
            if turn == AT_ONCE {
                worker.hurried = true;
                break;
            }
            let next = self.held.take().or_else(|| self.draw(worker, work, recorder, now));
            let Some((node, staged)) = next else { break };
            if self.nodes[node].stage.is_empty()
                && let Some(index) = self.room(node, worker, work)
            {
                worker.dispatch(index, staged, recorder, now);
                sent = true;
            } else if self.nodes[node].stage.len() < stage {
                self.nodes[node].stage.push_back(staged);
            } else {
                self.held = Some((node, staged));
                break;
            }
        }
        if sent {
            worker.flush(recorder);
        }
        sent
    }

    /// The next request, if the work has one.
    fn draw(
        &mut self,
        worker: &mut Worker<'_>,
        work: &mut Work,
        recorder: &Recorder,
        now: u64,
    ) -> Option<(usize, Staged)> {
        let due = match work {
            Work::Closed(closed) if closed.may_send(now) => {
                closed.sent(recorder, now);
                None
            }
            Work::Closed(_) => return None,
            Work::Open(open) => Some(open.take_first()?),
        };
        let request = worker.traffic.choose();
        let mut bytes = Vec::new();
        worker.traffic.encode(request, &mut bytes);
        let node = self.route(request.command, &bytes);
        let (command, verify) = (request.command, worker.verifies(request));
        Some((node, Staged { command, verify, bytes, due, resent: None, asking: false, hops: 0 }))
    }

    /// Closed loop: what is not sent before the end never was.
    fn drop_unsent(&mut self) {
        self.held = None;
        for node in &mut self.nodes {
            node.stage.retain(|staged| staged.resent.is_some());
        }
    }

    /// Sends on what came back with MOVED or ASK, before anything else that waits for its node.
    pub fn redirect(&mut self, worker: &mut Worker<'_>, redirected: Vec<Redirected>) {
        // Each goes to the front, so the first comes last.
        for Redirected { redirect, command, stamps, verify, bytes, hops } in redirected.into_iter().rev() {
            let Redirect { slot, to, ask } = redirect;
            let known = self.find(&to, Role::Primary).or_else(|| self.join(worker, &to));
            if ask {
                worker.ended.incidents.asked += 1;
            } else {
                worker.ended.incidents.moved += 1;
                if known.is_some() && self.map.reassign(slot, &to).is_ok() {
                    self.assign();
                }
                self.outdate(&to);
            }
            // Without a way to where it shall go it asks again where that is, until its hops are spent.
            let node = known.unwrap_or_else(|| self.route(command, &bytes));
            let (resent, asking) = (Some(stamps), ask && known.is_some());
            let staged = Staged { command, verify, bytes, due: None, resent, asking, hops: hops + 1 };
            self.nodes[node].stage.push_front(staged);
        }
    }

    /// Connects to a primary not met before.
    fn join(&mut self, worker: &mut Worker<'_>, address: &Address) -> Option<usize> {
        // A name is looked up once and by the system's resolver; clusters as a rule announce numbers.
        let peer = Peer::find(address, Role::Primary).ok()?;
        Some(self.add(worker, peer))
    }

    fn add(&mut self, worker: &mut Worker<'_>, peer: Peer) -> usize {
        let mut node = Node::new(peer);
        for _ in 0..self.lanes {
            node.connections.extend(worker.connect_later(&node.peer));
        }
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Has the map fetched where it is out of date, by a thread that may wait, and takes what came.
    fn keep_up(&mut self, worker: &mut Worker<'_>, now: u64) {
        match self.refresh.as_ref().map(Receiver::try_recv) {
            Some(Ok(Ok((map, peers)))) if !map.shards().is_empty() => {
                self.refresh = None;
                self.apply(worker, map, peers);
            }
            Some(Ok(_) | Err(TryRecvError::Disconnected)) => {
                self.refresh = None;
                // Whoever was asked may be gone, or out of the cluster.
                self.outdate_by_turns();
            }
            Some(Err(TryRecvError::Empty)) => {}
            None if now >= self.refreshed.saturating_add(REFRESH_EVERY) => {
                if self.deserted(worker) {
                    self.outdate_by_turns();
                }
                if let Some(ask) = self.outdated.take() {
                    self.refreshed = now;
                    self.refresh = Some(fetch(self.dialer.clone(), ask));
                }
            }
            None => {}
        }
    }

    /// Any node may know the map.
    fn outdate_by_turns(&mut self) {
        self.turn = (self.turn + 1) % self.nodes.len();
        self.outdate(&self.nodes[self.turn].peer.address.clone());
    }

    /// Whether requests wait for a node that no connection leads to: another may be about to take its place.
    fn deserted(&self, worker: &Worker<'_>) -> bool {
        let reached = |node: &Node| node.connections.iter().any(|&index| worker.connections[index].alive());
        self.nodes.iter().any(|node| !node.stage.is_empty() && !reached(node))
    }

    fn apply(&mut self, worker: &mut Worker<'_>, map: SlotMap, peers: Vec<Peer>) {
        self.map = map;
        for peer in peers {
            if self.find(&peer.address, peer.role).is_none() {
                self.add(worker, peer);
            }
        }
        self.assign();
        // What waits for a node finds its new owner, unless it is there by order of ASK.
        for node in 0..self.nodes.len() {
            for staged in std::mem::take(&mut self.nodes[node].stage) {
                let owner = if staged.asking { node } else { self.route(staged.command, &staged.bytes) };
                self.nodes[owner].stage.push_back(staged);
            }
        }
    }

    pub fn strayed(&self) -> u64 {
        self.strayed
    }

    /// Everything that was never sent, or sent on and never answered, as it stands at the end.
    pub fn give_up(&mut self, recorder: &mut Recorder, now: u64) {
        let held = self.held.take().map(|(_, staged)| staged);
        let staged = self.nodes.iter_mut().flat_map(|node| node.stage.drain(..));
        for staged in staged.chain(held) {
            match (staged.resent, staged.due) {
                (Some(stamps), _) => recorder.unanswered(staged.command, stamps, now, 1),
                (None, Some(due)) => recorder.unsent(staged.command, due.intended, now),
                (None, None) => {}
            }
        }
    }
}

impl Node {
    fn new(peer: Peer) -> Self {
        Self { peer, connections: Vec::new(), turn: 0, stage: VecDeque::new() }
    }
}

/// Asks `address` for the map and looks up the nodes in it.
fn fetch(dialer: Dialer, address: Address) -> Receiver<Fetched> {
    let (tell, told) = channel();
    thread::spawn(move || {
        let map = dialer.client(&address, Role::Primary).and_then(|mut client| client.slots());
        let fetched = map.and_then(|map| {
            let peers = wanted(&map, dialer.target())?;
            Ok((map, peers))
        });
        // The run may be over.
        let _ = tell.send(fetched);
    });
    told
}

impl Worker<'_> {
    /// Puts a staged request on its way.
    fn dispatch(&mut self, index: usize, staged: Staged, recorder: &mut Recorder, now: u64) {
        let Staged { command, verify, bytes, due, resent, asking, hops } = staged;
        let fresh = Stamps { intended: due.map_or(now, |due| due.intended), sent: now };
        let stamps = resent.unwrap_or(fresh);
        let connection = &mut self.connections[index];
        if asking {
            connection.ask_leave();
            self.outstanding += 1;
        }
        if resent.is_none() {
            recorder.offered(command, stamps.intended, bytes.len());
        }
        if let Some(due) = due.filter(|due| now > due.noticed) {
            recorder.waited(due.intended, now - due.noticed);
        }
        connection.out().extend_from_slice(&bytes);
        connection.note(command, stamps, verify);
        connection.keep(bytes, hops);
        self.outstanding += 1;
        if self.unflushed.last() != Some(&index) {
            self.unflushed.push(index);
        }
    }
}
