//! Connections: bytes in order, cut into pieces, late, and lost with the connection.

use std::collections::VecDeque;

use crate::log::simulation::Random;

/// The ends of a connection, and of what each writes.
pub const REPLICA: usize = 0;
pub const PRIMARY: usize = 1;

/// Bytes on their way before a send waits.
const WINDOW: usize = 600;

/// Later than any run ends.
const NEVER: u64 = u64::MAX;

#[derive(Default)]
struct Pipe {
    unsent: VecDeque<u8>,
    sending: bool,
    wire: VecDeque<(u64, Vec<u8>)>,
}

pub struct Conn {
    pub nodes: [usize; 2],
    /// Which life of each node has it.
    pub lives: [u32; 2],
    pipes: [Pipe; 2],
    /// When an end learns that it is over.
    ended: [Option<u64>; 2],
    closed: [bool; 2],
    /// Nothing arrives any more.
    cut: bool,
    delay: u64,
}

impl Conn {
    pub fn new(nodes: [usize; 2], lives: [u32; 2], random: &mut Random) -> Conn {
        let delay = [0, 5, 40, 300][random.below(4)];
        Conn {
            nodes,
            lives,
            pipes: Default::default(),
            ended: [None; 2],
            closed: [false; 2],
            cut: false,
            delay,
        }
    }

    /// One send is under way at a time.
    pub fn send(&mut self, end: usize, bytes: Vec<u8>) {
        let pipe = &mut self.pipes[end];
        assert!(!pipe.sending, "a send while one is under way");
        assert!(!self.closed[end], "a send on a closed connection");
        pipe.sending = true;
        pipe.unsent.extend(bytes);
    }

    pub fn is_sending(&self, end: usize) -> bool {
        self.pipes[end].sending
    }

    /// Goes on with the send of this end; true when it has ended.
    pub fn flow(&mut self, end: usize, now: u64, random: &mut Random) -> bool {
        let delay = self.delay;
        let pipe = &mut self.pipes[end];
        if !pipe.sending || self.closed[end] {
            return false;
        }
        let mut under_way: usize = pipe.wire.iter().map(|(_, bytes)| bytes.len()).sum();
        while !pipe.unsent.is_empty() && under_way < WINDOW {
            let count = (1 + random.below(200)).min(pipe.unsent.len());
            let bytes: Vec<u8> = pipe.unsent.drain(..count).collect();
            let due = (now + random.ms(delay)).max(pipe.wire.back().map_or(0, |(due, _)| *due));
            under_way += count;
            pipe.wire.push_back((due, bytes));
        }
        if pipe.unsent.is_empty() {
            pipe.sending = false;
        }
        !pipe.sending
    }

    /// What has arrived at this end.
    pub fn receive(&mut self, end: usize, now: u64) -> Option<Vec<u8>> {
        if self.cut || self.closed[end] {
            return None;
        }
        let pipe = &mut self.pipes[1 - end];
        pipe.wire.pop_front_if(|(due, _)| *due <= now).map(|(_, bytes)| bytes)
    }

    /// Whether this end is told now that the connection is over.
    pub fn is_over(&self, end: usize, now: u64) -> bool {
        let drained = self.cut || self.pipes[1 - end].wire.is_empty();
        !self.closed[end] && self.ended[end].is_some_and(|at| at <= now) && drained
    }

    /// This end lets go of it: what is on its way arrives, or not.
    pub fn close(&mut self, end: usize, now: u64, random: &mut Random) {
        self.closed[end] = true;
        self.cut |= random.once_in(2);
        self.ended[1 - end].get_or_insert(now + random.ms(200));
    }

    /// The network breaks it; each end learns of it some time, or never.
    pub fn sever(&mut self, now: u64, random: &mut Random) {
        self.cut = true;
        for end in 0..2 {
            let learns = if random.once_in(3) { NEVER } else { now + random.ms(500) };
            self.ended[end].get_or_insert(learns);
        }
    }

    pub fn is_forgotten(&self) -> bool {
        self.closed == [true; 2]
    }

    pub fn forget(&mut self, end: usize) {
        self.closed[end] = true;
    }
}
