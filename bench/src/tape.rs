//! Command tapes: the same requests, in the same pieces, in every run.

use std::{fs, path::Path};

use crate::client::push_command;

/// Keys that the requests are about, and bytes of their values.
const KEYS: u64 = 10_000;
const VALUE: usize = 16;
/// Requests of a piece that fills.
const FILL_PIPELINE: usize = 50;
const SEED: u64 = 20_261_122;

/// A kind of tape: requests of each sort in one round of them, and how many go out at once.
#[derive(Clone, Copy)]
pub struct Kind {
    pub name: &'static str,
    gets: u64,
    sets: u64,
    pub pipeline: usize,
    /// For a server that keeps an append-only file.
    pub logged: bool,
}

const fn kind(name: &'static str, gets: u64, sets: u64, pipeline: usize) -> Kind {
    Kind { name, gets, sets, pipeline, logged: false }
}

pub const KINDS: [Kind; 8] = [
    kind("SET P1", 0, 1, 1),
    kind("GET P1", 1, 0, 1),
    kind("half GET, half SET P1", 1, 1, 1),
    kind("SET P16", 0, 1, 16),
    kind("GET P16", 1, 0, 16),
    kind("half GET, half SET P16", 1, 1, 16),
    Kind { logged: true, ..kind("SET P1, appendonly", 0, 1, 1) },
    Kind { logged: true, ..kind("SET P16, appendonly", 0, 1, 16) },
];

/// Commands to send together, and how many they are.
pub struct Piece {
    pub bytes: Vec<u8>,
    pub requests: usize,
}

/// SETs every key.
pub fn fill() -> Vec<Piece> {
    pieces((0..KEYS).map(set), FILL_PIPELINE)
}

/// `requests` requests for random keys.
pub fn draw(kind: Kind, requests: usize) -> Vec<Piece> {
    let commands = (0..requests as u64).map(|nth| {
        let random = random(nth);
        let key = (random >> 32) % KEYS;
        // By the bits that did not choose the key.
        if random % (kind.gets + kind.sets) < kind.gets { get(key) } else { set(key) }
    });
    pieces(commands, kind.pipeline)
}

/// The numbers of splitmix64.
fn random(nth: u64) -> u64 {
    let word = SEED.wrapping_add((nth + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

fn name(key: u64) -> String {
    format!("key:{key:012}")
}

fn get(key: u64) -> Vec<u8> {
    let mut command = Vec::new();
    push_command(&mut command, &["GET", &name(key)]);
    command
}

fn set(key: u64) -> Vec<u8> {
    let mut command = Vec::new();
    push_command(&mut command, &["SET", &name(key), &"v".repeat(VALUE)]);
    command
}

fn pieces(commands: impl Iterator<Item = Vec<u8>>, pipeline: usize) -> Vec<Piece> {
    let commands: Vec<Vec<u8>> = commands.collect();
    commands.chunks(pipeline).map(|some| Piece { bytes: some.concat(), requests: some.len() }).collect()
}

/// Writes pieces as Torc's example `tape` reads them.
pub fn write<'a>(path: &Path, tape: impl IntoIterator<Item = &'a Piece>) -> Result<(), String> {
    let mut file = Vec::new();
    for piece in tape {
        file.extend_from_slice(&(piece.bytes.len() as u32).to_le_bytes());
        file.extend_from_slice(&piece.bytes);
    }
    fs::write(path, file).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tape_is_the_same_every_time_and_holds_what_it_says() {
        for kind in KINDS {
            let (one, two) = (draw(kind, 1600), draw(kind, 1600));
            assert!(one.iter().map(|piece| &piece.bytes).eq(two.iter().map(|piece| &piece.bytes)));
            assert_eq!(one.iter().map(|piece| piece.requests).sum::<usize>(), 1600);
            let text: Vec<u8> = one.iter().flat_map(|piece| piece.bytes.clone()).collect();
            let gets = String::from_utf8(text).expect("ASCII").matches("GET\r\n").count() as u64;
            let wanted = 1600 * kind.gets / (kind.gets + kind.sets);
            assert!(gets.abs_diff(wanted) < 100, "{gets} GETs of {wanted}: {}", kind.name);
            assert!(one.iter().all(|piece| piece.requests == kind.pipeline));
        }
    }
}
