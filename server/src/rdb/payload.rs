//! What DUMP gives and RESTORE takes: a value behind its type, the RDB version, and a CRC64 of all that.

use super::{Checksum, Damage, VERSION, codec, decode, is_known, write};
use crate::keyspace::{Value, ValueRef};

/// Version and checksum.
const FOOTER: usize = 2 + 8;

/// Appends the payload of a value.
pub fn write_payload(out: &mut Vec<u8>, value: ValueRef<'_>, compress: bool) {
    let start = out.len();
    out.push(write::kind(value));
    write::write_value(out, value, compress);
    out.extend_from_slice(&VERSION.to_le_bytes());
    let checksum = Checksum::of(&out[start..]);
    out.extend_from_slice(&checksum.to_le_bytes());
}

/// A payload whose version and checksum are right.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    pub version: u16,
    body: &'a [u8],
}

impl<'a> Payload<'a> {
    /// `None` if the version is not one that is read or the checksum is another.
    pub fn open(bytes: &'a [u8]) -> Option<Self> {
        let (checked, checksum) = bytes.split_last_chunk()?;
        let (body, version) = checked.split_last_chunk()?;
        debug_assert_eq!(body.len() + FOOTER, bytes.len());
        let version = u16::from_le_bytes(*version);
        (is_known(version) && Checksum::of(checked) == u64::from_le_bytes(*checksum))
            .then_some(Payload { version, body })
    }

    pub fn decode(&self) -> Result<Value, Damage> {
        let (&kind, value) = self.body.split_first().ok_or_else(|| Damage::new(0, "no value"))?;
        let codec = codec::find(kind, self.version);
        decode(codec.ok_or_else(|| Damage::new(0, format!("unknown type {kind}")))?, value)
    }
}
