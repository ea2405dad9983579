//! Makes a failing sequence as short as it stays failing.

use std::time::Duration;

use crate::clock;

/// Removes steps while `fails` still holds of what is left: first everything behind the failure, then runs of half the
/// length, of a quarter, … down to single steps. Stops at the latest after `limit`.
pub fn shrink<T: Clone>(steps: &[T], limit: Duration, mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let start = clock::now();
    let mut best = steps.to_vec();
    let mut run = best.len().div_ceil(2);
    while run > 0 && start.elapsed() < limit {
        let mut at = best.len();
        let mut removed = false;
        while at > 0 && start.elapsed() < limit {
            let from = at.saturating_sub(run);
            let candidate: Vec<T> = best[..from].iter().chain(&best[at..]).cloned().collect();
            if !candidate.is_empty() && fails(&candidate) {
                best = candidate;
                removed = true;
            }
            at = from.min(best.len());
        }
        // Single steps once more, as long as that helps.
        run = if run == 1 && removed { 1 } else { run / 2 };
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_only_what_the_failure_needs() {
        let steps: Vec<u32> = (0..100).collect();
        let needs = |left: &[u32]| left.contains(&7) && left.contains(&63);
        assert_eq!(shrink(&steps, Duration::from_secs(5), needs), [7, 63]);
    }
}
