//! Payloads for RESTORE: such as DUMP makes, and such as no server should take.

use crate::random::Random;

/// A string behind its type byte, in every form in which one is written, short and long.
const STRINGS: &[&[u8]] = &[
    b"\0\x05hello",
    b"\0\0",
    b"\0\x0212",
    b"\0\x03007",
    b"\0\xc0\x0c",
    b"\0\xc0\x80",
    b"\0\xc1\xd4\xfe",
    b"\0\xc2\x70\x11\x01\0",
    b"\0\x0a2147483648",
    b"\0\x40\x03abc",
    b"\0\x80\0\0\0\x03abc",
    b"\0\xc3\x09\x40\x64\x01xx\xe0\x57\0\x01xx",
    b"\0\xc3\x04\x04\x03abcd",
];

/// Cut off, of unknown form, of unknown type, and compressed bytes that come to something else. None is cut off so late that
/// version and checksum could stand in for what is missing: the reference reads on into them.
const BROKEN: &[&[u8]] = &[b"\0\x3fa", b"\0\xc4a", b"\xc8\x01a", b"\0\xc3\x02\x09\0a"];

/// Versions that all servers read.
const VERSIONS: &[u16] = &[10, 10, 10, 9, 6];

/// One payload in eight is broken in some way.
pub fn any(random: &mut Random) -> Vec<u8> {
    let whole = *random.pick(STRINGS);
    match random.below(24) {
        0 => {
            let broken = *random.pick(BROKEN);
            sealed(broken, 10)
        }
        1 => sealed(whole, 200),
        2 => {
            let mut payload = sealed(whole, 10);
            let at = random.below(payload.len());
            payload[at] ^= 1;
            payload
        }
        _ => sealed(whole, *random.pick(VERSIONS)),
    }
}

/// `body` with the version and the checksum that belong behind it.
fn sealed(body: &[u8], version: u16) -> Vec<u8> {
    let mut payload = [body, &version.to_le_bytes()].concat();
    payload.extend_from_slice(&crc64(&payload).to_le_bytes());
    payload
}

/// CRC-64/REDIS, bit by bit.
fn crc64(bytes: &[u8]) -> u64 {
    let polynomial = 0xad93_d235_94c9_35a9_u64.reverse_bits();
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u64::from(*byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { polynomial } else { 0 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_catalogue() {
        assert_eq!(crc64(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    }
}
