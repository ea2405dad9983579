//! When a table or a part of it is to be searched for expired entries. Arithmetic only.

/// Examining this many entries for nothing is not worth a rule.
const CHEAP: usize = 16;
/// One expired entry in this many examined makes a sweep worth repeating at once.
const WORTHWHILE: usize = 8;
/// Otherwise the part rests this long (ms), so that many long-lived entries are not examined over and over for
/// the sake of a few short-lived ones; those are still gone for every reader.
const REST_MS: i64 = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// Unix ms; `i64::MAX` = never.
    pub(super) at: i64,
    not_before: i64,
}

impl Due {
    pub(super) const NEVER: Due = Due { at: i64::MAX, not_before: i64::MIN };

    /// An entry of this part expires at `expire`.
    #[inline]
    pub(super) fn note(&mut self, expire: i64) -> i64 {
        self.at = self.at.min(expire.max(self.not_before));
        self.at
    }

    /// After a sweep at `now` that found `expired` among `examined` and left `earliest` as the next.
    pub(super) fn after_sweep(now: i64, examined: usize, expired: usize, earliest: i64) -> Due {
        let rests = examined > CHEAP && expired * WORTHWHILE < examined;
        let not_before = if rests { now.saturating_add(REST_MS) } else { i64::MIN };
        let at = if earliest == i64::MAX { earliest } else { earliest.max(not_before) };
        Due { at, not_before }
    }

    /// The due of two parts that become one.
    pub(super) fn join(self, other: Due) -> Due {
        Due { at: self.at.min(other.at), not_before: self.not_before.min(other.not_before) }
    }
}
