//! RDB bytes of values, of entries, and of the file around them; all append to what they are given.

use super::{Checksum, VERSION, codec, lzf, opcode};
use crate::keyspace::ValueRef;
use crate::limits::COMPRESS_MAX;
use crate::resp::parse_i64;

/// Shorter strings are not worth compressing, as in the reference server.
const COMPRESS_MIN: usize = 21;
/// What compression must save, as in the reference server.
const COMPRESS_GAIN: usize = 4;
/// Characters of a 32-bit number at most.
const INT_DIGITS: usize = 11;

/// Begins a file.
pub fn write_header(out: &mut Vec<u8>) {
    out.extend_from_slice(format!("REDIS{VERSION:04}").as_bytes());
}

/// A fact about the file, such as `redis-ver`. They stand behind the header.
pub fn write_aux(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.push(opcode::AUX);
    write_string(out, name, false);
    write_string(out, value, false);
}

/// The database of the entries from here on.
pub fn write_select(out: &mut Vec<u8>, db: usize) {
    out.push(opcode::SELECT);
    write_length(out, db as u64);
}

/// How many keys the database has, and how many of them expire. A hint: it may be wrong.
pub fn write_resize(out: &mut Vec<u8>, keys: usize, expiring: usize) {
    out.push(opcode::RESIZE);
    write_length(out, keys as u64);
    write_length(out, expiring as u64);
}

/// Ends a file. `checksum` has been fed all bytes since the header began; `None` says that there is none.
pub fn write_end(out: &mut Vec<u8>, checksum: Option<Checksum>) {
    out.push(opcode::END);
    let value = checksum.map_or(0, |mut checksum| {
        checksum.update(&[opcode::END]);
        checksum.value()
    });
    out.extend_from_slice(&value.to_le_bytes());
}

/// A key with its value; `expire` in Unix ms.
pub fn write_entry(out: &mut Vec<u8>, key: &[u8], value: ValueRef<'_>, expire: Option<i64>, compress: bool) {
    if let Some(at) = expire {
        out.push(opcode::EXPIRE_MS);
        out.extend_from_slice(&at.to_le_bytes());
    }
    out.push(kind(value));
    write_string(out, key, compress);
    write_value(out, value, compress);
}

/// The type byte of a value as `write_value` writes it.
pub(super) fn kind(value: ValueRef<'_>) -> u8 {
    match value {
        ValueRef::Int(_) | ValueRef::Str(_) => codec::STRING,
    }
}

/// A value without its type.
pub fn write_value(out: &mut Vec<u8>, value: ValueRef<'_>, compress: bool) {
    match value {
        ValueRef::Int(value) => write_string(out, itoa::Buffer::new().format(value).as_bytes(), false),
        ValueRef::Str(bytes) => write_string(out, bytes, compress),
    }
}

/// Bytes that `write_value` takes.
pub fn written_len(value: ValueRef<'_>, compress: bool) -> usize {
    let mut out = Vec::new();
    write_value(&mut out, value, compress);
    out.len()
}

fn write_length(out: &mut Vec<u8>, length: u64) {
    match length {
        0..0x40 => out.push(length as u8),
        0x40..0x4000 => out.extend_from_slice(&(0x4000 | length as u16).to_be_bytes()),
        0x4000..=0xffff_ffff => {
            out.push(0x80);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
        _ => {
            out.push(0x81);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
}

/// A string in the shortest of its forms.
fn write_string(out: &mut Vec<u8>, bytes: &[u8], compress: bool) {
    if bytes.len() <= INT_DIGITS
        && let Some(value) = parse_i64(bytes).and_then(|value| i32::try_from(value).ok())
    {
        return write_int(out, value);
    }
    if compress && (COMPRESS_MIN..=COMPRESS_MAX).contains(&bytes.len()) && write_compressed(out, bytes) {
        return;
    }
    write_length(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn write_int(out: &mut Vec<u8>, value: i32) {
    if let Ok(value) = i8::try_from(value) {
        out.extend_from_slice(&[0xc0, value as u8]);
    } else if let Ok(value) = i16::try_from(value) {
        out.push(0xc1);
        out.extend_from_slice(&value.to_le_bytes());
    } else {
        out.push(0xc2);
        out.extend_from_slice(&value.to_le_bytes());
    }
}

/// False, and nothing written, if compression does not pay.
fn write_compressed(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    let start = out.len();
    if !lzf::compress(bytes, bytes.len() - COMPRESS_GAIN, out) {
        return false;
    }
    let mut head = Vec::with_capacity(11);
    head.push(0xc3);
    write_length(&mut head, (out.len() - start) as u64);
    write_length(&mut head, bytes.len() as u64);
    out.splice(start..start, head);
    true
}
