//! INCRBYFLOAT's arithmetic: x87 80-bit long doubles, as the reference server computes on x86-64.
//!
//! Replies and stored values must be equal to the reference's byte for byte on every machine, so the
//! 64-bit significand is computed in software. Knows decimal text only.

use rustc_apfloat::ieee::X87DoubleExtended;
use rustc_apfloat::{Float, Round};

use super::number::{BinaryFormat, Scanned, round_binary, scan};

/// Longest text read as a number, as in the reference server (its buffer is 5 KiB with a closing NUL).
const LONGEST: usize = 5 * 1024 - 1;

/// Digits printed behind the point.
const DECIMALS: usize = 17;

const X87: BinaryFormat = BinaryFormat { precision: 64, lowest: -16445, highest: 16320 };

/// Why two texts could not be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LongDoubleError {
    CurrentNotFloat,
    IncrementNotFloat,
    NanOrInfinity,
}

/// The text of `current + increment`: at most 17 decimals, never an exponent, no trailing zeros.
pub fn add(current: &[u8], increment: &[u8]) -> Result<String, LongDoubleError> {
    let current = parse(current).ok_or(LongDoubleError::CurrentNotFloat)?;
    let increment = parse(increment).ok_or(LongDoubleError::IncrementNotFloat)?;
    let sum = current.add_r(increment, Round::NearestTiesToEven).value;
    if sum.is_finite() { Ok(format(sum)) } else { Err(LongDoubleError::NanOrInfinity) }
}

/// A long double as C's `strtold` reads it; the rules are those of [`super::parse_f64`].
fn parse(text: &[u8]) -> Option<X87DoubleExtended> {
    if text.len() > LONGEST {
        return None;
    }
    let (negative, number) = scan(text)?;
    let magnitude = match number {
        Scanned::Infinity => X87DoubleExtended::INFINITY,
        Scanned::Decimal { text, zero } => {
            let value = X87DoubleExtended::from_str_r(text, Round::NearestTiesToEven).ok()?.value;
            if value.is_infinite() || (value.is_zero() && !zero) {
                return None;
            }
            value
        }
        Scanned::Hex { mantissa, exponent } => {
            let (mantissa, unit) = round_binary(mantissa, exponent, &X87)?;
            // The stored exponent; 0 for subnormal numbers, whose lowest bit has the weight that 1 means too.
            let biased = if mantissa >> 63 == 0 { 0 } else { (unit + 16446) as u128 };
            X87DoubleExtended::from_bits(biased << 64 | u128::from(mantissa))
        }
    };
    Some(if negative { -magnitude } else { magnitude })
}

/// `%.17Lf` without trailing zeros; zero has no sign.
fn format(value: X87DoubleExtended) -> String {
    let bits = value.to_bits();
    let significand = bits as u64;
    // Weight of the significand's lowest bit.
    let unit = ((bits >> 64) as i32 & 0x7fff).max(1) - 16446;
    let (mut text, fraction) = if unit >= 0 {
        (shifted_decimal(significand, unit as u32), 0)
    } else {
        let (whole, fraction) = split(significand, unit.unsigned_abs());
        (whole.to_string(), fraction)
    };
    if fraction != 0 {
        text.push_str(format!(".{fraction:0DECIMALS$}").trim_end_matches('0'));
    }
    if value.is_negative() && text != "0" {
        text.insert(0, '-');
    }
    text
}

/// `significand / 2^down` as its whole part and its fraction in units of 10^-17, rounded to nearest even.
fn split(significand: u64, down: u32) -> (u128, u128) {
    const UNITS: u128 = 10u128.pow(DECIMALS as u32);
    // significand * UNITS is below 2^121: from here on not even half a unit is left.
    if down > 122 {
        return (0, 0);
    }
    let scaled = u128::from(significand) * UNITS;
    let half = 1u128 << (down - 1);
    let rest = scaled & (half | (half - 1));
    let units = (scaled >> down) + u128::from(rest > half || (rest == half && (scaled >> down) & 1 == 1));
    (units / UNITS, units % UNITS)
}

/// The decimal digits of `significand * 2^up`.
fn shifted_decimal(significand: u64, up: u32) -> String {
    const BASE: u64 = 1_000_000_000;
    // Little endian, base 10^9.
    let mut limbs: Vec<u32> = Vec::new();
    let mut rest = significand;
    while rest > 0 {
        limbs.push((rest % BASE) as u32);
        rest /= BASE;
    }
    let mut left = up;
    while left > 0 {
        let step = left.min(32);
        let mut carry = 0;
        for limb in &mut limbs {
            let wide = (u64::from(*limb) << step) + carry;
            *limb = (wide % BASE) as u32;
            carry = wide / BASE;
        }
        while carry > 0 {
            limbs.push((carry % BASE) as u32);
            carry /= BASE;
        }
        left -= step;
    }
    let mut text = limbs.pop().unwrap_or(0).to_string();
    limbs.iter().rev().for_each(|limb| text.push_str(&format!("{limb:09}")));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Operands of our own generator, results of a live redis-server 7.0.15 on x86-64.
    const CASES: &str = include_str!("long_double_cases.txt");

    #[test]
    fn sums_are_those_of_the_reference() {
        assert!(CASES.lines().count() >= 200);
        for line in CASES.lines() {
            let mut fields = line.split(' ');
            let mut field = || fields.next().expect("three fields a line");
            let (current, increment, expected) = (field(), field(), field());
            let sum = match add(current.as_bytes(), increment.as_bytes()) {
                Ok(sum) => sum,
                Err(LongDoubleError::NanOrInfinity) => "NAN".to_owned(),
                Err(_) => "NOTFLOAT".to_owned(),
            };
            assert_eq!(sum, expected, "{line}");
        }
    }

    #[test]
    fn errors_name_the_operand() {
        assert_eq!(add(b"x", b"y"), Err(LongDoubleError::CurrentNotFloat));
        assert_eq!(add(b"1", b""), Err(LongDoubleError::IncrementNotFloat));
        assert_eq!(add(b"inf", b"-inf"), Err(LongDoubleError::NanOrInfinity));
        assert_eq!(add(&[b'0'; LONGEST], b"1"), Ok("1".to_owned()));
        assert_eq!(add(&[b'0'; LONGEST + 1], b"1"), Err(LongDoubleError::CurrentNotFloat));
    }

    #[test]
    fn the_largest_and_smallest_numbers_are_exact() {
        let huge = add(b"1.18973149535723176502e+4932", b"0").unwrap();
        assert_eq!(huge.len(), 4933);
        // (2^64 - 1) * 2^16320, by its first and last digits.
        assert!(huge.starts_with("118973149535723176502126385303097020516906332229"));
        assert!(huge.ends_with("6811989770240"));
        assert_eq!(add(huge.as_bytes(), format!("-{huge}").as_bytes()).unwrap(), "0");
        assert_eq!(add(b"0x1p-16445", b"0").unwrap(), "0");
        assert_eq!(add(b"0x1p-16446", b"0"), Err(LongDoubleError::CurrentNotFloat));
    }
}
