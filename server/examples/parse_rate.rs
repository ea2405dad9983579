//! Nanoseconds per command of the parser alone: `cargo run --release -p torc-server --example parse_rate`.
//!
//! Prints the best of many rounds for some typical pipelines, each parsed from one warm buffer.

use std::hint::black_box;
use std::time::Duration;

use torc_server::resp::{Commands, ParseLimits, Parser};

const ROUNDS: usize = 50;
const PIPELINES_PER_ROUND: usize = 2000;

fn main() {
    let value = "v".repeat(32);
    let get: &[&str] = &["GET", "key:000000012345"];
    let set: &[&str] = &["SET", "key:000000012345", &value];
    let ping: &[&str] = &["PING"];
    let mget: Vec<&str> = std::iter::once("MGET").chain([get[1]; 100]).collect();
    for (name, command) in [("PING", ping), ("GET", get), ("SET", set), ("MGET of 100", &mget)] {
        for depth in [1, 16, 64] {
            let pipeline = encode(command).repeat(depth);
            let best = (0..ROUNDS).map(|_| time(&pipeline, depth)).min().unwrap_or_default();
            let nanos = best.as_nanos() as f64 / (PIPELINES_PER_ROUND * depth) as f64;
            println!("{name:12} P={depth:<3} {:4} bytes  {nanos:7.1} ns/command", pipeline.len() / depth);
        }
    }
}

fn encode(command: &[&str]) -> Vec<u8> {
    let arguments = command.iter().map(|argument| format!("${}\r\n{argument}\r\n", argument.len()));
    format!("*{}\r\n{}", command.len(), arguments.collect::<String>()).into_bytes()
}

#[allow(clippy::disallowed_methods)] // measuring the machine is what this program is for
fn time(pipeline: &[u8], depth: usize) -> Duration {
    let limits = ParseLimits { max_bulk: 512 << 20, authenticated: true };
    let (mut parser, mut commands) = (Parser::default(), Commands::default());
    let start = std::time::Instant::now();
    for _ in 0..PIPELINES_PER_ROUND {
        let consumed = parser.parse(black_box(pipeline), &limits, &mut commands);
        assert_eq!(consumed, Ok(pipeline.len()));
        assert_eq!(black_box(&commands).len(), depth);
    }
    start.elapsed()
}
