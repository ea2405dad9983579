//! One run by several processes, as a rule on several hosts. The leader (`run --agents`) sends every agent the whole
//! plan and which part of it is that agent's; the agents get ready, start together and measure for themselves; the
//! leader adds up their reports, histogram by histogram, as the threads of one process are added up.
//!
//! A token in a file both sides have keeps strangers out. Neither it nor the plan is encrypted: agents belong into the
//! network of the servers they load.

mod lead;
mod merge;
mod serve;
pub mod wire;

use std::{fs, path::Path};

pub use lead::lead;
pub use serve::Agent;

use crate::{
    document::{Document, Interval},
    engine, environment,
    plan::Plan,
    stats::{Outcome, Second},
    summary,
};

/// What both sides must be, since the plan and the report are only understood by their own version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What an agent is asked for by whoever carries out its part of a plan, and told.
pub struct Hooks<'a> {
    pub stop: &'a std::sync::atomic::AtomicBool,
    /// Called when everything is ready; the load begins when it returns.
    pub gate: &'a mut dyn FnMut() -> Result<(), String>,
    /// Told of every second, with the report up to then but without its series.
    pub watch: &'a mut dyn FnMut(Interval, Document),
}

/// Carries out a plan in this process.
pub type Runner<'a> = dyn Fn(&Plan, Hooks<'_>) -> Result<Document, String> + Sync + 'a;

/// Carries out `plan` with the engine.
pub fn run(plan: &Plan, hooks: Hooks<'_>, argv: Vec<String>) -> Result<Document, String> {
    let Hooks { stop, gate, watch } = hooks;
    let server = environment::server(plan).map_err(|fault| fault.to_string())?;
    let env = environment::env(plan, argv);
    let document = |outcome: &Outcome| summary::document(plan, outcome, env.clone(), server.clone());
    let mut told = |second: &Second, so_far: &Outcome| {
        let report = Document { series: Vec::new(), ..document(so_far) };
        watch(summary::interval(second), report);
    };
    let hooks = engine::Hooks { stop, gate, watch: &mut told };
    let outcome = engine::run_hooked(plan, hooks).map_err(|fault| fault.to_string())?;
    Ok(document(&outcome))
}

/// The secret that leader and agents share.
#[derive(Clone)]
pub struct Token(String);

/// Fewest characters of a token: what nobody guesses.
const TOKEN_LEAST: usize = 16;
/// Most of them, so that a hello fits what an agent reads of a stranger.
const TOKEN_MOST: usize = 1024;

impl Token {
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let token = text.trim();
        if (TOKEN_LEAST..=TOKEN_MOST).contains(&token.len()) {
            Ok(Self(token.into()))
        } else {
            Err(format!("{}: a token has {TOKEN_LEAST} to {TOKEN_MOST} characters", path.display()))
        }
    }

    /// Compares in a time that does not tell how much of `shown` is right.
    fn admits(&self, shown: &str) -> bool {
        let (own, shown) = (self.0.as_bytes(), shown.as_bytes());
        let differences = own.iter().zip(shown).fold(0, |sum, (a, b)| sum | (a ^ b));
        own.len() == shown.len() && differences == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_admits_itself_only() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("token");
        fs::write(&path, " 0123456789abcdef\n").expect("written");
        let token = Token::read(&path).expect("long enough");
        assert!(token.admits("0123456789abcdef"));
        for wrong in ["", "0123456789abcdeg", "0123456789abcde", "0123456789abcdef0"] {
            assert!(!token.admits(wrong), "{wrong}");
        }
        fs::write(&path, "short").expect("written");
        assert!(Token::read(&path).is_err_and(|problem| problem.contains("16 to 1024")));
    }
}
