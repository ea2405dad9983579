//! Removing what has expired, in slices.

use super::Keyspace;

/// What one slice of active expiry did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExpireStep {
    pub expired: usize,
    /// Entries with an expiry that were looked at.
    pub examined: usize,
    /// The budget ran out before what is due.
    pub more: bool,
}

impl Keyspace {
    /// Removes entries whose time is up at `now` (Unix ms), looking at about `budget` of those with an expiry;
    /// `expired` is told database and key of each.
    pub fn expire_step(
        &mut self,
        now: i64,
        budget: usize,
        expired: &mut dyn FnMut(usize, &[u8]),
    ) -> ExpireStep {
        let mut step = ExpireStep::default();
        for _ in 0..self.databases() {
            let db = self.expire_from;
            let (cut, graveyard) = (&mut self.cut, &mut self.graveyard);
            let left = budget.saturating_sub(step.examined);
            let sweep = self.databases[db].sweep(
                now,
                left,
                &self.hasher,
                &mut self.heap,
                &mut |entry, rank, heap| {
                    if let Some(cut) = cut {
                        cut.before_removal(db, rank, entry.view());
                    }
                    expired(db, entry.view().key());
                    graveyard.bury(entry, heap);
                },
            );
            step.expired += sweep.expired;
            step.examined += sweep.examined;
            if sweep.more {
                step.more = true;
                break;
            }
            self.expire_from = (db + 1) % self.databases();
        }
        step
    }

    /// When `expire_step` next has work at the earliest (Unix ms). A part of a table where many entries live on and
    /// few expire is swept once a second, so this can be that much later than the first time of expiry.
    pub fn next_expiry(&self) -> Option<i64> {
        self.seen().iter().filter_map(|table| table.first_due()).min()
    }

    /// Mean time to live in ms of the keys with an expiry; 0 if there are none.
    pub fn average_ttl(&self, db: usize, now: i64) -> i64 {
        let table = &self.databases[db];
        if table.volatile() == 0 {
            return 0;
        }
        let mean = table.expiries() / table.volatile() as i128 - i128::from(now);
        i64::try_from(mean.max(0)).unwrap_or(i64::MAX)
    }
}
