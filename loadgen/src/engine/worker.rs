//! One thread of the generator: its connections, its part of the work, one epoll loop. All sending decisions are made
//! here; bytes and stamps are `connection`'s.
//!
//! Why epoll and not io_uring: submitting to a ring is `unsafe` in the crate `io-uring`, and this crate has no unsafe
//! code. Nor would much be won: a batch costs one send and one receive, nine tenths of which are the TCP stack's work
//! either way. The bench's echo floor, which does nothing else and does it by io_uring, spends 5.5 to 6 µs of CPU on a
//! request of 50 unpipelined connections; this loop 6.1.

mod cluster;
mod owed;

use std::{
    collections::VecDeque,
    io,
    num::NonZeroU64,
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::{
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
    fd::OwnedFd,
};

use super::{
    connection::{Connection, Received},
    open::{Opened, Site, begin},
    recorder::{Recorder, SECOND, Stamps},
    route::Router,
    work::{Due, Open, Work},
};
use crate::{
    clock::Clock,
    link::Peer,
    plan::{PipelineMode, Plan, nanos},
    stats::{Incidents, Recording, latencies, record},
    traffic::{Request, Traffic},
};
use cluster::Cluster;
use owed::Owed;

/// Bytes taken from a socket at once.
const READ_SIZE: usize = 256 * 1024;

/// Events taken from the kernel at once.
const EVENTS: usize = 256;

/// A sleep may end this much later than asked for, so the loop sleeps until this long before the next arrival and
/// polls without sleeping from then on.
const SPIN_WITHIN: u64 = 100_000;

const INTEREST: EventFlags =
    EventFlags::IN.union(EventFlags::OUT).union(EventFlags::RDHUP).union(EventFlags::ET);

/// After these a socket must be read to its end: there will be no other edge.
const ENDED: EventFlags = EventFlags::RDHUP.union(EventFlags::HUP).union(EventFlags::ERR);

/// Requests that one turn of the loop sends by a connection before it looks at the clock and the stop flag again: some
/// hundred microseconds.
const AT_ONCE: usize = 4096;

/// Longest sleep, so that deadlines and the stop flag are noticed.
const NAP: u64 = 50_000_000;

/// How long a connection that was lost, or could not be opened anew, rests before the next attempt.
const RETRY_AFTER: u64 = SECOND / 20;

/// How long an interrupted run waits for what is outstanding.
const LAST_GRACE: u64 = SECOND;

/// What a thread tells of its run besides what it recorded.
pub struct Ended {
    /// Stamp of the last reply, or of the start.
    pub last_reply: u64,
    /// Open loop: stamp at which the schedule was over.
    pub schedule_end: u64,
    pub incidents: Incidents,
    /// How long it took to open connections anew.
    pub reopened: Recording,
}

impl Default for Ended {
    fn default() -> Self {
        Self { last_reply: 0, schedule_end: 0, incidents: Incidents::default(), reopened: latencies() }
    }
}

/// What a worker is made of.
pub struct Kit<'a> {
    pub plan: &'a Plan,
    pub clock: Clock,
    pub stop: &'a AtomicBool,
    pub site: &'a Site,
    pub traffic: Traffic,
    pub opened: Vec<Opened>,
}

pub struct Worker<'a> {
    plan: &'a Plan,
    clock: Clock,
    stop: &'a AtomicBool,
    traffic: Traffic,
    router: Router,
    site: &'a Site,
    cluster: Option<Box<Cluster>>,
    connections: Vec<Connection>,
    epoll: OwnedFd,
    /// For each command of the mix: its replies are values to be checked.
    verified: Vec<bool>,
    /// Connections with output that the kernel was not yet asked to take.
    unflushed: Vec<usize>,
    /// The next request, once it was chosen and found no room.
    waiting: Option<Request>,
    /// Requests outstanding on all connections.
    outstanding: usize,
    /// Connections that take requests, or will again.
    alive: usize,
    /// Connections to be opened anew, and from which stamp on.
    retries: VecDeque<(u64, usize)>,
    /// Closed loop: connections that have begun; with a ramp not all begin at once.
    begun: usize,
    owed: Owed,
    /// A turn of the loop sent as much as one may, and more could be sent at once.
    hurried: bool,
    start: u64,
    grace: u64,
    ended: Ended,
    /// Where requests are encoded that are never sent.
    void: Vec<u8>,
}

impl<'a> Worker<'a> {
    pub fn new(kit: Kit<'a>) -> io::Result<Self> {
        let Kit { plan, clock, stop, site, traffic, opened } = kit;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let cluster = site.cluster.as_ref().map(|layout| {
            let peers: Vec<Peer> = opened.iter().map(|opened| opened.peer.clone()).collect();
            Box::new(Cluster::new(&site.dialer, layout, &peers))
        });
        let left = plan.reconnect_interval.unwrap_or(u64::MAX);
        let mut connections = Vec::with_capacity(opened.len());
        for (index, opened) in opened.into_iter().enumerate() {
            let connection = Connection::new(opened, left, cluster.is_some());
            epoll::add(&epoll, connection.link(), EventData::new_u64(index as u64), INTEREST)?;
            connections.push(connection);
        }
        // Sleeps otherwise end up to 50 µs later than asked for, to be bundled with others (prctl(2)).
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
        Ok(Self {
            plan,
            clock,
            stop,
            traffic,
            router: Router::new(plan, connections.len()),
            site,
            cluster,
            epoll,
            verified: plan.mix.iter().map(|command| plan.data.verify && command.reads_value()).collect(),
            unflushed: Vec::with_capacity(connections.len()),
            waiting: None,
            outstanding: 0,
            alive: connections.len(),
            retries: VecDeque::new(),
            connections,
            begun: 0,
            owed: Owed::default(),
            hurried: false,
            start: 0,
            grace: nanos(plan.grace),
            ended: Ended::default(),
            void: Vec::new(),
        })
    }

    /// Sends the work, which begins at `start`, and takes the replies.
    pub fn run(mut self, start: u64, mut work: Work, mut recorder: Recorder) -> io::Result<Ended> {
        self.start = start;
        self.ended.last_reply = start;
        let mut buffer = vec![0; READ_SIZE];
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS);
        loop {
            let now = self.clock.ns();
            recorder.tick(now);
            self.heed_stop(&mut work, now);
            self.retry(now);
            if self.finished(&work, now) {
                break;
            }
            let sent = self.send(&mut work, &mut recorder, now);
            let wait = self.wait(&work, now);
            let timeout = Timespec { tv_sec: (wait / SECOND) as i64, tv_nsec: (wait % SECOND) as _ };
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
                Err(rustix::io::Errno::INTR) | Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
            if wait == 0 && !sent && events.is_empty() {
                recorder.idled(self.clock.ns().saturating_sub(now));
            }
            for event in events.drain(..) {
                let (index, flags) = (event.data.u64() as usize, event.flags);
                self.serve(index, flags.intersects(ENDED), &mut buffer, &mut work, &mut recorder);
            }
        }
        let now = self.clock.ns();
        self.give_up(&mut work, &mut recorder, now);
        if let Work::Open(open) = &work {
            self.ended.schedule_end = open.end().unwrap_or(now);
        }
        let incidents = &mut self.ended.incidents;
        (incidents.error_text, incidents.corrupt_text) = recorder.finish(now);
        Ok(self.ended)
    }

    fn heed_stop(&mut self, work: &mut Work, now: u64) {
        if !self.ended.incidents.interrupted && self.stop.load(Ordering::Relaxed) {
            self.ended.incidents.interrupted = true;
            self.grace = LAST_GRACE;
            self.ended.last_reply = self.ended.last_reply.max(now);
            work.cut(now);
        }
    }

    /// Sends what the schedule or the ramp makes due; whether that was anything.
    fn send(&mut self, work: &mut Work, recorder: &mut Recorder, now: u64) -> bool {
        self.hurried = false;
        match work {
            Work::Closed(_) => self.pay(work, recorder, now) | self.begin(work, recorder, now),
            Work::Open(_) => self.send_due(work, recorder, now),
        }
    }

    /// Sends what the work has, each request to its node.
    fn send_routed(&mut self, work: &mut Work, recorder: &mut Recorder, now: u64) -> bool {
        let Some(mut cluster) = self.cluster.take() else { return false };
        let sent = cluster.send(self, work, recorder, now);
        self.cluster = Some(cluster);
        sent
    }

    /// Closed loop: lets those connections begin whose time has come.
    fn begin(&mut self, work: &mut Work, recorder: &mut Recorder, now: u64) -> bool {
        let (before, mut sent) = (self.begun, 0);
        while sent < AT_ONCE && self.begun < self.connections.len() && self.begins(self.begun) <= now {
            self.begun += 1;
            sent += self.refill(self.begun - 1, work, recorder, now);
        }
        if self.cluster.is_some() {
            return self.send_routed(work, recorder, now);
        }
        self.begun > before
    }

    /// Stamp at which connection `index` begins.
    fn begins(&self, index: usize) -> u64 {
        let ramp = nanos(self.plan.ramp);
        let share = u128::from(ramp) * index as u128 / self.connections.len() as u128;
        self.start.saturating_add(share as u64)
    }

    /// Takes what connection `index` has received; after that nothing comes if it has `ended`.
    fn serve(
        &mut self,
        index: usize,
        ended: bool,
        buffer: &mut [u8],
        work: &mut Work,
        recorder: &mut Recorder,
    ) {
        let connection = &mut self.connections[index];
        if !connection.alive() {
            return;
        }
        let before = connection.outstanding();
        let received = connection.receive(buffer, ended, self.clock, recorder);
        self.outstanding -= before - connection.outstanding();
        match received.and_then(|received| connection.flush().map(|()| received)) {
            Ok(received) => {
                self.owed.wake(index, &self.connections[index]);
                self.served(index, &received, work, recorder);
            }
            Err(error) => self.lose(index, &error, recorder),
        }
        if let Some(mut cluster) = self.cluster.take() {
            let redirected = self.connections[index].take_redirected();
            if !redirected.is_empty() {
                cluster.redirect(self, redirected);
            }
            self.cluster = Some(cluster);
        }
    }

    fn served(&mut self, index: usize, received: &Received, work: &mut Work, recorder: &mut Recorder) {
        if let Some(ns) = received.opened {
            record(&mut self.ended.reopened, ns, 1);
        } else if received.replies == 0 {
            return;
        } else {
            self.ended.last_reply = received.now;
        }
        if self.connections[index].spent() {
            self.reopen(index, false);
        } else if matches!(work, Work::Closed(_)) {
            let now = self.clock.ns();
            self.refill(index, work, recorder, now);
        }
    }

    /// Closed loop: sends what the replies made room for. In a cluster the next request may be another node's, so
    /// there it is drawn first and then finds its connection.
    fn refill(&mut self, index: usize, work: &mut Work, recorder: &mut Recorder, now: u64) -> usize {
        if self.cluster.is_some() || self.owed.to(index) > 0 {
            return 0;
        }
        let connection = &self.connections[index];
        let room = match self.plan.mode {
            PipelineMode::Batch if connection.outstanding() > 0 => 0,
            PipelineMode::Window | PipelineMode::Batch => connection.room(self.plan.pipeline),
        };
        self.feed(index, room, work, recorder, now)
    }

    /// Closed loop: gives one connection what the turns before owed it; whether that was anything.
    fn pay(&mut self, work: &mut Work, recorder: &mut Recorder, now: u64) -> bool {
        let Some(index) = self.owed.take_first() else { return false };
        let connection = &self.connections[index];
        let room = match self.plan.mode {
            PipelineMode::Window => connection.room(self.plan.pipeline),
            PipelineMode::Batch => self.owed.to(index).min(connection.room(self.plan.pipeline)),
        };
        self.feed(index, room, work, recorder, now) > 0
    }

    /// Closed loop: sends `room` requests by connection `index`, but no more than one turn of the loop may; what that
    /// leaves is owed. How many it sent.
    fn feed(
        &mut self,
        index: usize,
        room: usize,
        work: &mut Work,
        recorder: &mut Recorder,
        now: u64,
    ) -> usize {
        let Work::Closed(closed) = work else { return 0 };
        let mut sent = 0;
        while sent < room.min(AT_ONCE) && closed.may_send(now) && !self.connections[index].full() {
            closed.sent(recorder, now);
            let request = self.traffic.choose();
            self.encode(index, request, Stamps { intended: now, sent: now }, recorder);
            sent += 1;
        }
        self.flush(recorder);
        self.owed.put(index, if closed.may_send(now) { room - sent } else { 0 });
        self.owed.wake(index, &self.connections[index]);
        sent
    }

    /// Open loop: sends every arrival that is due and finds a connection with room, in order. What finds none waits
    /// for the next turn and keeps its intended stamp.
    fn send_due(&mut self, work: &mut Work, recorder: &mut Recorder, now: u64) -> bool {
        let Work::Open(open) = work else { return false };
        open.notice(now, recorder);
        let sent = if self.cluster.is_some() {
            self.send_routed(work, recorder, now)
        } else {
            self.send_in_turn(open, recorder, now)
        };
        let Work::Open(open) = work else { return sent };
        while let Some(due) = open.overdue() {
            self.drop_unsent(due, recorder, now);
        }
        sent
    }

    fn send_in_turn(&mut self, open: &mut Open, recorder: &mut Recorder, now: u64) -> bool {
        let mut sent = 0;
        while let Some(Due { intended, noticed }) = open.first() {
            if sent == AT_ONCE {
                self.hurried = true;
                break;
            }
            let request = self.waiting.take().unwrap_or_else(|| self.traffic.choose());
            let room = self.router.pick(request.command, &self.connections, self.plan.pipeline);
            let Some(index) = room else {
                self.waiting = Some(request);
                break;
            };
            open.take_first();
            if now > noticed {
                recorder.waited(intended, now - noticed);
            }
            self.encode(index, request, Stamps { intended, sent: now }, recorder);
            sent += 1;
        }
        if sent > 0 {
            self.router.advance();
            self.flush(recorder);
        }
        sent > 0
    }

    /// Encoded all the same, so that the requests after it stay those of the seed.
    fn drop_unsent(&mut self, due: Due, recorder: &mut Recorder, now: u64) {
        let request = self.waiting.take().unwrap_or_else(|| self.traffic.choose());
        self.void.clear();
        self.traffic.encode(request, &mut self.void);
        recorder.unsent(request.command, due.intended, now);
    }

    fn encode(&mut self, index: usize, request: Request, stamps: Stamps, recorder: &mut Recorder) {
        let connection = &mut self.connections[index];
        let out = connection.out();
        let before = out.len();
        self.traffic.encode(request, out);
        recorder.offered(request.command, stamps.intended, out.len() - before);
        let verify = self.verifies(request);
        let connection = &mut self.connections[index];
        connection.note(request.command, stamps, verify);
        self.outstanding += 1;
        if self.unflushed.last() != Some(&index) {
            self.unflushed.push(index);
        }
    }

    /// The key whose value the reply to `request` must be.
    fn verifies(&self, request: Request) -> Option<u64> {
        self.verified[usize::from(request.command)].then_some(request.key)
    }

    /// Hands the kernel what was encoded.
    fn flush(&mut self, recorder: &mut Recorder) {
        let mut unflushed = std::mem::take(&mut self.unflushed);
        for index in unflushed.drain(..) {
            let connection = &mut self.connections[index];
            if connection.alive()
                && let Err(error) = connection.flush()
            {
                self.lose(index, &error, recorder);
            }
        }
        self.unflushed = unflushed;
    }

    fn lose(&mut self, index: usize, error: &io::Error, recorder: &mut Recorder) {
        let now = self.clock.ns();
        let connection = &mut self.connections[index];
        let missing = connection.missing();
        self.outstanding -= connection.outstanding();
        connection.abandon(now, recorder);
        self.count_lost(error, missing);
        self.owed.put(index, 0);
        if self.plan.reconnect_interval.is_some() {
            self.retries.push_back((now + RETRY_AFTER, index));
        } else {
            self.alive -= 1;
        }
        if let Some(cluster) = &mut self.cluster {
            cluster.outdate(&self.connections[index].peer().address);
        }
    }

    /// However often it fails to come back, a connection is lost once.
    fn count_lost(&mut self, error: &io::Error, already: bool) {
        let incidents = &mut self.ended.incidents;
        incidents.lost += u64::from(!already);
        incidents.lost_text.get_or_insert_with(|| error.to_string());
    }

    fn retry(&mut self, now: u64) {
        while let Some(&(from, index)) = self.retries.front()
            && from <= now
        {
            self.retries.pop_front();
            self.reopen(index, true);
        }
    }

    /// Closes connection `index`, on which nothing is outstanding, and begins to open it anew; `again` if it is lost.
    fn reopen(&mut self, index: usize, again: bool) {
        let peer = self.connections[index].peer().clone();
        match self.connection_to(&peer, index, again) {
            Ok(connection) => self.connections[index] = connection,
            Err(error) => {
                self.count_lost(&error, again);
                self.retries.push_back((self.clock.ns() + RETRY_AFTER, index));
            }
        }
    }

    /// One more connection, to a node that has joined; its index.
    fn connect_later(&mut self, peer: &Peer) -> Option<usize> {
        let index = self.connections.len();
        match self.connection_to(peer, index, false) {
            Ok(connection) => {
                self.connections.push(connection);
                self.alive += 1;
                Some(index)
            }
            Err(error) => {
                self.count_lost(&error, false);
                None
            }
        }
    }

    /// A connection that is being opened, whose events will bear `index`.
    fn connection_to(&self, peer: &Peer, index: usize, again: bool) -> io::Result<Connection> {
        let left = self.plan.reconnect_interval.unwrap_or(u64::MAX);
        let opening = begin(&self.site.dialer, peer, self.clock.ns(), again)?;
        let mut connection = Connection::opening(opening, left, self.cluster.is_some());
        epoll::add(&self.epoll, connection.link(), EventData::new_u64(index as u64), INTEREST)?;
        // A unix socket is connected at once, and then its edge has passed.
        connection.flush()?;
        Ok(connection)
    }

    fn finished(&self, work: &Work, now: u64) -> bool {
        let staged = self.cluster.as_ref().is_some_and(|cluster| cluster.waiting());
        if self.alive == 0 || (self.outstanding == 0 && !staged && !work.sending(now)) {
            return true;
        }
        let patient_since = match work {
            // Replies that keep coming do not move the end.
            Work::Closed(closed) => Some(self.ended.last_reply.min(closed.deadline())),
            Work::Open(open) => open.end().map(|end| end.min(now)),
        };
        patient_since.is_some_and(|since| now > since.saturating_add(self.grace))
    }

    /// Counts what never got an answer, and what was due and never got sent.
    fn give_up(&mut self, work: &mut Work, recorder: &mut Recorder, now: u64) {
        for connection in self.connections.iter_mut().filter(|connection| connection.alive()) {
            connection.abandon(now, recorder);
        }
        if let Some(cluster) = &mut self.cluster {
            cluster.give_up(recorder, now);
            self.ended.incidents.strayed = cluster.strayed();
        }
        if let Work::Open(open) = work {
            while open.notice(now, recorder) {}
            while let Some(due) = open.take_first() {
                self.drop_unsent(due, recorder, now);
            }
        }
    }

    /// ns to sleep at most while nothing comes in.
    fn wait(&self, work: &Work, now: u64) -> u64 {
        let next = match work {
            _ if self.plan.busy_poll || self.hurried || self.owed.waiting() => return 0,
            Work::Closed(_) if self.begun < self.connections.len() => Some(self.begins(self.begun)),
            Work::Closed(_) => None,
            Work::Open(open) => open.next_due(),
        };
        let until = next.map_or(NAP, |stamp| stamp.saturating_sub(now));
        until.saturating_sub(SPIN_WITHIN).min(NAP)
    }
}
