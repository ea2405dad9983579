//! Torc's parts by themselves, timed by criterion: `torc-bench micro`, or `cargo bench -p torc-server --bench micro`.
//! Uses the library's public interface only.

mod encodings;
mod hops;
mod one_core;
mod protocol;
mod slot_table;

use criterion::{criterion_group, criterion_main};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

criterion_group!(benches, protocol::benches, slot_table::benches, encodings::benches, hops::benches);
criterion_main!(benches);

/// One command as clients send it.
fn command(words: &[&str]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len());
    words.iter().for_each(|word| out.push_str(&format!("${}\r\n{word}\r\n", word.len())));
    out.into_bytes()
}
