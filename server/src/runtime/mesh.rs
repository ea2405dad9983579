//! Mail between cores: one bounded single-producer ring for every ordered pair of them.
//!
//! Knows nothing of what it carries. A message is visible to its receiver as soon as it is sent; the
//! receiver is woken by [`Port::flush`], once per turn, and only if it sleeps.
//!
//! When a ring is full, messages to that core queue up here, in order, and go out with a later
//! [`Port::flush`]. That queue is bounded by whoever makes messages: each waits for an answer to what
//! it sent before it sends more (`limits::OUTSTANDING_REPLIES` a session).

use super::{Bell, Fault, Inbox, Net};
use crate::limits;
use rtrb::{Consumer, Producer, PushError, RingBuffer};
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{Ordering, fence},
    },
};

/// Makes the ports of a set of cores that can all write to each other.
pub struct Mesh<T> {
    ports: Vec<Port<T>>,
}

impl<T: Send> Mesh<T> {
    /// One port per core, in core order. A core may also write to itself.
    #[expect(clippy::new_ret_no_self, reason = "the mesh is nothing but its ports")]
    pub fn new(cores: usize) -> Result<Vec<Port<T>>, Fault> {
        let bells: Arc<[Bell]> = (0..cores).map(|_| Bell::new()).collect::<Result<_, _>>()?;
        let mut mesh = Mesh { ports: (0..cores).map(|core| Port::new(core, Arc::clone(&bells))).collect() };
        for from in 0..cores {
            for to in 0..cores {
                mesh.connect(from, to);
            }
        }
        Ok(mesh.ports)
    }

    /// Rings end up in peer order on both sides because both loops ascend.
    fn connect(&mut self, from: usize, to: usize) {
        let (producer, consumer) = RingBuffer::new(limits::MESH_DEPTH);
        self.ports[from].outgoing.push(Outgoing { ring: producer, waiting: VecDeque::new(), unrung: false });
        self.ports[to].incoming.push(consumer);
    }
}

/// One core's end of the mesh.
pub struct Port<T> {
    core: usize,
    bells: Arc<[Bell]>,
    outgoing: Vec<Outgoing<T>>,
    incoming: Vec<Consumer<T>>,
    /// The ring that [`Port::receive`] looks at next.
    next: usize,
    /// Messages in all `waiting` queues.
    waiting: usize,
}

struct Outgoing<T> {
    ring: Producer<T>,
    /// What did not fit into the ring, oldest first.
    waiting: VecDeque<T>,
    /// Something entered the ring since the last flush.
    unrung: bool,
}

impl<T> Outgoing<T> {
    /// Moves what waits into the ring; returns how many went.
    fn refill(&mut self) -> usize {
        let before = self.waiting.len();
        while let Some(message) = self.waiting.pop_front() {
            if let Err(PushError::Full(message)) = self.ring.push(message) {
                self.waiting.push_front(message);
                break;
            }
            self.unrung = true;
        }
        before - self.waiting.len()
    }
}

impl<T: Send> Port<T> {
    fn new(core: usize, bells: Arc<[Bell]>) -> Self {
        Port { core, bells, outgoing: Vec::new(), incoming: Vec::new(), next: 0, waiting: 0 }
    }

    /// This core's own number.
    pub fn core(&self) -> usize {
        self.core
    }

    /// Number of cores in the mesh.
    pub fn cores(&self) -> usize {
        self.bells.len()
    }

    /// The bell that wakes this core: for its `Net`, and for threads that have no port.
    pub fn bell(&self) -> Bell {
        self.bells[self.core].clone()
    }

    /// Hands a message to core `to`, behind everything sent to it before. The receiver is woken by the
    /// next [`Port::flush`].
    #[inline]
    pub fn send(&mut self, to: usize, message: T) {
        let outgoing = &mut self.outgoing[to];
        if outgoing.waiting.is_empty() {
            match outgoing.ring.push(message) {
                Ok(()) => outgoing.unrung = true,
                Err(PushError::Full(message)) => {
                    outgoing.waiting.push_back(message);
                    self.waiting += 1;
                }
            }
        } else {
            outgoing.waiting.push_back(message);
            self.waiting += 1;
        }
    }

    /// The next message of any core with the core it came from, or none now. Messages of one core come
    /// in the order they were sent. It serves a core until that core's ring is empty, then the next.
    #[inline]
    pub fn receive(&mut self) -> Option<(usize, T)> {
        for _ in 0..self.incoming.len() {
            let from = self.next;
            if let Ok(message) = self.incoming[from].pop() {
                return Some((from, message));
            }
            self.next = if from + 1 == self.incoming.len() { 0 } else { from + 1 };
        }
        None
    }

    /// Retries what did not fit and wakes the receivers that sleep. Call it once per turn, just before
    /// `Net::turn`, which carries the wake-ups to the kernel.
    pub fn flush(&mut self, net: &mut Net) {
        if self.waiting > 0 {
            self.waiting -= self.outgoing.iter_mut().map(Outgoing::refill).sum::<usize>();
        }
        let mut fenced = false;
        for (peer, outgoing) in self.outgoing.iter_mut().enumerate() {
            if !std::mem::take(&mut outgoing.unrung) {
                continue;
            }
            if !std::mem::replace(&mut fenced, true) {
                // The other half of `Bell::announce_sleep`.
                fence(Ordering::SeqCst);
            }
            if self.bells[peer].claim() {
                net.wake(peer, &self.bells[peer]);
            }
        }
    }
}

impl<T> Inbox for Port<T> {
    #[inline]
    fn has_mail(&self) -> bool {
        self.incoming.iter().any(|ring| !ring.is_empty())
    }

    #[inline]
    fn is_backlogged(&self) -> bool {
        self.waiting > 0
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{NetOptions, Wait, clock},
        *,
    };
    use std::{sync::mpsc, thread, time::Duration};

    #[test]
    fn messages_keep_their_order_through_a_full_ring() {
        let mut ports = Mesh::<usize>::new(2).unwrap();
        let (mut b, mut a) = (ports.pop().unwrap(), ports.pop().unwrap());
        let total = 3 * limits::MESH_DEPTH + 7;
        (0..total).for_each(|number| a.send(1, number));
        assert!(a.is_backlogged() && b.has_mail());
        let mut received = Vec::new();
        while received.len() < total {
            while let Some((from, number)) = b.receive() {
                assert_eq!(from, 0);
                received.push(number);
            }
            a.waiting -= a.outgoing.iter_mut().map(Outgoing::refill).sum::<usize>();
        }
        assert!(received.iter().copied().eq(0..total));
        assert!(!a.is_backlogged() && !b.has_mail());
    }

    #[test]
    fn a_core_hears_all_others_and_itself() {
        let mut ports = Mesh::<(usize, usize)>::new(5).unwrap();
        for (from, port) in ports.iter_mut().enumerate() {
            (0..5).for_each(|to| port.send(to, (from, to)));
        }
        for port in &mut ports {
            let core = port.core();
            let mut heard = Vec::new();
            while let Some((from, message)) = port.receive() {
                assert_eq!(message, (from, core));
                heard.push(from);
            }
            assert_eq!(heard, [0, 1, 2, 3, 4]);
        }
    }

    /// What the stressed cores send each other.
    enum Note {
        Token(u64),
        Stop,
    }

    /// One core of the stress: passes tokens on to the next core, dawdling at random so that it is now
    /// asleep, now about to sleep, now awake when the next one comes. Returns tokens seen and sleeps.
    fn pass_tokens(mut port: Port<Note>, spin_us: u64, until_us: u64) -> (u64, u64) {
        let options = NetOptions { spin_us, ..NetOptions::default() };
        let mut net = Net::new(options, port.bell()).unwrap();
        let (core, cores) = (port.core(), port.cores());
        let (mut seen, mut dice) = (0, clock::seed() | 1);
        if core == 0 {
            (0..2).for_each(|token| port.send(1, Note::Token(token)));
        }
        loop {
            while let Some((_, note)) = port.receive() {
                let Note::Token(hops) = note else { return (seen, net.stats().sleeps) };
                seen += 1;
                dice ^= dice << 13;
                dice ^= dice >> 7;
                dice ^= dice << 17;
                (0..dice % 4096).for_each(|_| std::hint::spin_loop());
                if core == 0 && clock::monotonic_us() > until_us {
                    (1..cores).for_each(|to| port.send(to, Note::Stop));
                    port.flush(&mut net);
                    net.turn(Wait::Poll, &port, |_| ());
                    return (seen, net.stats().sleeps);
                }
                port.send((core + 1) % cores, Note::Token(hops + 1));
            }
            port.flush(&mut net);
            // Without an end: a lost wake-up stops everything and the deadline tells.
            net.turn(Wait::Forever, &port, |_| ());
        }
    }

    #[test]
    fn no_wake_up_is_lost() {
        for spin_us in [0, 20] {
            let ports = Mesh::<Note>::new(3).unwrap();
            let (done, results) = mpsc::channel();
            let until_us = clock::monotonic_us() + 1_000_000;
            for port in ports {
                let done = done.clone();
                thread::spawn(move || done.send(pass_tokens(port, spin_us, until_us)));
            }
            for _ in 0..3 {
                let deadline = Duration::from_secs(20);
                let (seen, sleeps) = results.recv_timeout(deadline).expect("a wake-up was lost");
                assert!(seen > 100 && sleeps > 10, "{seen} tokens, {sleeps} sleeps");
            }
        }
    }

    #[test]
    fn any_thread_can_ring() {
        let port = Mesh::<Note>::new(1).unwrap().pop().unwrap();
        let (bell, (done, woken)) = (port.bell(), mpsc::channel());
        thread::spawn(move || {
            let mut net = Net::new(NetOptions::default(), port.bell()).unwrap();
            for turn in 0..100 {
                net.turn(Wait::Forever, &port, |_| ());
                let _ = done.send(turn);
            }
        });
        for turn in 0..100 {
            bell.ring();
            assert_eq!(woken.recv_timeout(Duration::from_secs(20)), Ok(turn));
        }
    }
}
