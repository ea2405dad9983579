//! Bytes to commands, and replies to bytes.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use torc_server::commands::table;
use torc_server::resp::{Commands, ParseLimits, Parser, Reply, parse_i64};

use crate::command;

const LIMITS: ParseLimits = ParseLimits { max_bulk: 512 << 20, authenticated: true };

pub fn benches(criterion: &mut Criterion) {
    parse(criterion);
    parse_in_pieces(criterion);
    criterion.bench_function("lookup/SET", |bench| bench.iter(|| table().find(black_box(b"SET"))));
    criterion.bench_function("number/parse", |bench| bench.iter(|| parse_i64(black_box(b"-1234567890"))));
    reply(criterion);
}

fn parse(criterion: &mut Criterion) {
    let key = "key:000000012345";
    let mget: Vec<&str> = std::iter::once("MGET").chain([key; 100]).collect();
    let value = "v".repeat(32);
    let long = "v".repeat(4096);
    let mut group = criterion.benchmark_group("parse");
    for (name, one) in [
        ("PING", command(&["PING"])),
        ("GET", command(&["GET", key])),
        ("SET of 32 B", command(&["SET", key, &value])),
        ("SET of 4 KiB", command(&["SET", key, &long])),
        ("inline GET", format!("GET {key}\r\n").into_bytes()),
        ("MGET of 100", command(&mget)),
    ] {
        for depth in [1, 16, 64] {
            let pipeline = one.repeat(depth);
            let (mut parser, mut commands) = (Parser::default(), Commands::default());
            group.throughput(Throughput::Elements(depth as u64));
            group.bench_function(BenchmarkId::new(name, depth), |bench| {
                bench.iter(|| {
                    assert_eq!(
                        parser.parse(black_box(&pipeline), &LIMITS, &mut commands),
                        Ok(pipeline.len())
                    );
                    black_box(commands.len())
                });
            });
        }
    }
    group.finish();
}

/// A command that arrives in two halves.
fn parse_in_pieces(criterion: &mut Criterion) {
    let whole = command(&["SET", "key:000000012345", &"v".repeat(32)]);
    let half = &whole[..whole.len() / 2];
    let mut commands = Commands::default();
    criterion.bench_function("parse/SET in two pieces", |bench| {
        bench.iter(|| {
            let mut parser = Parser::default();
            assert_eq!(parser.parse(black_box(half), &LIMITS, &mut commands), Ok(0));
            assert_eq!(parser.parse(black_box(&whole), &LIMITS, &mut commands), Ok(whole.len()));
        });
    });
}

fn reply(criterion: &mut Criterion) {
    type Write = fn(&mut Reply<'_>);
    let writes: [(&str, Write); 7] = [
        ("OK", |reply| reply.ok()),
        ("integer", |reply| reply.int(black_box(1_234_567))),
        ("bulk of 16 B", |reply| reply.bulk(black_box(&[b'v'; 16]))),
        ("bulk of 1 KiB", |reply| reply.bulk(black_box(&[b'v'; 1024]))),
        ("null", |reply| reply.null()),
        ("double", |reply| reply.double(black_box(3.25))),
        ("array of 100 bulks", |reply| {
            reply.array(100);
            (0..100).for_each(|_| reply.bulk(black_box(&[b'v'; 16])));
        }),
    ];
    let mut group = criterion.benchmark_group("reply");
    for (name, write) in writes {
        let mut out = Vec::with_capacity(4096);
        group.bench_function(name, |bench| {
            bench.iter(|| {
                out.clear();
                write(&mut Reply::new(&mut out, false));
                black_box(out.len())
            });
        });
    }
    group.finish();
}
