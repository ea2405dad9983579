//! What a core does beside requests, in slices: expiry, giving memory back, time-outs, output limits.

use super::machine::Machine;
use crate::commands::Expiry;
use crate::limits;

/// What is left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upkeep {
    /// There is more of the same right now: do not sleep.
    pub more: bool,
    /// Output waits for replies of other cores: do not sleep long.
    pub partial: bool,
    /// Unix ms at which the next key expires, as far as known, or a pause ends.
    pub next_due: Option<i64>,
}

impl Machine {
    /// One slice of background work on the data; call it once per turn.
    pub fn upkeep(&mut self) -> Upkeep {
        let data = &mut self.shard.data;
        let mut more = data.keyspace.reap(limits::REAP_SLICE);
        let mut next_expiry = None;
        if data.active_expire && data.expiry == Expiry::Remove {
            more |= self.expire_slice();
            next_expiry = self.shard.data.keyspace.next_expiry();
        }
        let partial = !self.partial.is_empty() && self.flush_partial();
        let pause_ends = self.core.client_pause.map(|pause| pause.until);
        let next_due = next_expiry.into_iter().chain(pause_ends).min();
        Upkeep { more, partial, next_due }
    }

    /// Removes some keys whose time is up. Pauses while anything is locked: a transaction that holds a
    /// key must find it as it was.
    fn expire_slice(&mut self) -> bool {
        if !self.shard.is_unlocked() {
            return false;
        }
        let data = &mut self.shard.data;
        let (outbox, watches) = (&mut data.outbox, &mut data.watches);
        let hasher = &self.hasher;
        let mut expired = |db: usize, key: &[u8]| {
            watches.touch(db, &hasher.key(key));
            if outbox.is_open() {
                let argv: [&[u8]; 2] = [b"DEL", key];
                outbox.push(db, argv.len(), argv.into_iter());
            }
        };
        let budget = limits::EXPIRE_SLICE * self.core.settings.active_expire_effort as usize;
        let step = data.keyspace.expire_step(self.core.now, budget, &mut expired);
        data.expired += step.expired as u64;
        step.more
    }

    /// Looks after one slice of the sessions: idle time-outs and clients that do not read. Call it `hz`
    /// times a second; each session is seen at least once a second while there are up to `SESSION_SWEEP * hz`
    /// of them.
    pub fn sweep_sessions(&mut self) {
        let capacity = self.sessions.capacity();
        let from = if self.swept >= capacity { 0 } else { self.swept };
        let until = (from + limits::SESSION_SWEEP).min(capacity);
        self.swept = until;
        for key in from..until {
            if self.sessions.contains(key) {
                self.sweep(key);
            }
        }
    }

    fn sweep(&mut self, key: usize) {
        if self.applier == Some(key) {
            return;
        }
        let now = self.core.now;
        let limit = self.core.settings.client_output_buffer_limit.normal;
        let session = &mut self.sessions[key];
        let client = &mut self.core.clients[key];
        client.input_bytes = session.input.capacity();
        client.output_bytes = session.replies.memory();
        let unsent = session.replies.unsent();
        if unsent == 0 {
            session.output_progress = now;
        }
        let soft_ms = i64::from(limit.soft_seconds) * 1000;
        if limit.soft == 0 || (unsent as u64) < limit.soft {
            session.over_soft_limit_since = 0;
        } else if session.over_soft_limit_since == 0 {
            session.over_soft_limit_since = now;
        }
        let since = session.over_soft_limit_since;
        let stalled = now - session.output_progress > limits::OUTPUT_STALLED_MS;
        let over_hard = limit.hard > 0 && unsent as u64 >= limit.hard;
        if over_hard || since > 0 && now - since > soft_ms || unsent >= limits::OUTPUT_PAUSE && stalled {
            tracing::warn!(client = client.id, unsent, "closing a client that does not read its replies");
            self.core.stats.output_limit_disconnections += 1;
            self.core.doomed.push(key);
            return;
        }
        let timeout_ms = i64::from(self.core.settings.timeout) * 1000;
        if timeout_ms > 0 && now - client.last_active > timeout_ms && !session.is_waiting() {
            self.core.doomed.push(key);
        }
    }

    /// Disconnects at once a client whose unsent replies pass the hard limit.
    pub(super) fn bound_output(&mut self, key: usize) {
        let hard = self.core.settings.client_output_buffer_limit.normal.hard;
        let Some(session) = self.sessions.get(key) else { return };
        if hard > 0 && session.replies.unsent() as u64 >= hard {
            self.core.stats.output_limit_disconnections += 1;
            self.core.doomed.push(key);
        }
    }
}
