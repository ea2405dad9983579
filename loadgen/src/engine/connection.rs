//! One connection: bytes out, replies in, and what each outstanding request's stamps are. It is told the time.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read, Write},
};

use super::{
    open::{Opened, Opening},
    recorder::{Recorder, Stamps},
};
use crate::{
    clock::Clock,
    link::{Link, Peer, slots::Redirect},
    replies::{Answer, Sink, Skimmer},
    traffic::verify,
};

/// Requests in a row that share command and stamps; a closed loop's batch is one group.
#[derive(Clone, Copy)]
struct Group {
    command: u16,
    stamps: Stamps,
    requests: u32,
    /// The key whose value the reply must be; such a request is a group of its own.
    verify: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Connecting since that stamp: so many replies of the greeting are to come. `again` if the attempt before failed.
    Opening {
        replies: usize,
        since: u64,
        again: bool,
    },
    Ready,
    Dead,
}

pub struct Connection {
    link: Link,
    peer: Peer,
    state: State,
    skimmer: Skimmer,
    groups: VecDeque<Group>,
    outstanding: usize,
    /// Requests it may still take before it is to be opened anew.
    left: u64,
    /// Encoded requests, of which the first `written` bytes are with the kernel.
    out: Vec<u8>,
    written: usize,
    /// Of the reply under way, if it is to be verified.
    body: Vec<u8>,
    /// In a cluster: the outstanding requests, in case they must be sent on.
    kept: Option<VecDeque<Kept>>,
    redirected: Vec<Redirected>,
}

struct Kept {
    bytes: Vec<u8>,
    /// How often it was sent on.
    hops: u8,
}

/// A request that was answered with MOVED or ASK.
pub struct Redirected {
    pub redirect: Redirect,
    pub command: u16,
    pub stamps: Stamps,
    pub verify: Option<u64>,
    pub bytes: Vec<u8>,
    pub hops: u8,
}

/// How often one request is sent on before its MOVED or ASK counts as an error.
const MOST_HOPS: u8 = 16;

/// Stamps before every run: what bears them is not measured.
const UNMEASURED: Stamps = Stamps { intended: 0, sent: 0 };

/// Bytes of output that may wait for the kernel before no more is put behind them.
const FULL: usize = 4 << 20;

const ASKING: &[u8] = b"*1\r\n$6\r\nASKING\r\n";

/// What a call of `receive` took.
pub struct Received {
    pub replies: usize,
    /// Stamp of the last read.
    pub now: u64,
    /// The connection has become ready, so many ns after it was begun.
    pub opened: Option<u64>,
}

impl Connection {
    /// One that is served. It takes `left` requests before it is to be opened anew; in a cluster it keeps what it
    /// sends.
    pub fn new(opened: Opened, left: u64, cluster: bool) -> Self {
        let Opened { link, peer } = opened;
        Self {
            link,
            peer,
            state: State::Ready,
            skimmer: Skimmer::default(),
            groups: VecDeque::new(),
            outstanding: 0,
            left,
            out: Vec::new(),
            written: 0,
            body: Vec::new(),
            kept: cluster.then(VecDeque::new),
            redirected: Vec::new(),
        }
    }

    /// One that is being opened, as `opening` says.
    pub fn opening(opening: Opening, left: u64, cluster: bool) -> Self {
        let Opening { link, peer, greeting, replies, since, again } = opening;
        let state = State::Opening { replies, since, again };
        Self { state, out: greeting, ..Self::new(Opened { link, peer }, left, cluster) }
    }

    pub fn link(&self) -> &Link {
        &self.link
    }

    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Requests sent or queued here and not yet answered.
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    pub fn alive(&self) -> bool {
        self.state != State::Dead
    }

    /// It was lost before and has not come back since.
    pub fn missing(&self) -> bool {
        matches!(self.state, State::Opening { again: true, .. })
    }

    /// How many more requests it takes now, with at most `pipeline` outstanding.
    pub fn room(&self, pipeline: usize) -> usize {
        if self.state != State::Ready || self.full() {
            return 0;
        }
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        pipeline.saturating_sub(self.outstanding).min(left)
    }

    /// So much output waits for the kernel that more would only be memory.
    pub fn full(&self) -> bool {
        self.out.len() - self.written >= FULL
    }

    /// It has taken and answered all it was to.
    pub fn spent(&self) -> bool {
        self.left == 0 && self.outstanding == 0
    }

    /// The output buffer, to encode the request into that `note` then announces.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// One more request is in the output buffer; with `verify` its reply must be the value of that key.
    pub fn note(&mut self, command: u16, stamps: Stamps, verify: Option<u64>) {
        self.outstanding += 1;
        // Endless ones start at the largest number and never get to 0.
        self.left -= 1;
        match self.groups.back_mut() {
            Some(last) if last.stamps == stamps && last.command == command && verify.is_none() => {
                last.requests += 1;
            }
            _ => self.groups.push_back(Group { command, stamps, requests: 1, verify }),
        }
    }

    /// In a cluster: what the request just noted is made of, and how often it was sent on.
    pub fn keep(&mut self, bytes: Vec<u8>, hops: u8) {
        if let Some(kept) = &mut self.kept {
            kept.push_back(Kept { bytes, hops });
        }
    }

    /// The next request is to be served though its slot is still on its way here.
    pub fn ask_leave(&mut self) {
        self.out.extend_from_slice(ASKING);
        self.outstanding += 1;
        self.groups.push_back(Group { command: 0, stamps: UNMEASURED, requests: 1, verify: None });
        self.keep(Vec::new(), MOST_HOPS);
    }

    /// What is to be sent on to other nodes since the last call.
    pub fn take_redirected(&mut self) -> Vec<Redirected> {
        std::mem::take(&mut self.redirected)
    }

    /// Hands the kernel what it takes of the output. The rest leaves when the socket reports room again.
    pub fn flush(&mut self) -> io::Result<()> {
        while self.written < self.out.len() {
            match self.link.write(&self.out[self.written..]) {
                Ok(taken) => self.written += taken,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // Output that is never quite empty must not keep what has left.
                    if self.written >= FULL {
                        self.out.drain(..self.written);
                        self.written = 0;
                    }
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.written = 0;
        match self.link.flush() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            flushed => flushed,
        }
    }

    /// Reads until the socket is empty, or with `to_end` until the peer's end of the stream, and records every reply;
    /// the clock is read once per read, before parsing.
    pub fn receive(
        &mut self,
        buffer: &mut [u8],
        to_end: bool,
        clock: Clock,
        recorder: &mut Recorder,
    ) -> io::Result<Received> {
        let before = self.outstanding;
        let opening = self.state;
        let mut now = 0;
        loop {
            match self.link.read(buffer) {
                Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed it")),
                Ok(len) => {
                    now = clock.ns();
                    recorder.tick(now);
                    self.take(&buffer[..len], now, recorder)?;
                    // A short read has emptied the socket; what arrives later is a new edge (epoll(7)).
                    if len < buffer.len() && !to_end {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let opened = match (opening, self.state) {
            (State::Opening { since, .. }, State::Ready) => Some(now.saturating_sub(since)),
            _ => None,
        };
        Ok(Received { replies: before - self.outstanding, now, opened })
    }

    fn take(&mut self, bytes: &[u8], now: u64, recorder: &mut Recorder) -> io::Result<()> {
        let greeting = match self.state {
            State::Opening { replies, .. } => replies,
            _ => 0,
        };
        let Self { peer, skimmer, groups, outstanding, body, kept, redirected, .. } = self;
        let mut intake = Intake {
            peer,
            groups,
            outstanding,
            body,
            kept,
            redirected,
            redirect: None,
            recorder,
            now,
            run: 0,
            greeting,
            surplus: false,
            refusal: None,
        };
        let fed = skimmer.feed(bytes, &mut intake);
        intake.end_of_bytes();
        let Intake { greeting: to_come, surplus, refusal, .. } = intake;
        if let State::Opening { replies, .. } = &mut self.state {
            *replies = to_come;
            if to_come == 0 {
                self.state = State::Ready;
            }
        }
        match (fed, refusal) {
            (_, Some(text)) => Err(io::Error::other(text)),
            (Ok(()), None) if !surplus => Ok(()),
            (Ok(()), None) => Err(io::Error::new(ErrorKind::InvalidData, "a reply that nothing asked for")),
            (Err(_), None) => Err(io::Error::new(ErrorKind::InvalidData, "the reply is not RESP")),
        }
    }

    /// Gives up on what is outstanding: counted as unanswered, with its age so far as response time.
    pub fn abandon(&mut self, now: u64, recorder: &mut Recorder) {
        for group in self.groups.drain(..) {
            recorder.unanswered(group.command, group.stamps, now, group.requests);
        }
        self.outstanding = 0;
        self.state = State::Dead;
    }
}

/// Matches replies with the requests they answer.
struct Intake<'a> {
    peer: &'a Peer,
    groups: &'a mut VecDeque<Group>,
    outstanding: &'a mut usize,
    body: &'a mut Vec<u8>,
    kept: &'a mut Option<VecDeque<Kept>>,
    redirected: &'a mut Vec<Redirected>,
    /// What the error reply under way says of where to go.
    redirect: Option<Redirect>,
    recorder: &'a mut Recorder,
    now: u64,
    /// Replies to the front group in these bytes, whose times are recorded together: they share all stamps.
    run: u32,
    /// Replies of the greeting still to come; no request is sent before they are here.
    greeting: usize,
    /// A reply came that nothing asked for.
    surplus: bool,
    /// An error that answers no request.
    refusal: Option<String>,
}

impl Intake<'_> {
    /// A reply that answers no request.
    fn unasked(&mut self) {
        match self.greeting.checked_sub(1) {
            Some(rest) => self.greeting = rest,
            None => self.surplus = true,
        }
    }

    /// In a cluster: a reply has come to the oldest request. Whether that goes on to another node instead.
    fn released(&mut self, front: Group) -> bool {
        let Some(Kept { bytes, hops }) = self.kept.as_mut().and_then(VecDeque::pop_front) else {
            return false;
        };
        let Some(redirect) = self.redirect.take() else { return false };
        let Group { command, stamps, verify, .. } = front;
        self.redirected.push(Redirected { redirect, command, stamps, verify, bytes, hops });
        *self.outstanding -= 1;
        let rest = front.requests - 1;
        if let Some(group) = self.groups.front_mut() {
            group.requests = rest;
        }
        if rest == self.run {
            self.close(front);
        }
        true
    }

    /// All requests of the front group are answered.
    fn close(&mut self, front: Group) {
        if self.run > 0 && self.recorder.measures(front.stamps.intended) {
            self.recorder.times(front.command, front.stamps, self.now, self.run);
        }
        self.groups.pop_front();
        self.run = 0;
    }

    fn end_of_bytes(&mut self) {
        if let Some(front) = self.groups.front_mut().filter(|_| self.run > 0) {
            front.requests -= self.run;
            if self.recorder.measures(front.stamps.intended) {
                self.recorder.times(front.command, front.stamps, self.now, self.run);
            }
        }
    }
}

impl Sink for Intake<'_> {
    fn error(&mut self, text: &[u8]) {
        let Some(front) = self.groups.front() else {
            let when = if self.greeting > 0 { "reconnecting was refused: " } else { "" };
            self.refusal = Some(format!("{when}{}", String::from_utf8_lossy(text)));
            return;
        };
        if self.kept.as_ref().and_then(VecDeque::front).is_some_and(|kept| kept.hops < MOST_HOPS) {
            self.redirect = Redirect::read(text, &self.peer.address);
        }
        if self.redirect.is_none() && self.recorder.measures(front.stamps.intended) {
            self.recorder.error(front.command, text);
        }
    }

    fn body(&mut self, piece: &[u8]) {
        if self.groups.front().is_some_and(|front| front.verify.is_some()) {
            self.body.extend_from_slice(piece);
        }
    }

    fn reply(&mut self, answer: Answer, bytes: u64) {
        let Some(&front) = self.groups.front() else { return self.unasked() };
        if self.kept.is_some() && self.released(front) {
            return;
        }
        *self.outstanding -= 1;
        self.run += 1;
        let measured = self.recorder.measures(front.stamps.intended);
        if measured {
            self.recorder.reply(front.command, answer, bytes);
        }
        if let Some(key) = front.verify {
            if answer == Answer::Value
                && let Err(problem) = verify::check(self.body, key)
            {
                self.recorder.corrupt(front.command, problem);
            }
            self.body.clear();
        }
        if self.run == front.requests {
            self.close(front);
        }
    }
}
