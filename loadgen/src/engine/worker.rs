//! One thread of the generator: its connections, its part of the work, one epoll loop. All sending decisions are made
//! here; bytes and stamps are `connection`'s.

use std::{
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
    connection::Connection,
    open::Stream,
    recorder::{Recorder, SECOND, Stamps},
    route::Router,
    work::{Due, Work},
};
use crate::{
    clock::Clock,
    plan::{PipelineMode, Plan, nanos},
    traffic::{Request, Traffic},
};

/// Bytes taken from a socket at once.
const READ_SIZE: usize = 256 * 1024;

/// Events taken from the kernel at once.
const EVENTS: usize = 256;

/// A sleep may end this much later than asked for, so the loop sleeps until this long before the next arrival and
/// polls without sleeping from then on.
const SPIN_WITHIN: u64 = 100_000;

/// Longest sleep, so that deadlines and the stop flag are noticed.
const NAP: u64 = 50_000_000;

/// How long an interrupted run waits for what is outstanding.
const LAST_GRACE: u64 = SECOND;

/// What a thread tells of its run besides what it recorded.
#[derive(Default)]
pub struct Ended {
    /// Stamp of the last reply, or of the start.
    pub last_reply: u64,
    /// Open loop: stamp at which the schedule was over.
    pub schedule_end: u64,
    pub error_text: Option<String>,
    pub corrupt_text: Option<String>,
    pub lost: u64,
    pub lost_text: Option<String>,
    pub interrupted: bool,
}

/// What a worker is made of.
pub struct Kit<'a> {
    pub plan: &'a Plan,
    pub clock: Clock,
    pub stop: &'a AtomicBool,
    pub traffic: Traffic,
    pub streams: Vec<Stream>,
}

pub struct Worker<'a> {
    plan: &'a Plan,
    clock: Clock,
    stop: &'a AtomicBool,
    traffic: Traffic,
    router: Router,
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
    alive: usize,
    /// Closed loop: connections that have begun; with a ramp not all begin at once.
    begun: usize,
    start: u64,
    grace: u64,
    ended: Ended,
    /// Where requests are encoded that are never sent.
    void: Vec<u8>,
}

impl<'a> Worker<'a> {
    pub fn new(kit: Kit<'a>) -> io::Result<Self> {
        let Kit { plan, clock, stop, traffic, streams } = kit;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut connections = Vec::with_capacity(streams.len());
        for (index, stream) in streams.into_iter().enumerate() {
            stream.set_nonblocking(true)?;
            let both = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
            epoll::add(&epoll, &stream, EventData::new_u64(index as u64), both)?;
            connections.push(Connection::new(stream));
        }
        // Sleeps otherwise end up to 50 µs later than asked for, to be bundled with others (prctl(2)).
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
        Ok(Self {
            plan,
            clock,
            stop,
            traffic,
            router: Router::default(),
            epoll,
            verified: plan.mix.iter().map(|command| plan.data.verify && command.reads_value()).collect(),
            unflushed: Vec::with_capacity(connections.len()),
            waiting: None,
            outstanding: 0,
            alive: connections.len(),
            connections,
            begun: 0,
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
                self.serve(event.data.u64() as usize, &mut buffer, &mut work, &mut recorder);
            }
        }
        let now = self.clock.ns();
        self.give_up(&mut work, &mut recorder, now);
        if let Work::Open(open) = &work {
            self.ended.schedule_end = open.end().unwrap_or(now);
        }
        (self.ended.error_text, self.ended.corrupt_text) = recorder.finish(now);
        Ok(self.ended)
    }

    fn heed_stop(&mut self, work: &mut Work, now: u64) {
        if !self.ended.interrupted && self.stop.load(Ordering::Relaxed) {
            self.ended.interrupted = true;
            self.grace = LAST_GRACE;
            self.ended.last_reply = self.ended.last_reply.max(now);
            work.cut(now);
        }
    }

    /// Sends what the schedule or the ramp makes due; whether that was anything.
    fn send(&mut self, work: &mut Work, recorder: &mut Recorder, now: u64) -> bool {
        match work {
            Work::Closed(_) => self.begin(work, recorder, now),
            Work::Open(_) => self.send_due(work, recorder, now),
        }
    }

    /// Closed loop: lets those connections begin whose time has come.
    fn begin(&mut self, work: &mut Work, recorder: &mut Recorder, now: u64) -> bool {
        let before = self.begun;
        while self.begun < self.connections.len() && self.begins(self.begun) <= now {
            self.begun += 1;
            self.refill(self.begun - 1, work, recorder, now);
        }
        self.begun > before
    }

    /// Stamp at which connection `index` begins.
    fn begins(&self, index: usize) -> u64 {
        let ramp = nanos(self.plan.ramp);
        let share = u128::from(ramp) * index as u128 / self.connections.len() as u128;
        self.start.saturating_add(share as u64)
    }

    fn serve(&mut self, index: usize, buffer: &mut [u8], work: &mut Work, recorder: &mut Recorder) {
        let connection = &mut self.connections[index];
        if !connection.alive() {
            return;
        }
        let before = connection.outstanding();
        let received = connection.receive(buffer, self.clock, recorder);
        self.outstanding -= before - connection.outstanding();
        match received.and_then(|received| connection.flush().map(|()| received)) {
            Ok(received) if received.replies > 0 => {
                self.ended.last_reply = received.now;
                if matches!(work, Work::Closed(_)) {
                    let now = self.clock.ns();
                    self.refill(index, work, recorder, now);
                }
            }
            Ok(_) => {}
            Err(error) => self.lose(index, &error, recorder),
        }
    }

    /// Closed loop: sends what the replies made room for.
    fn refill(&mut self, index: usize, work: &mut Work, recorder: &mut Recorder, now: u64) {
        let Work::Closed(closed) = work else { return };
        let connection = &self.connections[index];
        if !connection.alive() {
            return;
        }
        let full = self.plan.pipeline;
        let room = match self.plan.mode {
            PipelineMode::Window => full - connection.outstanding(),
            PipelineMode::Batch if connection.outstanding() == 0 => full,
            PipelineMode::Batch => 0,
        };
        for _ in 0..room {
            if !closed.may_send(now) {
                break;
            }
            closed.sent(recorder, now);
            let request = self.traffic.choose();
            self.encode(index, request, Stamps { intended: now, sent: now }, recorder);
        }
        self.flush(recorder);
    }

    /// Open loop: sends every arrival that is due and finds a connection with room, in order. What finds none waits
    /// for the next turn and keeps its intended stamp.
    fn send_due(&mut self, work: &mut Work, recorder: &mut Recorder, now: u64) -> bool {
        let Work::Open(open) = work else { return false };
        open.notice(now, recorder);
        let mut sent = false;
        while let Some(Due { intended, noticed }) = open.first() {
            let request = self.waiting.take().unwrap_or_else(|| self.traffic.choose());
            let Some(index) = self.router.pick(&self.connections, self.plan.pipeline, request) else {
                self.waiting = Some(request);
                break;
            };
            open.take_first();
            if now > noticed {
                recorder.waited(intended, now - noticed);
            }
            self.encode(index, request, Stamps { intended, sent: now }, recorder);
            sent = true;
        }
        while let Some(due) = open.overdue() {
            self.drop_unsent(due, recorder, now);
        }
        if sent {
            self.flush(recorder);
        }
        sent
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
        let verify = self.verified[usize::from(request.command)].then_some(request.key);
        connection.note(request.command, stamps, verify);
        self.outstanding += 1;
        if self.unflushed.last() != Some(&index) {
            self.unflushed.push(index);
        }
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
        let connection = &mut self.connections[index];
        self.outstanding -= connection.outstanding();
        connection.abandon(self.clock.ns(), recorder);
        self.alive -= 1;
        self.ended.lost += 1;
        self.ended.lost_text.get_or_insert_with(|| error.to_string());
    }

    fn finished(&self, work: &Work, now: u64) -> bool {
        if self.alive == 0 || (self.outstanding == 0 && !work.sending(now)) {
            return true;
        }
        let patient_since = match work {
            Work::Closed(_) => Some(self.ended.last_reply),
            Work::Open(open) => open.end().map(|end| end.min(now)),
        };
        patient_since.is_some_and(|since| now > since.saturating_add(self.grace))
    }

    /// Counts what never got an answer, and what was due and never got sent.
    fn give_up(&mut self, work: &mut Work, recorder: &mut Recorder, now: u64) {
        for connection in self.connections.iter_mut().filter(|connection| connection.alive()) {
            connection.abandon(now, recorder);
        }
        if let Work::Open(open) = work {
            open.notice(now, recorder);
            while let Some(due) = open.take_first() {
                self.drop_unsent(due, recorder, now);
            }
        }
    }

    /// ns to sleep at most while nothing comes in.
    fn wait(&self, work: &Work, now: u64) -> u64 {
        let next = match work {
            _ if self.plan.busy_poll => return 0,
            Work::Closed(_) if self.begun < self.connections.len() => Some(self.begins(self.begun)),
            Work::Closed(_) => None,
            Work::Open(open) => open.next_due(),
        };
        let until = next.map_or(NAP, |stamp| stamp.saturating_sub(now));
        until.saturating_sub(SPIN_WITHIN).min(NAP)
    }
}
