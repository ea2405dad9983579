//! The end of the server: asked for by a signal or SHUTDOWN, called off rather than lose data, and carried out in order.

use super::*;
use crate::commands::Shutdown;

/// A stop that was asked for and has not begun.
#[derive(Debug)]
pub(super) struct Stop {
    how: Shutdown,
    /// SHUTDOWNs that hear of it only if it is called off.
    askers: Vec<Asker>,
    /// How long replicas are waited for, ms; once writes have come to stand, for this offset.
    until: u64,
    end: Option<u64>,
    /// All that is left to wait for is a last snapshot, if there is to be one, and whether it has failed.
    saving: bool,
    failed: bool,
}

impl LogCore {
    /// SHUTDOWN. One more, or one more signal, makes a stop under way more pressing.
    pub(super) fn shutdown(&mut self, how: Shutdown, asker: Option<Asker>) {
        if how.abort {
            let may = self.stop.is_some() && !self.shared.is_stopping();
            let answer = if may { Ok("OK") } else { Err("ERR No shutdown in progress.") };
            if may {
                self.call_off_stop("SHUTDOWN ABORT");
            }
            return self.answer(asker, answer);
        }
        self.shared.ask_stop();
        let now = now_ms();
        let until = now + u64::from(self.settings.shutdown_timeout) * 1000;
        let stop = self.stop.get_or_insert_with(|| {
            tracing::info!("stopping: {how:?}");
            Stop { how, askers: Vec::new(), until, end: None, saving: false, failed: false }
        });
        stop.askers.extend(asker);
        stop.how.now |= how.now;
        stop.how.force |= how.force;
        stop.how.save = how.save.or(stop.how.save);
    }

    pub(super) fn is_ending(&self) -> bool {
        self.stop.is_some()
    }

    pub(super) fn look_after_stop(&mut self) {
        match self.shared.signals() {
            0 => {}
            1 if self.stop.is_some() => {}
            1 => self.shutdown(Shutdown::default(), None),
            // Whoever says it twice means it.
            _ => self.shutdown(Shutdown { now: true, force: true, ..Shutdown::default() }, None),
        }
        let Some(stop) = &self.stop else { return };
        if self.shared.is_stopping() {
            return;
        }
        if !stop.saving && (stop.how.now || !self.awaits_replicas()) {
            self.save_last();
        }
        let Some(stop) = self.stop.as_ref().filter(|stop| stop.saving) else { return };
        if self.snapshot.is_some() || !self.queue.is_empty() {
            return;
        }
        if stop.failed && !stop.how.force {
            return self.call_off_stop("the data cannot be saved");
        }
        self.shared.stop();
        // It wakes them, and there is no cut to end.
        (0..self.shards).for_each(|shard| self.port.send(shard, Mail::EndCut(0)));
    }

    /// Replicas are to have what clients have been told is written. Whether some still lack it, and are waited for.
    fn awaits_replicas(&mut self) -> bool {
        let Some(stop) = &self.stop else { return false };
        let lag = |end: u64| self.primary.following() > self.primary.acked(end);
        if self.primary.following() == 0 {
            return false;
        }
        if now_ms() >= stop.until {
            tracing::warn!("stopping although replicas lack something");
            return false;
        }
        match stop.end {
            Some(end) => lag(end),
            None if self.is_quiet() => {
                let end = self.merger.at();
                let lags = lag(end);
                if !self.follows() {
                    // They tell at once what they would tell within a second.
                    self.emit(replicas::GETACK);
                }
                if let Some(stop) = &mut self.stop {
                    stop.end = Some(end);
                }
                lags
            }
            None => {
                self.end_failover("the server stops");
                self.pause_writes();
                true
            }
        }
    }

    /// A last snapshot, if the settings or SHUTDOWN say so, before the shards go.
    fn save_last(&mut self) {
        let Some(stop) = &mut self.stop else { return };
        stop.saving = true;
        let asked = stop.how.save;
        if self.snapshot.as_ref().is_some_and(|snapshot| snapshot.purpose == Purpose::Sync) {
            self.fail_snapshot(&std::io::Error::other("the server stops"));
        }
        self.leave_upstream("the server stops");
        let due = !self.settings.save.is_empty() && self.shared.changes() > self.saved_changes;
        if !self.is_half_loaded && asked.unwrap_or(due) {
            self.queue.push_back((Purpose::Save, None));
        }
    }

    /// A snapshot for `dbfilename` has ended.
    pub(super) fn saved(&mut self, well: bool) {
        if let Some(stop) = &mut self.stop {
            stop.failed = !well;
        }
    }

    fn call_off_stop(&mut self, why: &str) {
        let Some(stop) = self.stop.take() else { return };
        tracing::warn!("the stop is called off: {why}");
        self.shared.call_off_stop();
        if self.next_role.is_none() && self.role_cut.is_none() {
            self.resume_writes();
        }
        for asker in stop.askers {
            self.answer(Some(asker), Err("ERR Errors trying to SHUTDOWN. Check logs."));
        }
    }

    /// Whether the shards are gone, their last effects here, and all of them on the disk.
    pub(super) fn is_done(&mut self) -> bool {
        if !self.shared.all_drained() {
            return false;
        }
        self.take_mail();
        self.merge();
        let parted = self.has_parted();
        let Some(journal) = &mut self.journal else { return parted && self.operations.is_empty() };
        journal.close();
        let settled = journal.is_settled() || journal.trouble().is_some();
        settled && parted && self.operations.is_empty()
    }
}
