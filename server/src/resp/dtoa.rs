//! Doubles to decimal digits: Grisu2 (Florian Loitsch, "Printing Floating-Point Numbers Quickly and
//! Accurately with Integers", PLDI 2010).
//!
//! Not the standard library's algorithm on purpose. Grisu2 always reads back as the same value but for about
//! one double in a thousand it is not the shortest or not the closest text, and the reference server
//! prints exactly what Grisu2 prints. Pure arithmetic: knows no protocol.

/// A binary floating point number with a 64-bit significand: `significand * 2^exponent`.
#[derive(Clone, Copy)]
struct Wide {
    significand: u64,
    exponent: i32,
}

impl Wide {
    /// The same value with the significand's top bit set.
    fn normalized(self) -> Wide {
        let shift = self.significand.leading_zeros();
        Wide { significand: self.significand << shift, exponent: self.exponent - shift as i32 }
    }

    /// The product's upper half, rounded.
    fn times(self, other: Wide) -> Wide {
        let product = u128::from(self.significand) * u128::from(other.significand);
        Wide {
            significand: ((product + (1 << 63)) >> 64) as u64,
            exponent: self.exponent + other.exponent + 64,
        }
    }
}

/// Text of any double, see [`super::format_f64`].
pub(super) fn shortest(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    const WHOLE: f64 = (1u64 << 62) as f64;
    if value.abs() <= WHOLE && value.trunc() == value {
        return (value as i64).to_string();
    }
    let mut digits = [0; 20];
    let (len, exponent) = grisu2(value.abs(), &mut digits);
    layout(value < 0.0, &digits[..len], exponent)
}

/// Places `digits * 10^exponent` as the reference server does.
fn layout(negative: bool, digits: &[u8], exponent: i32) -> String {
    let text = str::from_utf8(digits).expect("decimal digits are ASCII");
    let count = digits.len() as i32;
    let magnitude = exponent + count - 1;
    let sign = if negative { "-" } else { "" };
    if (0..8).contains(&exponent) {
        return format!("{sign}{text}{:0<1$}", "", exponent as usize);
    }
    if exponent < 0 && (exponent > -7 || magnitude.abs() < 4) {
        return match count + exponent {
            whole if whole > 0 => format!("{sign}{}.{}", &text[..whole as usize], &text[whole as usize..]),
            whole => format!("{sign}0.{:0<1$}{text}", "", whole.unsigned_abs() as usize),
        };
    }
    let direction = if magnitude < 0 { '-' } else { '+' };
    let (head, tail) = text.split_at(1);
    let dot = if tail.is_empty() { "" } else { "." };
    format!("{sign}{head}{dot}{tail}e{direction}{}", magnitude.abs())
}

/// Digits of a positive finite `value` and the power of ten of the last one.
fn grisu2(value: f64, digits: &mut [u8; 20]) -> (usize, i32) {
    const HIDDEN: u64 = 1 << 52;
    let bits = value.to_bits();
    let fraction = bits & (HIDDEN - 1);
    let exact = match (bits >> 52) as i32 {
        0 => Wide { significand: fraction, exponent: -1074 },
        biased => Wide { significand: fraction | HIDDEN, exponent: biased - 1075 },
    };
    // The neighbours' halfway points: every text strictly between them reads back as `value`.
    let upper = Wide { significand: (exact.significand << 1) + 1, exponent: exact.exponent - 1 }.normalized();
    let closer = if exact.significand == HIDDEN { 2 } else { 1 };
    let lower = Wide { significand: (exact.significand << closer) - 1, exponent: exact.exponent - closer };
    let lower = Wide {
        significand: lower.significand << (lower.exponent - upper.exponent),
        exponent: upper.exponent,
    };
    let (power, scale) = power_of_ten(upper.exponent);
    let target = exact.normalized().times(power);
    let mut upper = upper.times(power);
    let mut lower = lower.times(power);
    // The products may be off by one unit: stay inside.
    lower.significand += 1;
    upper.significand -= 1;
    let (len, shift) = digits_between(target, upper, lower, digits);
    (len, shift - scale)
}

/// The shortest digits in `lower..=upper`, then moved towards `target`. The exponents are equal and in
/// -60..=-32. Returns the count and how many powers of ten the last digit stands above 1.
fn digits_between(target: Wide, upper: Wide, lower: Wide, digits: &mut [u8; 20]) -> (usize, i32) {
    let from_upper = upper.significand - target.significand;
    let mut range = upper.significand - lower.significand;
    let point = (-upper.exponent) as u32;
    let one = 1u64 << point;
    let mut whole = upper.significand >> point;
    let mut fraction = upper.significand & (one - 1);
    let mut len = 0;
    for power in (0..10).rev() {
        let unit = 10u64.pow(power);
        let digit = whole / unit;
        whole %= unit;
        if digit != 0 || len != 0 {
            digits[len] = b'0' + digit as u8;
            len += 1;
        }
        let rest = (whole << point) + fraction;
        if rest <= range {
            approach(&mut digits[len - 1], range, rest, unit << point, from_upper);
            return (len, power as i32);
        }
    }
    let mut scale = 1u64;
    let mut power = 0;
    loop {
        fraction *= 10;
        range = range.wrapping_mul(10);
        scale = scale.wrapping_mul(10);
        power -= 1;
        let digit = fraction >> point;
        fraction &= one - 1;
        if digit != 0 || len != 0 {
            digits[len] = b'0' + digit as u8;
            len += 1;
        }
        if fraction < range {
            approach(&mut digits[len - 1], range, fraction, one, from_upper.wrapping_mul(scale));
            return (len, power);
        }
    }
}

/// Lowers the last digit while that brings the text closer to the target and keeps it in range. `rest` is
/// how far the text is below the upper bound, `unit` what one step of the last digit is worth.
fn approach(last: &mut u8, range: u64, mut rest: u64, unit: u64, from_upper: u64) {
    while rest < from_upper
        && range - rest >= unit
        && (rest + unit < from_upper || from_upper - rest > rest + unit - from_upper)
    {
        *last -= 1;
        rest += unit;
    }
}

/// A power of ten that brings `exponent` into -60..=-32 when multiplied with, and which power that is.
fn power_of_ten(exponent: i32) -> (Wide, i32) {
    // log10(2) = 0.30103; the first guess is at most two rows off.
    let guess = (-(i64::from(exponent) + 87) * 30103 / 100_000 + 348) / 8;
    let mut row = guess.clamp(0, POWERS.len() as i64 - 1) as usize;
    loop {
        let scale = row as i32 * 8 - 348;
        // floor(scale * log2(10)) - 63, exact for every row.
        let power = Wide { significand: POWERS[row], exponent: ((scale * 217_706) >> 16) - 63 };
        match exponent + power.exponent + 64 {
            ..-60 => row += 1,
            -31.. => row -= 1,
            _ => return (power, scale),
        }
    }
}

/// Significands of 10^-348, 10^-340 … 10^340, rounded to 64 bits.
const POWERS: [u64; 87] = [
    0xfa8fd5a0081c0288,
    0xbaaee17fa23ebf76,
    0x8b16fb203055ac76,
    0xcf42894a5dce35ea,
    0x9a6bb0aa55653b2d,
    0xe61acf033d1a45df,
    0xab70fe17c79ac6ca,
    0xff77b1fcbebcdc4f,
    0xbe5691ef416bd60c,
    0x8dd01fad907ffc3c,
    0xd3515c2831559a83,
    0x9d71ac8fada6c9b5,
    0xea9c227723ee8bcb,
    0xaecc49914078536d,
    0x823c12795db6ce57,
    0xc21094364dfb5637,
    0x9096ea6f3848984f,
    0xd77485cb25823ac7,
    0xa086cfcd97bf97f4,
    0xef340a98172aace5,
    0xb23867fb2a35b28e,
    0x84c8d4dfd2c63f3b,
    0xc5dd44271ad3cdba,
    0x936b9fcebb25c996,
    0xdbac6c247d62a584,
    0xa3ab66580d5fdaf6,
    0xf3e2f893dec3f126,
    0xb5b5ada8aaff80b8,
    0x87625f056c7c4a8b,
    0xc9bcff6034c13053,
    0x964e858c91ba2655,
    0xdff9772470297ebd,
    0xa6dfbd9fb8e5b88f,
    0xf8a95fcf88747d94,
    0xb94470938fa89bcf,
    0x8a08f0f8bf0f156b,
    0xcdb02555653131b6,
    0x993fe2c6d07b7fac,
    0xe45c10c42a2b3b06,
    0xaa242499697392d3,
    0xfd87b5f28300ca0e,
    0xbce5086492111aeb,
    0x8cbccc096f5088cc,
    0xd1b71758e219652c,
    0x9c40000000000000,
    0xe8d4a51000000000,
    0xad78ebc5ac620000,
    0x813f3978f8940984,
    0xc097ce7bc90715b3,
    0x8f7e32ce7bea5c70,
    0xd5d238a4abe98068,
    0x9f4f2726179a2245,
    0xed63a231d4c4fb27,
    0xb0de65388cc8ada8,
    0x83c7088e1aab65db,
    0xc45d1df942711d9a,
    0x924d692ca61be758,
    0xda01ee641a708dea,
    0xa26da3999aef774a,
    0xf209787bb47d6b85,
    0xb454e4a179dd1877,
    0x865b86925b9bc5c2,
    0xc83553c5c8965d3d,
    0x952ab45cfa97a0b3,
    0xde469fbd99a05fe3,
    0xa59bc234db398c25,
    0xf6c69a72a3989f5c,
    0xb7dcbf5354e9bece,
    0x88fcf317f22241e2,
    0xcc20ce9bd35c78a5,
    0x98165af37b2153df,
    0xe2a0b5dc971f303a,
    0xa8d9d1535ce3b396,
    0xfb9b7cd9a4a7443c,
    0xbb764c4ca7a44410,
    0x8bab8eefb6409c1a,
    0xd01fef10a657842c,
    0x9b10a4e5e9913129,
    0xe7109bfba19c0c9d,
    0xac2820d9623bf429,
    0x80444b5e7aa7cf85,
    0xbf21e44003acdd2d,
    0x8e679c2f5e44ff8f,
    0xd433179d9c8cb841,
    0x9e19db92b4e31ba9,
    0xeb96bf6ebadf77d9,
    0xaf87023b9bf0ee6b,
];
