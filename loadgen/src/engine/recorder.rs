//! What one thread records, a second at a time: it fills a slice, hands it to the collector and goes on with an empty
//! one, so that no histogram is shared, nothing is atomic and nothing is merged on the path of requests.

use std::{
    collections::BTreeMap,
    sync::mpsc::{Receiver, Sender},
};

use crate::{
    plan::Plan,
    replies::Answer,
    stats::{Counts, Recording, latencies, record},
};

pub const SECOND: u64 = 1_000_000_000;

/// One second of one thread.
pub struct Slice {
    /// Number of the second, from the first measured instant.
    pub second: u64,
    /// ns it lasted.
    pub length: u64,
    /// Of these the thread worked, and did not just wait.
    pub busy: u64,
    pub commands: Vec<CommandSlice>,
    pub lag: Recording,
    pub window_full: Recording,
}

pub struct CommandSlice {
    /// Open loop only; in a closed loop `service` is the response time.
    pub response: Recording,
    pub service: Recording,
    pub counts: Counts,
    /// Error replies by the first word of their text.
    pub kinds: BTreeMap<String, u64>,
}

impl Slice {
    pub fn new(commands: usize) -> Self {
        let command = |_| CommandSlice {
            response: latencies(),
            service: latencies(),
            counts: Counts::default(),
            kinds: BTreeMap::new(),
        };
        Self {
            second: 0,
            length: 0,
            busy: 0,
            commands: (0..commands).map(command).collect(),
            lag: latencies(),
            window_full: latencies(),
        }
    }

    /// Empties what holds anything.
    pub fn clear(&mut self) {
        let histograms = self.commands.iter_mut().flat_map(|slice| [&mut slice.response, &mut slice.service]);
        for histogram in histograms.chain([&mut self.lag, &mut self.window_full]) {
            if !histogram.is_empty() {
                histogram.reset();
            }
        }
        for command in &mut self.commands {
            command.counts = Counts::default();
            command.kinds.clear();
        }
    }
}

/// A finished slice on its way to the collector.
pub struct Delivery {
    pub part: usize,
    pub slice: Box<Slice>,
    /// The thread sends no more.
    pub last: bool,
}

/// The ends of the channels between a thread and the collector.
pub struct Exchange {
    pub part: usize,
    pub finished: Sender<Delivery>,
    pub cleared: Receiver<Box<Slice>>,
}

/// Stamps of one or several requests that share them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamps {
    pub intended: u64,
    pub sent: u64,
}

pub struct Recorder {
    slice: Box<Slice>,
    exchange: Exchange,
    open: bool,
    /// What was intended earlier is not measured.
    measure_from: u64,
    /// Stamp at which the slice ends.
    boundary: u64,
    began: u64,
    /// The thread's CPU time when the slice began.
    cpu_before: u64,
    /// ns of the slice spent polling for nothing.
    idle: u64,
    pub error_text: Option<String>,
    pub corrupt_text: Option<String>,
}

impl Recorder {
    pub fn new(plan: &Plan, start: u64, exchange: Exchange) -> Self {
        let measure_from = start.saturating_add(plan.unmeasured_ns());
        let warm = measure_from > start;
        Self {
            slice: Box::new(Slice::new(plan.mix.len())),
            exchange,
            open: plan.open(),
            measure_from,
            boundary: if warm { measure_from } else { measure_from + SECOND },
            began: start,
            cpu_before: cpu_ns(),
            idle: 0,
            error_text: None,
            corrupt_text: None,
        }
    }

    /// Whether a request intended at `stamp` belongs to the measured part of the run.
    pub fn measures(&self, stamp: u64) -> bool {
        stamp >= self.measure_from
    }

    /// Goes on to the next slice once its time has come.
    pub fn tick(&mut self, now: u64) {
        if now < self.boundary {
            return;
        }
        if self.boundary > self.measure_from {
            self.close(now);
            let fresh = self.exchange.cleared.try_recv();
            let fresh = fresh.unwrap_or_else(|_| Box::new(Slice::new(self.slice.commands.len())));
            let slice = std::mem::replace(&mut self.slice, fresh);
            // Without a collector the run is over, and the thread about to be told.
            let _ = self.exchange.finished.send(Delivery { part: self.exchange.part, slice, last: false });
        }
        let second = (now - self.measure_from) / SECOND;
        self.slice.second = second;
        self.boundary = self.measure_from + (second + 1) * SECOND;
        self.began = self.measure_from + second * SECOND;
        self.cpu_before = cpu_ns();
        self.idle = 0;
    }

    /// Hands in the last slice.
    pub fn finish(mut self, now: u64) -> (Option<String>, Option<String>) {
        self.close(now);
        let Self { slice, exchange, error_text, corrupt_text, .. } = self;
        let _ = exchange.finished.send(Delivery { part: exchange.part, slice, last: true });
        (error_text, corrupt_text)
    }

    fn close(&mut self, now: u64) {
        let whole = now.saturating_sub(self.began);
        self.slice.busy = cpu_ns().saturating_sub(self.cpu_before).saturating_sub(self.idle);
        // A full second ends at its boundary, though it is noticed a little later.
        self.slice.length = if now >= self.boundary { whole / SECOND * SECOND } else { whole };
    }

    /// `ns` were spent asking the kernel for events when there were none.
    pub fn idled(&mut self, ns: u64) {
        self.idle += ns;
    }

    pub fn offered(&mut self, command: u16, intended: u64, bytes: usize) {
        if self.measures(intended) {
            let counts = &mut self.slice.commands[usize::from(command)].counts;
            counts.offered += 1;
            counts.bytes_sent += bytes as u64;
        }
    }

    /// Counts one reply to a measured request.
    pub fn reply(&mut self, command: u16, answer: Answer, bytes: u64) {
        let counts = &mut self.slice.commands[usize::from(command)].counts;
        counts.count(answer);
        counts.bytes_received += bytes;
    }

    /// Records the times of `replies` to measured requests with the same stamps.
    pub fn times(&mut self, command: u16, stamps: Stamps, now: u64, replies: u32) {
        let slice = &mut self.slice.commands[usize::from(command)];
        record(&mut slice.service, now.saturating_sub(stamps.sent), replies);
        if self.open {
            record(&mut slice.response, now.saturating_sub(stamps.intended), replies);
        }
    }

    pub fn error(&mut self, command: u16, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        let kind = text.split_ascii_whitespace().next().unwrap_or("ERR");
        let kinds = &mut self.slice.commands[usize::from(command)].kinds;
        match kinds.get_mut(kind) {
            Some(count) => *count += 1,
            None => drop(kinds.insert(kind.into(), 1)),
        }
        self.error_text.get_or_insert_with(|| text.into_owned());
    }

    pub fn corrupt(&mut self, command: u16, problem: String) {
        self.slice.commands[usize::from(command)].counts.corrupt += 1;
        self.corrupt_text.get_or_insert(problem);
    }

    /// Requests that were sent and will not be answered.
    pub fn unanswered(&mut self, command: u16, stamps: Stamps, now: u64, requests: u32) {
        if self.measures(stamps.intended) {
            let slice = &mut self.slice.commands[usize::from(command)];
            slice.counts.unanswered += u64::from(requests);
            let (histogram, since) = if self.open {
                (&mut slice.response, stamps.intended)
            } else {
                (&mut slice.service, stamps.sent)
            };
            record(histogram, now.saturating_sub(since), requests);
        }
    }

    /// A request that was due and will not be sent.
    pub fn unsent(&mut self, command: u16, intended: u64, now: u64) {
        if self.measures(intended) {
            let slice = &mut self.slice.commands[usize::from(command)];
            slice.counts.offered += 1;
            slice.counts.unsent += 1;
            record(&mut slice.response, now.saturating_sub(intended), 1);
        }
    }

    /// The loop noticed at `now` that an arrival is due.
    pub fn noticed(&mut self, intended: u64, now: u64) {
        if self.measures(intended) {
            record(&mut self.slice.lag, now - intended, 1);
        }
    }

    /// An arrival waited `ns` for room in a window.
    pub fn waited(&mut self, intended: u64, ns: u64) {
        if self.measures(intended) {
            record(&mut self.slice.window_full, ns, 1);
        }
    }
}

/// CPU time of the calling thread so far, ns.
fn cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * SECOND + time.tv_nsec as u64
}
