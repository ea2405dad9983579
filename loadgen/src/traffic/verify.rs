//! Values that prove what they are: `checksum key version filler`, the first three 8 bytes each, little-endian; the
//! checksum covers all that follows it. A value that comes back torn, mixed up or under another key does not pass.

use std::fmt::Write;

use super::random::scatter;

/// Bytes before the filler.
pub const HEADER: usize = 24;

/// Writes the header of `value`, whose filler stands already.
pub fn seal(value: &mut [u8], key: u64, version: u64) {
    value[8..16].copy_from_slice(&key.to_le_bytes());
    value[16..24].copy_from_slice(&version.to_le_bytes());
    let sum = checksum(&value[8..]);
    value[..8].copy_from_slice(&sum.to_le_bytes());
}

/// What is wrong with `value`, read as the value of key number `key`.
pub fn check(value: &[u8], key: u64) -> Result<(), String> {
    if value.len() < HEADER {
        return Err(format!("key {key}: {} bytes, too few for a verified value", value.len()));
    }
    let word = |at: usize| u64::from_le_bytes(value[at..at + 8].try_into().expect("8 bytes"));
    let (found, wanted) = (word(0), checksum(&value[8..]));
    if found != wanted {
        let mut head = String::new();
        for byte in &value[..HEADER] {
            let _ = write!(head, "{byte:02x}");
        }
        return Err(format!(
            "key {key}: wrong checksum in a value of {} bytes that begins {head}",
            value.len()
        ));
    }
    if word(8) != key {
        return Err(format!("key {key}: holds version {} of key {}", word(16), word(8)));
    }
    Ok(())
}

/// Not against malice: a change of any bits of one word always changes it, other changes all but 2^-64 of them.
fn checksum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(8);
    let mut last = [0; 8];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    let sum = words.fold(bytes.len() as u64, |sum, word| {
        scatter(sum ^ u64::from_le_bytes(word.try_into().expect("8 bytes")))
    });
    scatter(sum ^ u64::from_le_bytes(last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sealed(filler: &[u8], key: u64) -> Vec<u8> {
        let mut value = vec![0; HEADER];
        value.extend_from_slice(filler);
        seal(&mut value, key, 9);
        value
    }

    proptest! {
        #[test]
        fn any_changed_byte_and_any_other_length_is_noticed(
            filler: Vec<u8>, key: u64, at: proptest::sample::Index, change in 1_u8..,
        ) {
            let value = sealed(&filler, key);
            prop_assert_eq!(check(&value, key), Ok(()));
            let mut changed = value.clone();
            changed[at.index(value.len())] ^= change;
            prop_assert!(check(&changed, key).is_err());
            prop_assert!(check(&value[..value.len() - 1], key).is_err());
            prop_assert!(check(&[value.as_slice(), b"x"].concat(), key).is_err());
        }
    }

    #[test]
    fn a_value_of_another_key_is_named() {
        let problem = check(&sealed(b"abc", 3), 4).expect_err("another key");
        assert_eq!(problem, "key 4: holds version 9 of key 3");
    }
}
