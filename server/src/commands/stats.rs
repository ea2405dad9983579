//! What one core counts: per command row, and in all.

use hdrhistogram::Histogram;

/// Calls of one command row on one core.
#[derive(Clone, Debug, Default)]
pub struct CommandStats {
    pub calls: u64,
    pub nanos: u64,
    /// Refused before they ran (arity, OOM, authentication).
    pub rejected: u64,
    /// Ran and answered with an error.
    pub failed: u64,
    /// Nanoseconds, 1 ns to 1 s; made at the first call while `latency-tracking` is on.
    pub latency: Option<Box<Histogram<u64>>>,
}

impl CommandStats {
    /// Upper bound of what the latency histogram tells apart (ns), as in the reference server.
    const LATENCY_MAX: u64 = 1_000_000_000;

    /// Whether there is anything to tell of the row.
    pub fn is_used(&self) -> bool {
        self.calls > 0 || self.rejected > 0 || self.failed > 0
    }

    pub fn record(&mut self, nanos: u64, tracking: bool) {
        self.calls += 1;
        self.nanos += nanos;
        if tracking {
            let histogram = self.latency.get_or_insert_with(|| {
                Box::new(
                    Histogram::new_with_bounds(1, Self::LATENCY_MAX, 2).expect("constant bounds are valid"),
                )
            });
            histogram.saturating_record(nanos.clamp(1, Self::LATENCY_MAX));
        }
    }
}

/// What one core counts besides its commands; CONFIG RESETSTAT makes it anew.
#[derive(Clone, Debug, Default)]
pub struct CoreStats {
    pub connections_received: u64,
    pub rejected_connections: u64,
    pub commands_processed: u64,
    pub net_input_bytes: u64,
    pub net_output_bytes: u64,
    pub error_replies: u64,
    pub output_limit_disconnections: u64,
    pub query_limit_disconnections: u64,
    /// Transactions over several shards that had to take a new ticket.
    pub transaction_retries: u64,
    /// Count of error replies by their first word.
    pub errors: std::collections::BTreeMap<String, u64>,
    pub rates: Rates,
}

/// What happened per second of late: a mean in which older seconds fade.
#[derive(Clone, Debug, Default)]
pub struct Rates {
    pub commands: f64,
    /// Bytes.
    pub net_input: f64,
    pub net_output: f64,
    /// Unix ms and totals of the last sample; a time of 0 means that there was none.
    at: i64,
    totals: [u64; 3],
}

impl CoreStats {
    /// Takes the rates anew from what was counted since the last call. Call it some times a second.
    pub fn sample(&mut self, now: i64) {
        /// Time in which a rate that has changed is told to two thirds, ms.
        const FADE: f64 = 1000.0;
        let totals = [self.commands_processed, self.net_input_bytes, self.net_output_bytes];
        let rates = &mut self.rates;
        let elapsed = (now - rates.at) as f64;
        if rates.at > 0 && elapsed > 0.0 {
            let weight = 1.0 - (-elapsed / FADE).exp();
            let sums = [&mut rates.commands, &mut rates.net_input, &mut rates.net_output];
            for ((rate, total), before) in sums.into_iter().zip(totals).zip(rates.totals) {
                let seen = total.saturating_sub(before) as f64 * 1000.0 / elapsed;
                *rate += (seen - *rate) * weight;
            }
        }
        rates.at = now;
        rates.totals = totals;
    }
}

#[cfg(test)]
mod tests {
    use super::CoreStats;

    #[test]
    fn rates_follow_what_happens() {
        let mut stats = CoreStats::default();
        stats.sample(1_000);
        for tenth in 1..=50 {
            stats.commands_processed += 100;
            stats.sample(1_000 + tenth * 100);
        }
        assert!((990.0..=1000.0).contains(&stats.rates.commands), "{}", stats.rates.commands);
        (1..=100).for_each(|tenth| stats.sample(6_000 + tenth * 100));
        assert!(stats.rates.commands < 1.0, "{}", stats.rates.commands);
    }
}
