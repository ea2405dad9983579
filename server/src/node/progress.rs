//! How far the effects of each shard have come, from the merged stream to the disk.

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

#[cfg(test)]
mod tests {
    use super::*;

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
