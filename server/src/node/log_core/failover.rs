//! Changing hands: writes pause, a replica of ours takes over, or we take over from our primary.

use super::following::Role;
use super::*;
use crate::commands::{FailoverPlan, FailoverState, SyncRequest};
use crate::node::mail::Newcomer;
use crate::replication::{Failover, Step};

/// Whether clients' writes wait.
#[derive(Debug, Default)]
pub(super) struct Pause {
    /// Names the pause; earlier ones concern nobody any more.
    number: u64,
    /// Cores from which a write that had begun before may be under way; none: there is no pause.
    left: Option<usize>,
}

impl LogCore {
    /// FAILOVER.
    pub(super) fn begin_failover(&mut self, plan: FailoverPlan) -> Result<&'static str, &'static str> {
        if self.failover.is_some() {
            return Err(FailoverPlan::UNDER_WAY);
        }
        if self.follows() || self.next_role.is_some() {
            return Err(FailoverPlan::NOT_HERE);
        }
        let failover = Failover::begin(plan, &self.primary, now_ms())?;
        tracing::info!("a failover begins: {failover:?}");
        self.failover = Some(failover);
        self.pause_writes();
        Ok("OK")
    }

    /// FAILOVER ABORT.
    pub(super) fn abort_failover(&mut self) -> Result<&'static str, &'static str> {
        if self.failover.is_none() {
            return Err(FailoverPlan::NOT_UNDER_WAY);
        }
        self.end_failover("somebody said so");
        Ok("OK")
    }

    /// It comes to nothing: this server is the primary.
    pub(super) fn end_failover(&mut self, why: &str) {
        let Some(failover) = self.failover.take() else { return };
        tracing::warn!("the failover ends: {why}");
        if failover.hands_over() {
            // Writes go on when it leads again.
            self.next_role = Some(Role::Lead);
        } else {
            self.resume_writes();
        }
        self.publish();
    }

    /// The replica leads, and this server follows it.
    pub(super) fn conclude_failover(&mut self) {
        if self.failover.take().is_some() {
            tracing::info!("the failover is done");
            self.resume_writes();
        }
    }

    pub(super) fn look_after_failover(&mut self) {
        let LogCore { failover, primary, merger, .. } = self;
        let Some(failover) = failover else { return };
        match failover.next(primary, merger.at(), now_ms()) {
            Some(Step::HandOver((host, port))) => {
                tracing::info!("handing over to {host}:{port}");
                self.next_role = Some(Role::Follow { host, port });
                self.publish();
            }
            Some(Step::Abort(why)) => self.end_failover(why),
            None => {}
        }
    }

    /// Whether it is time for the cut at which the stream comes to stand.
    pub(super) fn freezes(&self) -> bool {
        self.is_quiet() && self.failover.as_ref().is_some_and(Failover::is_pausing)
    }

    /// That cut has been made: what follows in the stream is our own.
    pub(super) fn frozen(&mut self) {
        if let Some(failover) = &mut self.failover {
            failover.frozen();
            // Replicas tell at once what they would tell within a second.
            self.emit(replicas::GETACK);
        }
    }

    pub(super) fn failover_state(&self) -> FailoverState {
        self.failover.as_ref().map_or(FailoverState::None, Failover::state)
    }

    /// Our primary asks this server to take over from it. What has come of its stream is applied first.
    pub(super) fn take_over(&mut self, newcomer: Newcomer) {
        let Newcomer { request: SyncRequest::TakeOver { replid, offset }, .. } = newcomer else { return };
        if !self.follows() || !self.primary.history.id.eq_ignore_ascii_case(&replid) {
            // Things changed while it was on its way. It comes again, and is told.
            return;
        }
        tracing::info!("{} asks this server to take over", newcomer.client.addr);
        self.change_role(Role::Lead, None);
        self.successions.push(Newcomer { request: SyncRequest::Partial { replid, offset }, ..newcomer });
    }

    // ---- the pause ----

    pub(super) fn pause_writes(&mut self) {
        if self.pause.left.is_none() {
            self.pause = Pause { number: self.pause.number + 1, left: Some(self.shards) };
            self.tell_pause(Some(self.pause.number));
        }
    }

    pub(super) fn resume_writes(&mut self) {
        if self.pause.left.take().is_some() {
            self.tell_pause(None);
        }
    }

    fn tell_pause(&mut self, pause: Option<u64>) {
        (0..self.shards).for_each(|shard| self.port.send(shard, Mail::Pause(pause)));
    }

    pub(super) fn quiet(&mut self, number: u64) {
        if let Some(left) = self.pause.left.as_mut().filter(|_| number == self.pause.number) {
            *left -= 1;
        }
    }

    /// Whether no write of a client is under way, nor will be.
    pub(super) fn is_quiet(&self) -> bool {
        self.pause.left == Some(0)
    }
}
