//! Requests as bytes. A request is a template in which only the digits of the key change, so that encoding one costs
//! those digits and one copy.

use crate::plan::KeyShape;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Set,
    Get,
}

impl Op {
    pub const ALL: [Self; 2] = [Self::Set, Self::Get];

    pub fn name(self) -> &'static str {
        match self {
            Self::Set => "SET",
            Self::Get => "GET",
        }
    }
}

/// Encoders of both operations for one key shape and value size.
pub struct Requests {
    set: Template,
    get: Template,
}

impl Requests {
    pub fn new(shape: &KeyShape, data_size: usize) -> Self {
        let value = "x".repeat(data_size);
        Self {
            set: Template::new(&format!("*3\r\n$3\r\nSET\r\n${}\r\n", shape.width), shape, Some(&value)),
            get: Template::new(&format!("*2\r\n$3\r\nGET\r\n${}\r\n", shape.width), shape, None),
        }
    }

    /// Appends the request for key number `key` to `out`.
    pub fn encode(&mut self, op: Op, key: u64, out: &mut Vec<u8>) {
        match op {
            Op::Set => self.set.encode(key, out),
            Op::Get => self.get.encode(key, out),
        }
    }
}

struct Template {
    bytes: Vec<u8>,
    /// Where the key's digits stand in `bytes`.
    digits: std::ops::Range<usize>,
}

impl Template {
    fn new(head: &str, shape: &KeyShape, value: Option<&str>) -> Self {
        let mut bytes = Vec::from(head);
        bytes.extend_from_slice(shape.prefix.as_bytes());
        let start = bytes.len();
        let end = start + shape.width - shape.prefix.len();
        bytes.resize(end, b'0');
        bytes.extend_from_slice(b"\r\n");
        if let Some(value) = value {
            bytes.extend_from_slice(format!("${}\r\n{value}\r\n", value.len()).as_bytes());
        }
        Self { bytes, digits: start..end }
    }

    fn encode(&mut self, key: u64, out: &mut Vec<u8>) {
        let mut rest = key;
        for digit in self.bytes[self.digits.clone()].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        debug_assert_eq!(rest, 0, "Plan::check made the width fit the last key");
        out.extend_from_slice(&self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_carry_the_key_zero_padded_and_nothing_of_the_key_before() {
        let mut requests = Requests::new(&KeyShape { prefix: "k:".into(), width: 8 }, 3);
        let mut out = Vec::new();
        requests.encode(Op::Set, 123_456, &mut out);
        requests.encode(Op::Get, 7, &mut out);
        requests.encode(Op::Set, 40, &mut out);
        let expected = "*3\r\n$3\r\nSET\r\n$8\r\nk:123456\r\n$3\r\nxxx\r\n\
                        *2\r\n$3\r\nGET\r\n$8\r\nk:000007\r\n\
                        *3\r\n$3\r\nSET\r\n$8\r\nk:000040\r\n$3\r\nxxx\r\n";
        assert_eq!(String::from_utf8(out).expect("ascii"), expected);
    }
}
