//! One thread of the generator: its connections, its part of the work, one epoll loop. All sending decisions are made
//! here; bytes and stamps are `connection`'s.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use mio::{Events, Interest, Poll, Token, net::TcpStream};

use crate::{
    clock::Clock,
    connection::Connection,
    keys::Keys,
    plan::{PipelineMode, Plan, Ratio},
    request::{Op, Requests},
    schedule::Schedule,
    stats::{Outcome, record},
};

/// Bytes taken from a socket at once.
const READ_SIZE: usize = 256 * 1024;

/// Sleeping through epoll is exact to a millisecond at best, so the loop sleeps only while the next arrival is
/// further away than this and polls without sleeping after that.
const SPIN_WITHIN_NS: u64 = 2_000_000;

/// Longest sleep, so that deadlines and the stop flag are noticed.
const NAP: Duration = Duration::from_millis(50);

/// What a thread is to send.
pub enum Work {
    /// As fast as replies come: at most `requests`, none after `deadline` (ns).
    Closed { requests: u64, deadline: u64 },
    /// What the schedule says.
    Open(Schedule),
}

pub struct Worker<'a> {
    plan: &'a Plan,
    clock: Clock,
    stop: &'a AtomicBool,
    work: Work,
    keys: Keys,
    mix: Mix,
    requests: Requests,
    connections: Vec<Connection>,
    poll: Poll,
    outcome: Outcome,
    /// Requests encoded so far, which is also the index of the next arrival to send.
    sent: u64,
    /// Arrivals whose stamp the loop has seen pass.
    noticed: u64,
    /// Connection that gets the next arrival.
    turn: usize,
    last_reply: u64,
}

impl<'a> Worker<'a> {
    pub fn new(
        plan: &'a Plan,
        clock: Clock,
        stop: &'a AtomicBool,
        work: Work,
        keys: Keys,
        streams: Vec<std::net::TcpStream>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut connections = Vec::with_capacity(streams.len());
        for (index, stream) in streams.into_iter().enumerate() {
            stream.set_nonblocking(true)?;
            let mut connection = Connection::new(TcpStream::from_std(stream));
            let both = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(connection.stream(), Token(index), both)?;
            connections.push(connection);
        }
        Ok(Self {
            plan,
            clock,
            stop,
            work,
            keys,
            mix: Mix::new(plan.ratio),
            requests: Requests::new(&plan.key_shape, plan.data_size),
            connections,
            poll,
            outcome: Outcome::default(),
            sent: 0,
            noticed: 0,
            turn: 0,
            last_reply: 0,
        })
    }

    /// Sends the work, takes the replies, and returns what was counted.
    pub fn run(mut self) -> io::Result<Outcome> {
        let start = self.clock.ns();
        self.last_reply = start;
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; READ_SIZE];
        if matches!(self.work, Work::Closed { .. }) {
            for index in 0..self.connections.len() {
                self.refill(index);
            }
        }
        while !self.finished() {
            self.send_due();
            match self.poll.poll(&mut events, Some(self.timeout())) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                let Token(index) = event.token();
                self.serve(index, &mut buffer);
            }
        }
        self.give_up();
        self.outcome.elapsed_ns = self.last_reply.saturating_sub(start);
        self.outcome.error_text =
            self.connections.iter().find_map(Connection::first_error).map(str::to_owned);
        Ok(self.outcome)
    }

    fn serve(&mut self, index: usize, buffer: &mut [u8]) {
        let connection = &mut self.connections[index];
        if !connection.alive() {
            return;
        }
        let clock = self.clock;
        let received = connection.receive(buffer, &|| clock.ns(), &mut self.outcome);
        match received.and_then(|replies| connection.flush().map(|()| replies)) {
            Ok(0) => {}
            Ok(_) => {
                self.last_reply = self.clock.ns();
                if matches!(self.work, Work::Closed { .. }) {
                    self.refill(index);
                }
            }
            Err(error) => self.lose(index, &error),
        }
    }

    /// Closed loop: sends what the replies made room for.
    fn refill(&mut self, index: usize) {
        let Work::Closed { requests, deadline } = self.work else { return };
        let outstanding = self.connections[index].outstanding();
        let full = self.plan.pipeline;
        let room = match self.plan.mode {
            PipelineMode::Window => full - outstanding,
            PipelineMode::Batch if outstanding == 0 => full,
            PipelineMode::Batch => 0,
        };
        let now = self.clock.ns();
        if room == 0 || now >= deadline {
            return;
        }
        for _ in 0..(room as u64).min(requests - self.sent) {
            self.encode(index, now, now);
        }
        self.flush(index);
    }

    /// Open loop: sends every arrival that is due and finds a connection with room, in order. What finds none waits
    /// for the next turn and keeps its intended stamp.
    fn send_due(&mut self) {
        let Work::Open(schedule) = self.work else { return };
        let now = self.clock.ns();
        let due = schedule.due(now);
        for index in self.noticed..due {
            record(&mut self.outcome.lag, now - schedule.intended(index), 1);
        }
        self.noticed = due;
        let first = self.turn;
        let mut touched = 0;
        while self.sent < due {
            let Some(index) = self.with_room() else { break };
            self.encode(index, schedule.intended(self.sent), now);
            touched += 1;
        }
        let count = self.connections.len();
        if touched > 0 {
            // The turn went round from `first`; after a whole round every connection may hold output.
            for step in 0..count {
                self.flush((first + step) % count);
            }
        }
    }

    /// The next connection in turn that may take one more request.
    fn with_room(&mut self) -> Option<usize> {
        let count = self.connections.len();
        let pipeline = self.plan.pipeline;
        let step = (0..count).find(|step| {
            let connection = &self.connections[(self.turn + step) % count];
            connection.alive() && connection.outstanding() < pipeline
        })?;
        let index = (self.turn + step) % count;
        self.turn = (index + 1) % count;
        Some(index)
    }

    fn encode(&mut self, index: usize, intended: u64, now: u64) {
        let op = self.mix.next_op();
        let key = self.keys.next_key();
        let connection = &mut self.connections[index];
        self.requests.encode(op, key, connection.out());
        connection.note(op, intended, now);
        self.sent += 1;
    }

    fn flush(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        if !connection.alive() {
            return;
        }
        if let Err(error) = connection.flush() {
            self.lose(index, &error);
        }
    }

    fn lose(&mut self, index: usize, error: &io::Error) {
        self.connections[index].abandon(self.clock.ns(), &mut self.outcome);
        self.outcome.lost += 1;
        self.outcome.lost_text.get_or_insert_with(|| error.to_string());
    }

    fn finished(&mut self) -> bool {
        if self.stop.load(Ordering::Relaxed) {
            self.outcome.interrupted = true;
            return true;
        }
        if !self.connections.iter().any(Connection::alive) {
            return true;
        }
        let now = self.clock.ns();
        let idle = self.connections.iter().all(|connection| connection.outstanding() == 0);
        let grace = u64::try_from(self.plan.grace.as_nanos()).unwrap_or(u64::MAX);
        match &self.work {
            Work::Closed { requests, deadline } => {
                let sending = self.sent < *requests && now < *deadline;
                (idle && !sending) || now.saturating_sub(self.last_reply) > grace
            }
            Work::Open(schedule) => {
                let all_sent = self.sent == schedule.total();
                (idle && all_sent) || now > schedule.end().saturating_add(grace)
            }
        }
    }

    /// Counts what never got an answer, and what was due and never got sent.
    fn give_up(&mut self) {
        let now = self.clock.ns();
        for connection in &mut self.connections {
            connection.abandon(now, &mut self.outcome);
        }
        if let Work::Open(schedule) = self.work {
            for index in self.sent..schedule.due(now) {
                let stats = self.outcome.op_mut(self.mix.next_op());
                stats.unanswered += 1;
                record(&mut stats.response, now - schedule.intended(index), 1);
            }
        }
    }

    fn timeout(&self) -> Duration {
        let Work::Open(schedule) = self.work else { return NAP };
        if self.noticed == schedule.total() {
            return NAP;
        }
        if self.sent < self.noticed {
            // Due but without room: only a reply can change that.
            return NAP.min(Duration::from_millis(1));
        }
        let wait = schedule.intended(self.noticed).saturating_sub(self.clock.ns());
        Duration::from_nanos(wait.saturating_sub(SPIN_WITHIN_NS)).min(NAP)
    }
}

/// Which operation comes next.
struct Mix {
    ratio: Ratio,
    position: u64,
}

impl Mix {
    fn new(ratio: Ratio) -> Self {
        Self { ratio, position: 0 }
    }

    fn next_op(&mut self) -> Op {
        let op = if self.position < u64::from(self.ratio.set) { Op::Set } else { Op::Get };
        self.position += 1;
        if self.position == u64::from(self.ratio.set) + u64::from(self.ratio.get) {
            self.position = 0;
        }
        op
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mix_repeats_sets_then_gets() {
        let mut mix = Mix::new(Ratio { set: 1, get: 3 });
        let ops: Vec<Op> = (0..6).map(|_| mix.next_op()).collect();
        assert_eq!(ops, [Op::Set, Op::Get, Op::Get, Op::Get, Op::Set, Op::Get]);
    }
}
