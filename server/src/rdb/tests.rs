//! Tests of the room: what is written is read, whatever the cuts; damage is told where it is; nothing that bytes
//! say makes the reader panic. `TORC_TEST_SEED` repeats a random run.

use std::hash::{BuildHasher, Hasher, RandomState};

use proptest::prelude::*;

use super::fuzzing::{self, Owned, read};
use super::{
    Checksum, Payload, write_aux, write_end, write_entry, write_header, write_payload, write_resize,
    write_select, written_len,
};
use crate::keyspace::{Usage, Value, ValueRef};
use crate::limits::COMPRESS_MAX;

fn str(bytes: &[u8]) -> ValueRef<'_> {
    ValueRef::Str(bytes)
}

/// A header of any version and what follows, without an end.
fn body(header: &str, rest: &[u8]) -> Vec<u8> {
    [header.as_bytes(), rest].concat()
}

/// What is wrong with a file, and the items before.
fn damage(file: &[u8]) -> (String, usize) {
    let outcome = read(file, std::iter::empty());
    (outcome.damage.map(|damage| damage.to_string()).unwrap_or_default(), outcome.items.len())
}

fn entry(key: &[u8], value: Value) -> Owned {
    Owned::Entry { key: key.to_vec(), value: Ok(value), expire: None, usage: None }
}

#[test]
fn a_file_is_framed_as_documented() {
    let mut file = Vec::new();
    write_header(&mut file);
    write_aux(&mut file, b"redis-ver", b"7.2.0");
    write_aux(&mut file, b"redis-bits", b"64");
    write_select(&mut file, 3);
    write_resize(&mut file, 2, 1);
    write_entry(&mut file, b"key", ValueRef::Int(-300), Some(0x0102_0304_0506), true);
    write_entry(&mut file, b"12", str(&[b'x'; 100]), None, true);
    let written = b"REDIS0010\xfa\x09redis-ver\x057.2.0\xfa\x0aredis-bits\xc0\x40\xfe\x03\xfb\x02\x01\
        \xfc\x06\x05\x04\x03\x02\x01\0\0\0\x03key\xc1\xd4\xfe\
        \0\xc0\x0c\xc3\x09\x40\x64\x01xx\xe0\x57\0\x01xx";
    assert_eq!(file.escape_ascii().to_string(), written.escape_ascii().to_string());
    let mut checksum = Checksum::default();
    file.chunks(7).for_each(|bytes| checksum.update(bytes));
    write_end(&mut file, Some(checksum));
    let outcome = read(&file, std::iter::empty());
    assert_eq!(outcome.damage, None);
    assert_eq!(outcome.used, file.len());
    let expected = [
        Owned::Aux(b"redis-ver".to_vec(), b"7.2.0".to_vec()),
        Owned::Aux(b"redis-bits".to_vec(), b"64".to_vec()),
        Owned::Select(3),
        Owned::Resize(2, 1),
        Owned::Entry {
            key: b"key".to_vec(),
            value: Ok(Value::Int(-300)),
            expire: Some(0x0102_0304_0506),
            usage: None,
        },
        entry(b"12", Value::Str { bytes: vec![b'x'; 100], raw: false }),
        Owned::End,
    ];
    assert_eq!(outcome.items, expected);
}

#[test]
fn the_checksum_is_that_of_redis() {
    assert_eq!(Checksum::of(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    let mut file = Vec::new();
    write_header(&mut file);
    write_select(&mut file, 1);
    let unchecked = {
        let mut file = file.clone();
        write_end(&mut file, None);
        file
    };
    assert_eq!(read(&unchecked, std::iter::empty()).items, [Owned::Select(1), Owned::End]);
    let mut wrong = unchecked;
    *wrong.last_mut().expect("the file is not empty") = 1;
    let (text, items) = damage(&wrong);
    assert!(text.starts_with("offset 12: checksum 0100000000000000 where the bytes before have "), "{text}");
    assert_eq!(items, 1);
}

#[test]
fn what_stands_before_an_entry_belongs_to_it() {
    let file = body(
        "REDIS0009",
        b"\xfd\x0a\0\0\0\0\x01a\x01b\xf8\x40\x64\0\x01a\x01c\xf9\x07\0\x01b\xc0\x05\0\x01d\x01e",
    );
    let outcome = read(&file, std::iter::empty());
    let entry = |key: &[u8], value: &[u8], expire, usage| Owned::Entry {
        key: key.to_vec(),
        value: Ok(Value::string(value.to_vec())),
        expire,
        usage,
    };
    let expected = [
        entry(b"a", b"b", Some(10_000), None),
        entry(b"a", b"c", None, Some(Usage::Idle(100))),
        entry(b"b", b"5", None, Some(Usage::Frequency(7))),
        entry(b"d", b"e", None, None),
    ];
    assert_eq!(outcome.items, expected);
}

#[test]
fn what_is_of_no_use_here_is_passed_over() {
    let module =
        b"\xf7\x81\x01\x02\x03\x04\x05\x06\x07\x08\x02\x02\x01\x40\x01\x03abcd\x04abcdefgh\x05\x02hi\0";
    let rest = [b"\xf5\x03lib\xf4\x01\x02\x03".as_slice(), module, b"\xfe\x05"].concat();
    let outcome = read(&body("REDIS0012", &rest), std::iter::empty());
    let expected = [
        Owned::Skipped("a library of functions", 9),
        Owned::Skipped("data of a module", 18),
        Owned::Select(5),
    ];
    assert_eq!(outcome.items, expected);
    let (text, _) = damage(&body("REDIS0012", b"\xf7\x01\x07\x01"));
    assert_eq!(text, "offset 11: module value of unknown kind 7");
}

#[test]
fn damage_is_told_with_its_place() {
    let cases: &[(&str, &[u8], &str)] = &[
        ("RUBBISH42", b"", "offset 0: no RDB file begins with \"RUBBISH42\""),
        ("REDIS001x", b"", "offset 0: no RDB file begins with \"REDIS001x\""),
        ("REDIS0005", b"", "offset 0: RDB version 5 is not supported"),
        ("REDIS0013", b"", "offset 0: RDB version 13 is not supported"),
        ("VALKEY081", b"", "offset 0: RDB version 81 is not supported"),
        ("REDIS0010", b"", "offset 9: the file ends within an item"),
        ("REDIS0010", b"\xfe\x01", "offset 11: the file ends before its end is written"),
        ("REDIS0010", b"\0\x01a\x09abc", "offset 16: the file ends within an item"),
        ("REDIS0010", b"\xfe\x01\xc8", "offset 11: unknown type or opcode 200 in RDB version 10"),
        ("REDIS0010", b"\0\x83", "offset 10: no length begins with 0x83"),
        ("REDIS0010", b"\0\xc5", "offset 10: string of unknown kind 5"),
        ("REDIS0010", b"\xfe\xc0", "offset 10: string of kind 0 where a length belongs"),
        ("REDIS0010", b"\0\xc3\x01\x09a\x01v", "offset 10: 1 compressed bytes that do not come to 9"),
    ];
    for (header, rest, expected) in cases {
        assert_eq!(damage(&body(header, rest)).0, *expected);
    }
    let strings: &[(&[u8], &str)] = &[
        (b"\x3fabc", "offset 0: string of 63 bytes where 3 are left"),
        (b"\x01ab", "offset 2: 1 bytes behind the end of the value"),
        (b"\xc1a", "offset 0: string cut off"),
        (b"", "offset 0: string cut off"),
    ];
    let string = super::codec::find(0, 10).expect("strings have a row");
    for (bytes, expected) in strings {
        let damage = super::decode(string, bytes).expect_err("the value is damaged");
        assert_eq!(damage.to_string(), *expected);
    }
}

#[test]
fn a_value_that_does_not_decode_is_told_with_its_key() {
    let file = body("REDIS0010", b"\xfe\x01\x04\x04k\"ey\x01\x01f\x01v\0\x01s\xc3\x02\x05\x20\x09");
    let outcome = read(&file, std::iter::empty());
    let told: Vec<String> = outcome
        .items
        .iter()
        .filter_map(|item| match item {
            Owned::Entry { value: Err(damage), .. } => Some(damage.to_string()),
            _ => None,
        })
        .collect();
    let expected = [
        "offset 17: key \"k\\\"ey\": hash (type 4) is not supported",
        "offset 25: key \"s\": 2 compressed bytes that do not come to 5",
    ];
    assert_eq!(told, expected);
    assert_eq!(outcome.used, file.len());
}

#[test]
fn every_length_is_written_as_it_is_read() {
    for len in [0, 1, 63, 64, 100, 16383, 16384, 70_000, COMPRESS_MAX, COMPRESS_MAX + 1] {
        for seed in 0..2u8 {
            // All alike, and so mixed that nothing compresses.
            let mix = |index: usize| (index.wrapping_mul(0x9e37_79b1) >> 11) as u8;
            let bytes: Vec<u8> = (0..len).map(|index| b'a' ^ (seed * mix(index))).collect();
            fuzzing::rewritten(&bytes, &Value::string(bytes.clone()), None);
            let (plain, packed) = (written_len(str(&bytes), false), written_len(str(&bytes), true));
            assert!(packed <= plain && plain <= len + 5);
        }
    }
    for value in [0, -1, 127, -128, 128, -129, 32767, -32768, 32768, 1 << 31, -(1 << 31), i64::MIN, i64::MAX]
    {
        fuzzing::rewritten(b"key", &Value::Int(value), Some(value));
        assert_eq!(
            written_len(ValueRef::Int(value), true),
            written_len(str(value.to_string().as_bytes()), true)
        );
    }
    for odd in ["-0", "007", "+1", "12a", "", "2147483648", "-2147483649", "99999999999"] {
        fuzzing::rewritten(odd.as_bytes(), &Value::string(odd.as_bytes().to_vec()), None);
    }
}

#[test]
fn a_promise_of_bytes_takes_no_memory() {
    // Strings and counts of 2^60, and a compressed string that would come to as much.
    let huge = b"\x81\x10\0\0\0\0\0\0\0";
    for head in [&b"\0"[..], b"\0\x01k", b"\x04\x01k", b"\x04\x01k\x02", b"\0\x01k\xc3", b"\xfa"] {
        let (text, items) = damage(&body("REDIS0010", &[head, huge, b"abc"].concat()));
        assert!(text.ends_with("the file ends within an item"), "{text}");
        assert_eq!(items, 0);
    }
    let packed = [&b"\0\x01k\xc3\x03"[..], huge, b"\xe0\xff\0"].concat();
    let outcome = read(&body("REDIS0010", &packed), std::iter::empty());
    let Some(Owned::Entry { value: Err(damage), .. }) = outcome.items.first() else {
        panic!("the entry is framed: {outcome:?}")
    };
    assert_eq!(damage.what, "key \"k\": 3 compressed bytes that do not come to 1152921504606846976");
}

fn value() -> impl Strategy<Value = Value> {
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..80),
        prop::collection::vec(0u8..3, 0..400),
        any::<i64>().prop_map(|value| value.to_string().into_bytes()),
        any::<i16>().prop_map(|value| value.to_string().into_bytes()),
    ];
    bytes.prop_map(Value::string)
}

proptest! {
    #[test]
    fn entries_survive_any_cuts(
        entries in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..30), value(), any::<Option<i64>>()), 0..20),
        cuts in prop::collection::vec(0usize..4000, 0..20),
        compress in any::<bool>(),
    ) {
        let mut file = Vec::new();
        write_header(&mut file);
        for (key, value, expire) in &entries {
            write_entry(&mut file, key, value.view(), *expire, compress);
        }
        let mut checksum = Checksum::default();
        checksum.update(&file);
        write_end(&mut file, Some(checksum));
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(file.len())).collect();
        cuts.sort_unstable();
        let outcome = read(&file, cuts.into_iter());
        let expected: Vec<Owned> = entries
            .into_iter()
            .map(|(key, value, expire)| Owned::Entry { key, value: Ok(value), expire, usage: None })
            .chain([Owned::End])
            .collect();
        prop_assert_eq!(outcome.items, expected);
        prop_assert_eq!(outcome.damage, None);
    }

    #[test]
    fn payloads_come_back(value in value(), compress in any::<bool>()) {
        let mut out = Vec::new();
        write_payload(&mut out, value.view(), compress);
        let payload = Payload::open(&out).expect("the checksum is right");
        prop_assert_eq!(payload.version, super::VERSION);
        prop_assert_eq!(payload.decode(), Ok(value));
        for bit in [0, 9, out.len() * 8 - 1] {
            let mut wrong = out.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Payload::open(&wrong).is_none());
        }
    }
}

/// SplitMix64: enough for choosing test input, and no dependency.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// One item of each kind and each type, well formed, though what a listpack holds is not.
fn specimens() -> Vec<Vec<u8>> {
    let mut specimens: Vec<Vec<u8>> = [
        &b"\xfa\x03abc\xc2\x01\x02\x03\x04"[..],
        b"\xfe\x01\xfb\x02\x03",
        b"\xf5\x03lib\xf4\x01\x02\x03",
        b"\xf7\x05\x02\x02\x01\x05\x02hi\0",
        b"\xfc\x01\x02\x03\x04\x05\x06\x07\x08\xf9\x07\0\x01k\xc3\x09\x40\x64\x01xx\xe0\x57\0\x01xx",
        b"\xff\0\0\0\0\0\0\0\0",
        b"\xfd\x01\x02\x03\x04\xf8\x41\x02\0\x01k\x05value",
    ]
    .map(<[u8]>::to_vec)
    .into();
    // Small numbers are lengths, counts and text alike: enough of them satisfy any shape.
    specimens.extend(super::codec::every().map(|codec| [&[codec.kind, 1, b'k'][..], &[1; 90]].concat()));
    specimens
}

fn mutated(random: &mut Random, specimens: &[Vec<u8>]) -> Vec<u8> {
    const TELLING: &[u8] = &[0, 1, 2, 7, 0x20, 0x3f, 0x40, 0x7f, 0x80, 0x81, 0xc0, 0xc3, 0xe0, 0xfd, 0xff];
    let header = [&b"REDIS0010"[..], b"REDIS0012", b"VALKEY080", b"REDIS0006"][random.below(4)];
    let mut file = header.to_vec();
    for _ in 0..1 + random.below(4) {
        file.extend_from_slice(&specimens[random.below(specimens.len())]);
    }
    for _ in 0..random.below(6) {
        let at = random.below(file.len());
        match random.below(4) {
            0 => file[at] = random.next() as u8,
            1 => file[at] = TELLING[random.below(TELLING.len())],
            2 => drop(file.remove(at)),
            _ => file.insert(at, TELLING[random.below(TELLING.len())]),
        }
    }
    file
}

#[test]
fn mutated_files_and_payloads_do_no_harm() {
    let given = std::env::var("TORC_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| RandomState::new().build_hasher().finish());
    println!("mutated_files_and_payloads_do_no_harm: TORC_TEST_SEED={seed}");
    let mut random = Random(seed);
    let specimens = specimens();
    for _ in 0..30_000 {
        let file = mutated(&mut random, &specimens);
        fuzzing::file(&[&[random.below(12) as u8], &file[..]].concat());
        fuzzing::payload(&file[9.min(file.len())..]);
    }
}
