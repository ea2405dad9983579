//! What a core remembers of each connection: its socket, its one send in flight, where it is in its life.
//!
//! Knows no ring. 64 bytes a connection, and no buffer while nothing is being sent.

use std::os::fd::OwnedFd;

/// A connection's number: a small dense integer that the caller chose.
pub type ConnId = u32;

/// Generations are told apart modulo 2^24, the room `user_data` has for them.
pub(super) const GENERATION_MASK: u32 = (1 << 24) - 1;

/// Life: adopted → (end of input | failed) → closing → gone, when nothing of it is in the kernel's hands.
pub(super) struct Socket {
    pub fd: OwnedFd,
    /// Tells completions of this connection from those of earlier ones with the same number.
    pub generation: u32,
    /// The pace's window in which it was last counted.
    pub mark: u32,
    /// A receive is in the kernel's hands.
    pub receiving: bool,
    /// A send is in the kernel's hands: it reads from `buf`.
    pub sending: bool,
    /// The owner wants no input for now.
    pub paused: bool,
    /// The peer sends no more.
    pub ended: bool,
    /// The owner is done with it: its completions are swallowed.
    pub closing: bool,
    /// Closing, but the socket goes back to the owner.
    pub detaching: bool,
    /// What is being sent, and how much of it has left.
    pub buf: Vec<u8>,
    pub sent: usize,
}

impl Socket {
    /// Whether input is wanted and can still come.
    #[inline]
    pub(super) fn wants_input(&self) -> bool {
        !(self.paused || self.ended || self.closing)
    }

    /// Whether nothing of it is in the kernel's hands.
    #[inline]
    pub(super) fn is_quiet(&self) -> bool {
        !(self.receiving || self.sending)
    }
}

/// The connections of one core by number.
#[derive(Default)]
pub(super) struct Sockets {
    slots: Vec<Slot>,
    live: usize,
}

#[derive(Default)]
struct Slot {
    /// Of the connection here now or last.
    generation: u32,
    socket: Option<Socket>,
}

impl Sockets {
    /// Takes in a connection under a number that no live connection has.
    pub(super) fn insert(&mut self, conn: ConnId, fd: OwnedFd) -> &mut Socket {
        let index = conn as usize;
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, Slot::default);
        }
        let slot = &mut self.slots[index];
        assert!(slot.socket.is_none(), "connection {conn} is still live");
        slot.generation = (slot.generation + 1) & GENERATION_MASK;
        self.live += 1;
        slot.socket.insert(Socket {
            fd,
            generation: slot.generation,
            mark: 0,
            receiving: false,
            sending: false,
            paused: false,
            ended: false,
            closing: false,
            detaching: false,
            buf: Vec::new(),
            sent: 0,
        })
    }

    #[inline]
    pub(super) fn get(&mut self, conn: ConnId) -> Option<&mut Socket> {
        self.slots.get_mut(conn as usize)?.socket.as_mut()
    }

    /// The connection a completion belongs to, unless that one is gone.
    #[inline]
    pub(super) fn find(&mut self, conn: ConnId, generation: u32) -> Option<&mut Socket> {
        self.get(conn).filter(|socket| socket.generation == generation)
    }

    /// Forgets a connection; its descriptor closes as the result is dropped.
    pub(super) fn remove(&mut self, conn: ConnId) -> Option<Socket> {
        let gone = self.slots.get_mut(conn as usize)?.socket.take();
        self.live -= usize::from(gone.is_some());
        gone
    }

    /// Connections not yet gone.
    pub(super) fn len(&self) -> usize {
        self.live
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    fn some_fd() -> OwnedFd {
        File::open("/dev/null").unwrap().into()
    }

    #[test]
    fn a_reused_number_is_another_connection() {
        let mut sockets = Sockets::default();
        let first = sockets.insert(3, some_fd()).generation;
        assert!(sockets.find(3, first).is_some() && sockets.get(2).is_none());
        sockets.remove(3);
        let second = sockets.insert(3, some_fd()).generation;
        assert_ne!(first, second);
        assert!(sockets.find(3, first).is_none() && sockets.find(3, second).is_some());
        assert_eq!(sockets.len(), 1);
    }

    #[test]
    fn an_idle_connection_is_small() {
        assert!(size_of::<Slot>() <= 72, "{} bytes", size_of::<Slot>());
    }
}
