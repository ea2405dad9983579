//! Property tests of the room: arbitrary commands survive arbitrary cuts, and the fuzz bodies hold on
//! seeded random input. `TORC_TEST_SEED` repeats a run.

use std::hash::{BuildHasher, Hasher, RandomState};

use proptest::prelude::*;

use super::fuzzing::{self, Outcome, play};
use super::{Commands, ParseLimits, Parser};
use crate::limits::{KEEP_BUFFER, MAX_INLINE};

const LIMITS: ParseLimits = ParseLimits { max_bulk: 512 << 20, authenticated: true };

/// SplitMix64: enough for choosing test input, and no dependency.
struct Random(u64);

impl Random {
    fn seeded(test: &str) -> Random {
        let seed = std::env::var("TORC_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        println!("{test}: TORC_TEST_SEED={seed}");
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

fn encode(command: &[Vec<u8>]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", command.len()).into_bytes();
    for argument in command {
        out.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        out.extend_from_slice(argument);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// Any bytes as a double-quoted inline word.
fn quote(word: &[u8]) -> Vec<u8> {
    let body: String = word.iter().map(|byte| format!("\\x{byte:02X}")).collect();
    format!("\"{body}\"").into_bytes()
}

proptest! {
    #[test]
    fn commands_survive_any_cuts(
        commands in prop::collection::vec(
            (any::<bool>(), prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..60)),
            0..100,
        ),
        mut cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let encode = |(inline, command): &(bool, Vec<Vec<u8>>)| match inline {
            false => encode(command),
            true => [command.iter().map(|word| quote(word)).collect::<Vec<_>>().join(&b' '), b"\n".to_vec()].concat(),
        };
        let stream: Vec<u8> = commands.iter().flat_map(encode).collect();
        cuts.sort_by_key(|cut| cut.index(stream.len() + 1));
        let cuts = cuts.iter().map(|cut| cut.index(stream.len() + 1));
        let expected = Outcome {
            commands: commands.into_iter().map(|(_, command)| command).collect(),
            error: None,
            consumed: stream.len(),
        };
        prop_assert_eq!(play(&stream, cuts, &LIMITS), expected);
    }

    #[test]
    fn doubles_and_integers_read_back(bits in any::<u64>(), integer in any::<i64>()) {
        fuzzing::number(&bits.to_le_bytes());
        fuzzing::number(integer.to_string().as_bytes());
    }
}

#[test]
fn parser_body_holds_on_random_streams() {
    let fragments: &[&[u8]] = &[
        b"*1\r\n",
        b"*2\r\n",
        b"*3\r\n",
        b"*0\r\n",
        b"*-1\r\n",
        b"*40\r\n",
        b"$1\r\nx\r\n",
        b"$3\r\nSET\r\n",
        b"$0\r\n\r\n",
        b"$12\r\nabcdefghijkl\r\n",
        b"$100\r\n",
        b"$101\r\n",
        b"*11\r\n",
        b"$-1\r\n",
        b"$\r\n",
        b"*\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"*",
        b"$",
        b"PING\r\n",
        b"GET \"a b\"\n",
        b"'",
        b"\"",
        b"\\x4",
        b" ",
        b"\x00",
        b"\xff",
        b"12345",
        b"-0",
        b"+1",
    ];
    let mut random = Random::seeded("parser_body_holds_on_random_streams");
    let one = [&b"*1\r\n"[..], b"$1\r\nx\r\n"].concat();
    for round in 0..60_000 {
        let mut data: Vec<u8> = random.next().to_le_bytes()[..3].to_vec();
        for _ in 0..random.below(30) {
            // Mostly whole commands, else nearly every stream would end at its first fragment.
            match random.below(4) {
                0 => data.extend_from_slice(random.pick(fragments)),
                1 => data.extend_from_slice(&one),
                2 => {
                    let argument = vec![b'v'; random.below(120)];
                    data.extend_from_slice(&encode(&vec![
                        argument;
                        1 + random.below(if round % 50 == 0 {
                            300
                        } else {
                            5
                        })
                    ]));
                }
                _ => data.extend_from_slice(&quote(&random.next().to_le_bytes()[..random.below(8)])),
            }
        }
        fuzzing::parser(&data);
    }
}

#[test]
fn glob_body_holds_on_random_patterns() {
    let mut random = Random::seeded("glob_body_holds_on_random_patterns");
    let pattern_bytes = b"aaabAB**?[]^-\\\x80";
    let text_bytes = b"aaabAB]-\\\x80";
    for _ in 0..400_000 {
        let (pattern, text) = (random.below(10), random.below(10));
        let mut data = vec![(pattern << 1) as u8 | (random.next() & 1) as u8];
        data.extend((0..pattern).map(|_| pattern_bytes[random.below(pattern_bytes.len())]));
        data.extend((0..text).map(|_| text_bytes[random.below(text_bytes.len())]));
        fuzzing::glob(&data);
    }
}

#[test]
fn number_body_holds_on_random_texts() {
    let mut random = Random::seeded("number_body_holds_on_random_texts");
    let fragments: &[&str] = &[
        "0",
        "1",
        "5",
        "9",
        "00000000",
        "99999999",
        "123456789012345678",
        ".",
        "-",
        "+",
        "e",
        "E",
        "e-4950",
        "e4932",
        "e30",
        "0x",
        "p",
        "p-16400",
        "p9",
        "f",
        "inf",
        "nan",
        " ",
        "_",
        "4294967295",
        "e99999999999999999999",
    ];
    for _ in 0..60_000 {
        let text: String = (0..random.below(8)).map(|_| random.pick(fragments)).collect();
        fuzzing::number(text.as_bytes());
        fuzzing::number(&random.next().to_le_bytes());
    }
}

#[test]
fn a_million_arguments_in_small_pieces_are_read_once() {
    const MILLION: usize = 1_000_000;
    let command = vec![b"v".to_vec(); MILLION];
    let stream = encode(&command);
    let (mut parser, mut commands) = (Parser::default(), Commands::default());
    for cut in (0..stream.len()).step_by(1000) {
        assert_eq!(parser.parse(&stream[..cut], &LIMITS, &mut commands), Ok(0));
        assert!(parser.memory() <= 1024 + 4 * cut);
    }
    assert_eq!(parser.parse(&stream, &LIMITS, &mut commands), Ok(stream.len()));
    assert_eq!(commands.argv(0, &stream).len(), MILLION);
    assert_eq!(commands.argv(0, &stream).get(MILLION - 1), b"v");
    commands.clear();
    assert!(commands.memory() <= 2 * KEEP_BUFFER);
    assert_eq!(parser.memory(), 0);
}

#[test]
fn the_longest_lines_are_the_same_however_they_are_cut() {
    for len in [MAX_INLINE - 1, MAX_INLINE, MAX_INLINE + 1] {
        for head in ["", "*", "*1\r\n$"] {
            let line = [head.as_bytes(), &b"1".repeat(len), b"\r\n"].concat();
            let whole = play(&line, std::iter::empty(), &LIMITS);
            for step in [1000, 65_521, 65_536] {
                let cut = play(&line, (0..line.len()).step_by(step), &LIMITS);
                assert_eq!(cut, whole, "{head:?} {len} {step}");
            }
        }
    }
}
