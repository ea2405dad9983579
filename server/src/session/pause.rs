//! Commands that wait: while the server changes its role no client's write begins, and all that had begun have ended; and
//! what CLIENT PAUSE asks for.

use super::machine::Machine;
use crate::commands::ClientFlags;
use crate::transaction::Message;

/// Writes that began before the pause and may be under way.
#[derive(Debug)]
pub(super) struct Pausing {
    number: u64,
    /// Cores that may yet have commands of ours before them.
    fences: usize,
    /// Sessions amid a transaction, and the number of the attempt that follows it.
    transactions: Vec<(u64, u64)>,
}

impl Machine {
    /// From here on no write of a client begins: its session stands still until `resume_writes`. `number` names the
    /// pause in [`Machine::take_quiet`].
    pub fn pause_writes(&mut self, number: u64) {
        self.core.writes_paused = true;
        let amid = self.sessions.iter().filter(|(_, session)| session.transaction.is_some());
        let transactions = amid.map(|(_, session)| (session.id, session.next_attempt)).collect();
        let cores = self.post.cores();
        // It goes the way of all batches, and comes back when those before it have run, or wait for locks: which a cut
        // respects.
        (0..cores).for_each(|to| self.post.send(to, Message::Fence(number)));
        self.pausing = Some(Pausing { number, fences: cores, transactions });
    }

    pub(super) fn fence_back(&mut self, number: u64) {
        if let Some(pausing) = self.pausing.as_mut().filter(|pausing| pausing.number == number) {
            pausing.fences -= 1;
        }
    }

    /// Says once that all writes from before the pause of the number returned are over.
    pub fn take_quiet(&mut self) -> Option<u64> {
        let mut pausing = self.pausing.take()?;
        pausing.transactions.retain(|&(id, next)| {
            let session = self.session_key(id).map(|key| &self.sessions[key]);
            session.is_some_and(|session| session.transaction.is_some() && session.next_attempt == next)
        });
        if pausing.fences == 0 && pausing.transactions.is_empty() {
            return Some(pausing.number);
        }
        self.pausing = Some(pausing);
        None
    }

    /// Writes go on, those that waited first.
    pub fn resume_writes(&mut self) {
        (self.core.writes_paused, self.core.frozen, self.pausing) = (false, false, None);
        self.wake_postponed();
    }

    /// Ends the pause that CLIENT PAUSE asked for, if it is time; says whether it was.
    pub(super) fn end_client_pause(&mut self) -> bool {
        let ends = self.core.client_pause.take_if(|pause| pause.until <= self.core.now).is_some();
        if ends {
            self.wake_postponed();
        }
        ends
    }

    /// Who waited looks whether there is still reason to.
    fn wake_postponed(&mut self) {
        let waiting = self.sessions.iter().filter(|(_, session)| session.postponed).map(|(key, _)| key);
        for key in waiting.collect::<Vec<usize>>() {
            let Some(session) = self.sessions.get_mut(key) else { continue };
            session.postponed = false;
            self.core.clients[key].flags.remove(ClientFlags::BLOCKED);
            self.pump(key);
        }
    }
}
