//! Whole units out of files cut anywhere; torn tails and damage told apart.

use proptest::prelude::*;

use super::*;

/// What came out, and how the file ended.
fn scan(bytes: &[u8], piece: usize) -> Result<(Vec<u8>, End), Damage> {
    let mut scanner = Scanner::new(0);
    let mut out = Vec::new();
    for piece in bytes.chunks(piece) {
        scanner.scan(piece, &mut out)?;
    }
    Ok((out, scanner.finish()))
}

fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    words.iter().for_each(|word| bytes.extend(format!("${}\r\n{word}\r\n", word.len()).bytes()));
    bytes
}

/// A file, and for each offset behind a unit what has come out by then.
fn sample() -> (Vec<u8>, Vec<(usize, Vec<u8>)>) {
    let note = b"#TS:1700000000\r\n";
    let mut file = note.to_vec();
    let mut out = Vec::new();
    let mut ends = vec![(0, Vec::new()), (file.len(), Vec::new())];
    let units: [&[&[&str]]; 5] = [
        &[&["SELECT", "0"]],
        &[&["SET", "k", ""]],
        &[&["multi"], &["SET", "a", "1"], &["DEL", "b"], &["EXEC"]],
        &[&["MULTI"], &["Exec"]],
        &[&["SET", "long", "0123456789\r\n0123456789"]],
    ];
    for unit in units {
        for (index, words) in unit.iter().enumerate() {
            file.extend(command(words));
            out.extend(command(words));
            if index == 1 && unit.len() > 2 {
                file.extend(note);
            }
        }
        ends.push((file.len(), out.clone()));
    }
    (file, ends)
}

#[test]
fn a_file_cut_anywhere_gives_the_whole_units_before() {
    let (file, ends) = sample();
    for cut in 0..=file.len() {
        let (good, expected) = ends.iter().rev().find(|(end, _)| *end <= cut).expect("a file begins at 0");
        for piece in [1, 7, 1000] {
            let (out, end) = scan(&file[..cut], piece).expect("a tail is no damage");
            assert_eq!(&out, expected, "cut at {cut}");
            assert_eq!(end.good, *good as u64, "cut at {cut}");
            assert_eq!(end.torn.is_some(), cut != *good, "cut at {cut}: {end:?}");
        }
    }
}

#[test]
fn zeros_to_the_end_are_a_torn_tail_and_zeros_before_anything_are_damage() {
    let (file, ends) = sample();
    for cut in 0..=file.len() {
        let (good, _) = ends.iter().rev().find(|(end, _)| *end <= cut).expect("a file begins at 0");
        let mut zeros = file[..cut].to_vec();
        zeros.resize(file.len() + 100_000, 0);
        let (_, end) = scan(&zeros, 4096).unwrap_or_else(|damage| panic!("cut at {cut}: {damage}"));
        // Zeros that happen to be an argument's missing content change nothing.
        assert_eq!(end.good, *good as u64, "cut at {cut}");
        assert!(end.torn.is_some());
        zeros.extend(command(&["SET", "a", "b"]));
        for piece in [1000, 200_000] {
            let damage = scan(&zeros, piece).expect_err("zeros before a command");
            // They begin to show behind the content of the longest argument.
            assert!((*good as u64..=cut as u64 + 22).contains(&damage.offset), "cut at {cut}: {damage}");
        }
    }
}

#[test]
fn damage_is_named_with_its_offset() {
    let long = [b"#".as_slice(), &[b'x'; 2000]].concat();
    let fine = command(&["PING"]);
    for (bytes, error) in [
        (&b"PING\r\n"[..], "offset 14: 'P' where '*' should be"),
        (b"\r\n", "offset 14: '\\r' where '*' should be"),
        (b"*0\r\n", "offset 15: a command without a name"),
        (b"*-1\r\n", "offset 15: '-' in a length"),
        (b"*\r\n", "offset 15: '\\r' in a length"),
        (b"*1x", "offset 16: 'x' in a length"),
        (b"*1\rx", "offset 17: no line ending behind a length"),
        (b"*12345678901\r\n", "offset 25: '1' in a length"),
        (b"*1\r\n+4\r\n", "offset 18: '+' where '$' should be"),
        (b"*1\r\n$4\r\nPINGx", "offset 26: no line ending behind an argument"),
        (b"*1\r\n$4\r\nPING\rx", "offset 27: no line ending behind an argument"),
        (b"*1\r\n$9999999999\r\n", "offset 18: an argument of 9999999999 bytes"),
        (b"*1\r\n$4\r\nEXEC\r\n", "offset 14: EXEC without MULTI"),
        (b"*1\r\n$5\r\nMULTI\r\n*1\r\n$5\r\nMULTI\r\n", "offset 29: MULTI within MULTI"),
        (&long, "offset 14: an annotation line without an end"),
    ] {
        for piece in [1, 5000] {
            let file = [&fine, bytes].concat();
            let damage = scan(&file, piece).expect_err("damage");
            assert_eq!(damage.to_string(), error);
        }
    }
}

#[test]
fn a_stream_has_neither_annotations_nor_zeros() {
    for (bytes, error) in [
        (&b"#TS:1700000000\r\n"[..], "offset 14: '#' where '*' should be"),
        (b"\0", "offset 14: '\\x00' where '*' should be"),
        (b"*1\r\n$4\r\nPING\0", "offset 26: no line ending behind an argument"),
    ] {
        let mut scanner = Scanner::of_stream(0, |_| Ok(()));
        let mut out = Vec::new();
        let stream = [command(&["PING"]).as_slice(), bytes].concat();
        let damage = scanner.scan(&stream, &mut out).expect_err("damage");
        assert_eq!((damage.to_string().as_str(), out), (error, command(&["PING"])));
    }
}

#[test]
fn a_claimed_length_costs_nothing() {
    let mut scanner = Scanner::new(0);
    scanner.scan(b"*2000000000\r\n$2000000000\r\nabc", &mut Vec::new()).expect("not damaged");
    assert!(scanner.buffer.capacity() < 100 && scanner.command.spans.capacity() == 0);
    assert_eq!(scanner.finish().good, 0);
}

#[test]
fn what_precedes_the_commands_counts_in_offsets() {
    assert!(begins_as_rdb(b"REDIS0011") && begins_as_rdb(b"VALKEY080") && !begins_as_rdb(b"*1\r\n$"));
    let mut scanner = Scanner::new(500);
    let mut out = Vec::new();
    assert_eq!(scanner.scan(&command(&["PING"]), &mut out), Ok(()));
    assert_eq!((scanner.good(), out), (514, command(&["PING"])));
    let damage = scanner.scan(b"x", &mut Vec::new()).expect_err("damage");
    assert_eq!(damage.offset, 514);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused_however_they_come(
        bytes in proptest::collection::vec(prop_oneof![any::<u8>(), proptest::sample::select(&b"*$\r\n0123#"[..])], 0..200),
        piece in 1..50_usize,
    ) {
        prop_assert_eq!(scan(&bytes, piece), scan(&bytes, 1000));
    }

    #[test]
    fn a_changed_byte_never_loses_what_stands_before_it(at in 0..200_usize, byte: u8) {
        let (mut file, ends) = sample();
        let at = at % file.len();
        file[at] = byte;
        let (good, expected) = ends.iter().rev().find(|(end, _)| *end <= at).expect("a file begins at 0");
        match scan(&file, 13) {
            Ok((out, end)) => {
                prop_assert!(out.starts_with(expected));
                prop_assert!(end.good >= *good as u64);
            }
            Err(damage) => prop_assert!(damage.offset >= *good as u64),
        }
    }
}
