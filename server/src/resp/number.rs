//! Numbers as clients write them and as replies print them.
//!
//! Knows the reference server's rules for what a number is; long doubles live next door.

use super::dtoa;

/// A strict decimal `i64`: an optional `-`, digits without leading zeros, nothing else. `-0` and `+1` are refused.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] => return (!negative).then_some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    let mut magnitude: u64 = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // 19 digits stay below 10^19, which fits in 64 bits.
        magnitude = magnitude * 10 + u64::from(digit);
    }
    if negative {
        (magnitude <= i64::MIN.unsigned_abs()).then(|| (magnitude as i64).wrapping_neg())
    } else {
        i64::try_from(magnitude).ok()
    }
}

/// A double as C's `strtod` reads it, all of `text` and no leading space: decimal, hexadecimal, `inf`,
/// `infinity`. Refused: nan, what overflows to infinity, what is not zero but rounds to zero.
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    let (negative, number) = scan(text)?;
    let magnitude = match number {
        Scanned::Infinity => f64::INFINITY,
        Scanned::Decimal { text, zero } => {
            let value: f64 = text.parse().ok()?;
            if value.is_infinite() || (value == 0.0 && !zero) {
                return None;
            }
            value
        }
        Scanned::Hex { mantissa, exponent } => {
            let (mantissa, exponent) = round_binary(mantissa, exponent, &F64)?;
            let subnormal = mantissa < 1 << 52;
            let biased = if subnormal { 0 } else { (exponent + 1075) as u64 };
            f64::from_bits(biased << 52 | mantissa & ((1 << 52) - 1))
        }
    };
    Some(if negative { -magnitude } else { magnitude })
}

/// A double as replies print it: the shortest digits that read back as the same value; integers in full
/// up to 2^62, exponents (`1e+20`) only where the digits would be mostly zeros; `inf`, `-inf`, `nan`.
pub fn format_f64(value: f64) -> String {
    dtoa::shortest(value)
}

/// A number's syntax, its sign taken off.
pub(super) enum Scanned<'a> {
    Infinity,
    /// Digits with at most one dot and an optional whole exponent; `zero` if every digit before the exponent is 0.
    Decimal {
        text: &'a str,
        zero: bool,
    },
    /// `mantissa * 2^exponent`. The lowest bit of a mantissa of over 124 bits also stands for all that is below it.
    Hex {
        mantissa: u128,
        exponent: i64,
    },
}

/// Reads what `strtod` accepts, nan excepted, and no leading space.
pub(super) fn scan(text: &[u8]) -> Option<(bool, Scanned<'_>)> {
    let (negative, rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let number = match rest {
        [b'0', b'x' | b'X', digits @ ..] => scan_hex(digits)?,
        _ if rest.eq_ignore_ascii_case(b"inf") || rest.eq_ignore_ascii_case(b"infinity") => Scanned::Infinity,
        _ => scan_decimal(rest)?,
    };
    Some((negative, number))
}

fn scan_decimal(text: &[u8]) -> Option<Scanned<'_>> {
    let mut digits = 0;
    let mut zero = true;
    let mut dots = 0;
    let mut end = text.len();
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                digits += 1;
                zero &= *byte == b'0';
            }
            b'.' if dots == 0 => dots = 1,
            b'e' | b'E' => {
                end = at;
                break;
            }
            _ => return None,
        }
    }
    if digits == 0 || (end < text.len() && exponent(&text[end + 1..]).is_none()) {
        return None;
    }
    Some(Scanned::Decimal { text: str::from_utf8(text).ok()?, zero })
}

fn scan_hex(text: &[u8]) -> Option<Scanned<'_>> {
    let (mut mantissa, mut scale) = (0u128, 0i64);
    let (mut digits, mut dots) = (0usize, 0);
    let mut end = text.len();
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'.' if dots == 0 => dots = 1,
            b'p' | b'P' => {
                end = at;
                break;
            }
            _ => {
                let digit = u128::from((*byte as char).to_digit(16)?);
                digits += 1;
                if mantissa >> 124 == 0 {
                    mantissa = mantissa << 4 | digit;
                    scale -= 4 * dots;
                } else {
                    mantissa |= u128::from(digit != 0);
                    scale += 4 * (1 - dots);
                }
            }
        }
    }
    if digits == 0 {
        return None;
    }
    let exponent = if end < text.len() { exponent(&text[end + 1..])? } else { 0 };
    Some(Scanned::Hex { mantissa, exponent: exponent + scale })
}

/// A whole exponent, saturating far outside every format's range but far inside `i64`.
fn exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    const FAR: i64 = 1 << 40;
    let value = digits.iter().fold(0i64, |value, digit| (value * 10 + i64::from(digit - b'0')).min(FAR));
    Some(if negative { -value } else { value })
}

/// A binary floating point format: bits of the significand, and the weights of its lowest bit in the
/// smallest and in the largest binade.
pub(super) struct BinaryFormat {
    pub(super) precision: i64,
    pub(super) lowest: i64,
    pub(super) highest: i64,
}

const F64: BinaryFormat = BinaryFormat { precision: 53, lowest: -1074, highest: 971 };

/// Rounds `mantissa * 2^exponent` to nearest, ties to even. Returns the significand and the weight of its
/// lowest bit; None on overflow, and where something becomes zero.
pub(super) fn round_binary(mantissa: u128, exponent: i64, format: &BinaryFormat) -> Option<(u64, i64)> {
    if mantissa == 0 {
        return Some((0, format.lowest));
    }
    let zeros = i64::from(mantissa.leading_zeros());
    let (mantissa, exponent) = (mantissa << zeros, exponent - zeros);
    let unit = (exponent + 128 - format.precision).max(format.lowest);
    // At least 64: no format here is more precise than that.
    let shift = unit - exponent;
    if shift > 128 {
        return None;
    }
    let kept = mantissa.checked_shr(shift as u32).unwrap_or(0);
    let half = 1u128 << (shift - 1);
    let rest = mantissa & (half | (half - 1));
    let kept = kept + u128::from(rest > half || (rest == half && kept & 1 == 1));
    let (kept, unit) = if kept >> format.precision == 0 { (kept, unit) } else { (kept >> 1, unit + 1) };
    (kept != 0 && unit <= format.highest).then_some((kept as u64, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Doubles as bits, texts of a live Redis 8.2.3 (Valkey 9.1.2 prints the same).
    const DOUBLES: &str = include_str!("double_cases.txt");

    #[test]
    fn integers_are_strict() {
        for value in [0, 1, -1, 9, 10, i64::MAX, i64::MIN, i64::MAX - 1, i64::MIN + 1] {
            assert_eq!(parse_i64(value.to_string().as_bytes()), Some(value));
        }
        let refused = [
            "",
            "-",
            "+1",
            "-0",
            "00",
            "01",
            "-01",
            " 1",
            "1 ",
            "1a",
            "a",
            "1.0",
            "9223372036854775808",
            "-9223372036854775809",
            "99999999999999999999",
            "0x1",
            "1\0",
        ];
        for text in refused {
            assert_eq!(parse_i64(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn doubles_print_as_by_the_reference() {
        for line in DOUBLES.lines() {
            let (bits, text) = line.split_once(' ').expect("two fields a line");
            let value = f64::from_bits(u64::from_str_radix(bits, 16).expect("bits in hex"));
            assert_eq!(format_f64(value), text, "{bits}");
            assert_eq!(parse_f64(text.as_bytes()), Some(value), "{text}");
        }
        assert_eq!(format_f64(-0.0), "0");
        assert_eq!(format_f64(f64::INFINITY), "inf");
        assert_eq!(format_f64(f64::NEG_INFINITY), "-inf");
        assert_eq!(format_f64(f64::NAN), "nan");
    }

    #[test]
    fn doubles_are_read_as_by_strtod() {
        let accepted: &[(&str, f64)] = &[
            ("1", 1.0),
            ("+1", 1.0),
            ("-.5", -0.5),
            ("5.", 5.0),
            ("1e3", 1000.0),
            ("1E+3", 1000.0),
            ("INFinity", f64::INFINITY),
            ("-inf", f64::NEG_INFINITY),
            ("0e999999999999999999999", 0.0),
            ("0x10", 16.0),
            ("0X.8p1", 1.0),
            ("0x1.8P-1", 0.75),
            ("0x1.00000000000008p0", 1.0),
            ("0x1.000000000000080000000000000000000000001p0", 1.0 + f64::EPSILON),
            ("0x1.00000000000018p0", 1.0 + 2.0 * f64::EPSILON),
            ("0x1p-1074", 5e-324),
            ("0x0.fffffffffffff8p-1022", f64::MIN_POSITIVE),
            ("0x1.fffffffffffffp1023", f64::MAX),
        ];
        for (text, expected) in accepted {
            assert_eq!(parse_f64(text.as_bytes()), Some(*expected), "{text}");
        }
        let refused = [
            "",
            "-",
            "+",
            ".",
            "e1",
            "1e",
            "1e+",
            "1e1.5",
            " 1",
            "1 ",
            "nan",
            "-nan",
            "nan(1)",
            "infinit",
            "1e400",
            "1e-400",
            "0x",
            "0x.",
            "0x1p",
            "0x1p-1075",
            "0x1.fffffffffffff8p1023",
            "0x1p99999999999999999999",
            "1_0",
            "--1",
            "1f",
            "1\0",
        ];
        for text in refused {
            assert_eq!(parse_f64(text.as_bytes()), None, "{text:?}");
        }
    }
}
