//! Values in each form that the keyspace keeps them in, and the bytes that DUMP makes of them.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use torc_server::keyspace::{Encode, Key, KeyHasher, Keyspace, Value};
use torc_server::rdb::{Payload, write_payload};

use crate::one_core::SEED;

/// Unix ms far ahead.
const EXPIRY: i64 = 4_000_000_000_000;

pub fn benches(criterion: &mut Criterion) {
    for (form, bytes) in [
        ("integer", b"1234567890".to_vec()),
        ("inline, 16 B", text(16)),
        ("inline, 1000 B", text(1000)),
        ("own buffer, 16 KiB", text(16 * 1024)),
    ] {
        keep(criterion, form, &bytes);
        dump(criterion, form, &bytes);
    }
    dump(criterion, "repeating, 1000 B", &b"ten bytes.".repeat(100));
}

/// Bytes that do not repeat.
fn text(size: usize) -> Vec<u8> {
    let mut state = SEED;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8 | 0x80
    };
    (0..size).map(|_| next()).collect()
}

/// Written, read, edited, given an expiry.
fn keep(criterion: &mut Criterion, form: &str, bytes: &[u8]) {
    let hasher = KeyHasher::new(SEED);
    let mut keyspace = Keyspace::new(1, 0..16384, hasher.clone());
    let key: Key = hasher.key(b"key:000000012345");
    criterion.bench_function(&format!("encoding/write/{form}"), |bench| {
        bench.iter(|| keyspace.put_str(0, &key, black_box(bytes), Encode::Auto, None));
    });
    let mut out = Vec::with_capacity(bytes.len());
    criterion.bench_function(&format!("encoding/read/{form}"), |bench| {
        bench.iter(|| {
            let entry = keyspace.get(0, black_box(&key)).expect("it has been written");
            out.clear();
            out.extend_from_slice(entry.value().to_bytes(&mut itoa::Buffer::new()));
            black_box(out.len())
        });
    });
    let mut expiry = None;
    criterion.bench_function(&format!("encoding/set and clear expiry/{form}"), |bench| {
        bench.iter(|| {
            expiry = if expiry.is_none() { Some(EXPIRY) } else { None };
            assert!(keyspace.set_expire(0, &key, expiry));
        });
    });
    criterion.bench_function(&format!("encoding/edit a byte/{form}"), |bench| {
        bench.iter(|| keyspace.edit(0, &key, |bytes| bytes[0] ^= 1));
    });
}

fn dump(criterion: &mut Criterion, form: &str, bytes: &[u8]) {
    let value = Value::string(bytes.to_vec());
    let mut group = criterion.benchmark_group("payload");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    let mut out = Vec::new();
    for (how, compress) in [("plain", false), ("compression tried", true)] {
        group.bench_function(BenchmarkId::new(format!("write, {how}"), form), |bench| {
            bench.iter(|| {
                out.clear();
                write_payload(&mut out, black_box(value.view()), compress);
                black_box(out.len())
            });
        });
        out.clear();
        write_payload(&mut out, value.view(), compress);
        group.bench_function(BenchmarkId::new(format!("read, {how}"), form), |bench| {
            bench.iter(|| {
                let payload = Payload::open(black_box(&out)).expect("its checksum is right");
                black_box(payload.decode().expect("it was written whole"))
            });
        });
    }
    group.finish();
}
