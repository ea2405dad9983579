//! What one core counts: per command row, and in all.

use hdrhistogram::Histogram;

/// Calls of one command row on one core.
#[derive(Clone, Debug, Default)]
pub struct CommandStats {
    pub calls: u64,
    pub micros: u64,
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

    pub fn record(&mut self, nanos: u64, tracking: bool) {
        self.calls += 1;
        self.micros += nanos / 1000;
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
}
