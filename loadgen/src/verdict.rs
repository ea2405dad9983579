use crate::document::Document;

/// Lateness of the loop that is never held against a run, ns.
const LAG_ALLOWED_NS: u64 = 50_000;

/// Beyond it, lateness of the loop is held against a run if it is more than this part of the response p99.
const LAG_SHARE: u64 = 10;

/// Share of a CPU beyond which a thread of the generator is itself the bottleneck.
pub const CPU_ALLOWED: f64 = 0.85;

/// `p99=1ms`: this quantile of every command's response time must not be above it.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// As it was given.
    pub text: String,
    /// 0 to 1.
    pub quantile: f64,
    pub limit_ns: u64,
}

/// Whether the generator itself did not keep up in the run that `document` tells of.
pub fn loader_fault(document: &Document) -> Result<bool, String> {
    let lag = document.lag.histogram()?.value_at_quantile(0.99);
    let allowed = (document.response()?.value_at_quantile(0.99) / LAG_SHARE).max(LAG_ALLOWED_NS);
    Ok(lag > allowed || document.loader_cpu > CPU_ALLOWED)
}
