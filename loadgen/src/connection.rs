//! One connection: bytes out, replies in, and what each outstanding request's stamps are. It is told the time.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read, Write},
};

use mio::net::TcpStream;

use crate::{
    replies::Skimmer,
    request::Op,
    stats::{Outcome, record},
};

/// Requests in a row that share operation and stamps; a closed loop's batch is one group.
#[derive(Clone, Copy)]
struct Group {
    op: Op,
    intended: u64,
    sent: u64,
    requests: u64,
}

pub struct Connection {
    stream: TcpStream,
    skimmer: Skimmer,
    groups: VecDeque<Group>,
    outstanding: usize,
    /// Encoded requests, of which the first `written` bytes are with the kernel.
    out: Vec<u8>,
    written: usize,
    alive: bool,
}

impl Connection {
    pub fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            skimmer: Skimmer::default(),
            groups: VecDeque::new(),
            outstanding: 0,
            out: Vec::new(),
            written: 0,
            alive: true,
        }
    }

    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Requests sent or queued here and not yet answered.
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    pub fn alive(&self) -> bool {
        self.alive
    }

    pub fn first_error(&self) -> Option<&str> {
        self.skimmer.first_error()
    }

    /// The output buffer, to encode the request into that `note` then announces.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// One more request is in the output buffer.
    pub fn note(&mut self, op: Op, intended: u64, sent: u64) {
        self.outstanding += 1;
        match self.groups.back_mut() {
            Some(last) if last.op == op && last.intended == intended && last.sent == sent => {
                last.requests += 1;
            }
            _ => self.groups.push_back(Group { op, intended, sent, requests: 1 }),
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

    /// Reads until the socket is empty and counts every reply into `outcome`; `now` is called once per read, before
    /// parsing. Returns how many replies came.
    pub fn receive(
        &mut self,
        buffer: &mut [u8],
        now: &dyn Fn() -> u64,
        outcome: &mut Outcome,
    ) -> io::Result<usize> {
        let before = self.outstanding;
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(len) => {
                    self.take(&buffer[..len], now(), outcome)?;
                    // A short read has emptied the socket; what arrives later is a new edge (epoll(7)).
                    if len < buffer.len() {
                        return Ok(before - self.outstanding);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(before - self.outstanding),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&mut self, bytes: &[u8], now: u64, outcome: &mut Outcome) -> io::Result<()> {
        let Self { skimmer, groups, outstanding, .. } = self;
        let mut surplus = false;
        // Replies of the front group in these bytes, recorded together: they share all stamps.
        let mut run = 0;
        let fed = skimmer.feed(bytes, &mut |answer| {
            let Some(front) = groups.front() else {
                surplus = true;
                return;
            };
            *outstanding -= 1;
            run += 1;
            outcome.op_mut(front.op).count(answer);
            if run == front.requests {
                record_run(front, run, now, outcome);
                groups.pop_front();
                run = 0;
            }
        });
        if let Some(front) = groups.front_mut().filter(|_| run > 0) {
            record_run(front, run, now, outcome);
            front.requests -= run;
        }
        match fed {
            Ok(()) if !surplus => Ok(()),
            Ok(()) => Err(io::Error::new(ErrorKind::InvalidData, "a reply that nothing asked for")),
            Err(_) => Err(io::Error::new(ErrorKind::InvalidData, "the reply is not RESP2")),
        }
    }

    /// Gives up on what is outstanding: counted as unanswered, with its age so far as response time.
    pub fn abandon(&mut self, now: u64, outcome: &mut Outcome) {
        for group in self.groups.drain(..) {
            let stats = outcome.op_mut(group.op);
            stats.unanswered += group.requests;
            record(&mut stats.response, now.saturating_sub(group.intended), group.requests);
        }
        self.outstanding = 0;
        self.alive = false;
    }
}

fn record_run(group: &Group, replies: u64, now: u64, outcome: &mut Outcome) {
    let stats = outcome.op_mut(group.op);
    record(&mut stats.response, now.saturating_sub(group.intended), replies);
    record(&mut stats.service, now.saturating_sub(group.sent), replies);
}
