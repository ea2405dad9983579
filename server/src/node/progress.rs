//! How far the effects of each shard have come, from the merged stream to the disk; and how far a primary's stream has, from
//! the session that applies it to the shards.

use std::collections::VecDeque;

use super::mail::Logged;

/// How far a shard's effects have come.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Numbers of effects that are in the stream and where they end there; not those that are durable.
    pub consumed: VecDeque<(u64, u64)>,
    /// How many of them are in the file.
    written: usize,
    told: Logged,
}

impl Progress {
    /// The file has reached offset `written` of the stream, the disk `durable`: what that means for the shard, if it is
    /// news.
    pub fn reach(&mut self, written: u64, durable: u64) -> Option<Logged> {
        let mut news = self.told;
        while let Some((seq, _)) = self.consumed.get(self.written).filter(|(_, at)| *at <= written) {
            news.taken = *seq;
            self.written += 1;
        }
        while self.written > 0
            && let Some((seq, _)) = self.consumed.front().filter(|(_, at)| *at <= durable)
        {
            news.durable = *seq;
            self.consumed.pop_front();
            self.written -= 1;
        }
        (news != self.told).then(|| {
            self.told = news;
            news
        })
    }
}

/// Up to where all commands of a stream have ended. Their replies come in order, so a place is reached with the last one
/// of those that had begun there.
#[derive(Clone, Debug, Default)]
pub struct Settling {
    /// Bytes executed, and the number of the first reply that had not been asked for by then. No more than replies are
    /// outstanding, and one.
    marks: VecDeque<(u64, u64)>,
    settled: u64,
}

impl Settling {
    /// `bytes` have been executed, no transaction is under way, and `next` is the next reply's number.
    pub fn mark(&mut self, bytes: u64, next: u64) {
        if self.marks.back().is_none_or(|(last, _)| *last < bytes) && bytes > self.settled {
            self.marks.push_back((bytes, next));
        }
    }

    /// All replies before number `oldest` are here: how many bytes have come to an end.
    pub fn reach(&mut self, oldest: u64) -> u64 {
        while let Some((bytes, _)) = self.marks.pop_front_if(|(_, next)| *next <= oldest) {
            self.settled = bytes;
        }
        self.settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_reached_with_the_last_reply_before_it() {
        let mut settling = Settling::default();
        settling.mark(100, 3);
        assert_eq!(settling.reach(0), 0);
        settling.mark(100, 3);
        settling.mark(250, 5);
        settling.mark(300, 5);
        assert_eq!(settling.reach(2), 0);
        assert_eq!(settling.reach(4), 100);
        assert_eq!(settling.reach(5), 300);
        settling.mark(300, 5);
        assert!(settling.marks.is_empty(), "nothing new");
    }

    #[test]
    fn progress_is_told_once_and_durable_never_precedes_taken() {
        let mut progress = Progress::default();
        progress.consumed.extend([(1, 10), (2, 25), (4, 25), (5, 40)]);
        assert_eq!(progress.reach(9, 0), None);
        assert_eq!(progress.reach(25, 10), Some(Logged { taken: 4, durable: 1 }));
        assert_eq!(progress.reach(25, 10), None);
        assert_eq!(progress.reach(39, 39), Some(Logged { taken: 4, durable: 4 }));
        assert_eq!(progress.reach(40, 40), Some(Logged { taken: 5, durable: 5 }));
        assert!(progress.consumed.is_empty());
    }
}
