//! One connection: bytes out, replies in, and what each outstanding request's stamps are. It is told the time.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read, Write},
};

use super::{
    open::Stream,
    recorder::{Recorder, Stamps},
};
use crate::{
    clock::Clock,
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

pub struct Connection {
    stream: Stream,
    skimmer: Skimmer,
    groups: VecDeque<Group>,
    outstanding: usize,
    /// Encoded requests, of which the first `written` bytes are with the kernel.
    out: Vec<u8>,
    written: usize,
    /// Of the reply under way, if it is to be verified.
    body: Vec<u8>,
    alive: bool,
}

/// What a call of `receive` took.
pub struct Received {
    pub replies: usize,
    /// Stamp of the last read.
    pub now: u64,
}

impl Connection {
    pub fn new(stream: Stream) -> Self {
        Self {
            stream,
            skimmer: Skimmer::default(),
            groups: VecDeque::new(),
            outstanding: 0,
            out: Vec::new(),
            written: 0,
            body: Vec::new(),
            alive: true,
        }
    }

    /// Requests sent or queued here and not yet answered.
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    pub fn alive(&self) -> bool {
        self.alive
    }

    /// The output buffer, to encode the request into that `note` then announces.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// One more request is in the output buffer; with `verify` its reply must be the value of that key.
    pub fn note(&mut self, command: u16, stamps: Stamps, verify: Option<u64>) {
        self.outstanding += 1;
        match self.groups.back_mut() {
            Some(last) if last.stamps == stamps && last.command == command && verify.is_none() => {
                last.requests += 1;
            }
            _ => self.groups.push_back(Group { command, stamps, requests: 1, verify }),
        }
    }

    /// Hands the kernel what it takes of the output. The rest leaves when the socket reports room again.
    pub fn flush(&mut self) -> io::Result<()> {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(taken) => self.written += taken,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }

    /// Reads until the socket is empty and records every reply; the clock is read once per read, before parsing.
    pub fn receive(
        &mut self,
        buffer: &mut [u8],
        clock: Clock,
        recorder: &mut Recorder,
    ) -> io::Result<Received> {
        let before = self.outstanding;
        let mut now = 0;
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed it")),
                Ok(len) => {
                    now = clock.ns();
                    recorder.tick(now);
                    self.take(&buffer[..len], now, recorder)?;
                    // A short read has emptied the socket; what arrives later is a new edge (epoll(7)).
                    if len < buffer.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Received { replies: before - self.outstanding, now })
    }

    fn take(&mut self, bytes: &[u8], now: u64, recorder: &mut Recorder) -> io::Result<()> {
        let Self { skimmer, groups, outstanding, body, .. } = self;
        let mut intake = Intake { groups, outstanding, body, recorder, now, run: 0, surplus: false };
        let fed = skimmer.feed(bytes, &mut intake);
        intake.end_of_bytes();
        match fed {
            Ok(()) if !intake.surplus => Ok(()),
            Ok(()) => Err(io::Error::new(ErrorKind::InvalidData, "a reply that nothing asked for")),
            Err(_) => Err(io::Error::new(ErrorKind::InvalidData, "the reply is not RESP2")),
        }
    }

    /// Gives up on what is outstanding: counted as unanswered, with its age so far as response time.
    pub fn abandon(&mut self, now: u64, recorder: &mut Recorder) {
        for group in self.groups.drain(..) {
            recorder.unanswered(group.command, group.stamps, now, group.requests);
        }
        self.outstanding = 0;
        self.alive = false;
    }
}

/// Matches replies with the requests they answer.
struct Intake<'a> {
    groups: &'a mut VecDeque<Group>,
    outstanding: &'a mut usize,
    body: &'a mut Vec<u8>,
    recorder: &'a mut Recorder,
    now: u64,
    /// Replies to the front group in these bytes, whose times are recorded together: they share all stamps.
    run: u32,
    /// A reply came that nothing asked for.
    surplus: bool,
}

impl Intake<'_> {
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
        if let Some(front) = self.groups.front()
            && self.recorder.measures(front.stamps.intended)
        {
            self.recorder.error(front.command, text);
        }
    }

    fn body(&mut self, piece: &[u8]) {
        if self.groups.front().is_some_and(|front| front.verify.is_some()) {
            self.body.extend_from_slice(piece);
        }
    }

    fn reply(&mut self, answer: Answer, bytes: u64) {
        let Some(&front) = self.groups.front() else {
            self.surplus = true;
            return;
        };
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
            if measured {
                self.recorder.times(front.command, front.stamps, self.now, self.run);
            }
            self.groups.pop_front();
            self.run = 0;
        }
    }
}
