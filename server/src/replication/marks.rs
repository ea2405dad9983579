//! When the stream had come how far: what tells how old a replica's state is.

use std::collections::VecDeque;

/// Marks kept at most.
const MOST: usize = 256;

/// Ends of the stream and when they were passed, in a bounded number of marks: the further they reach back, the coarser they are.
#[derive(Debug)]
pub struct Marks {
    /// Offset up to which the stream came, and when the first byte behind the mark before came; ms.
    marks: VecDeque<(u64, u64)>,
    /// Ms between two marks.
    apart: u64,
}

impl Default for Marks {
    fn default() -> Self {
        Marks { marks: VecDeque::new(), apart: 1 }
    }
}

impl Marks {
    /// The stream ends at `end` now. Nobody will ask for anything before `oldest`.
    pub fn note(&mut self, end: u64, oldest: u64, now: u64) {
        while self.marks.front().is_some_and(|(offset, _)| *offset <= oldest) {
            self.marks.pop_front();
        }
        if self.marks.len() < MOST / 4 {
            self.apart = (self.apart / 2).max(1);
        }
        match self.marks.back_mut() {
            Some((last, _)) if *last >= end => {}
            None if oldest >= end => {}
            Some((last, since)) if now < *since + self.apart => *last = end,
            _ => self.marks.push_back((end, now)),
        }
        while self.marks.len() > MOST {
            self.thin();
        }
    }

    /// Marks that are closer together than twice as far as before become one.
    fn thin(&mut self) {
        self.apart *= 2;
        let mut thinned: VecDeque<(u64, u64)> = VecDeque::with_capacity(MOST + 1);
        for (end, since) in self.marks.drain(..) {
            match thinned.back_mut() {
                Some((last, first)) if since < *first + self.apart => *last = end,
                _ => thinned.push_back((end, since)),
            }
        }
        self.marks = thinned;
    }

    /// For how long the stream has been going on behind `offset`, ms; too long by less than two distances of marks.
    pub fn age(&self, offset: u64, now: u64) -> u64 {
        let behind = self.marks.partition_point(|(end, _)| *end <= offset);
        self.marks.get(behind).map_or(0, |(_, since)| now.saturating_sub(*since))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_age_counts_from_what_came_next() {
        let mut marks = Marks::default();
        assert_eq!(marks.age(100, 50), 0);
        marks.note(100, 100, 1000);
        assert_eq!(marks.age(100, 9000), 0, "nothing has come behind it");
        marks.note(150, 100, 9000);
        marks.note(150, 100, 9500);
        marks.note(200, 100, 9600);
        assert_eq!((marks.age(100, 9700), marks.age(149, 9700), marks.age(150, 9700)), (700, 700, 100));
        assert_eq!(marks.age(200, 9700), 0);
        marks.note(200, 200, 9800);
        assert_eq!(marks.marks.len(), 0, "nobody is behind");
    }

    proptest! {
        #[test]
        fn marks_are_bounded_and_ages_hardly_too_long(
            steps in proptest::collection::vec((0..50_u64, 0..20_u64), 0..3000), lag in 0..3000_u64,
        ) {
            let (mut marks, mut all, mut end, mut now) = (Marks::default(), Vec::new(), 0, 0);
            let mut apart = 1;
            for (bytes, ms) in steps {
                (end, now) = (end + bytes, now + ms);
                all.push((end, now));
                marks.note(end, 0, now);
                prop_assert!(marks.marks.len() <= MOST);
                apart = apart.max(marks.apart);
            }
            let offset = end.saturating_sub(lag);
            let since = all.iter().find(|(end, _)| *end > offset).map_or(now, |(_, at)| *at);
            let age = marks.age(offset, now);
            prop_assert!(age >= now - since && age < now - since + 2 * apart, "{age}, {}", now - since);
        }
    }
}
