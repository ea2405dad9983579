//! Whole turns of a core, and what it takes to ask another: the rings of the mesh, and commands there and back.

use std::hint::black_box;
use std::thread;

use criterion::{BenchmarkId, Criterion, Throughput};
use torc_server::keyspace::{Ring, slot_of};
use torc_server::runtime::{Mesh, Port};
use torc_server::session::Machine;

use crate::{command, one_core};

pub fn benches(criterion: &mut Criterion) {
    rings(criterion);
    across_threads(criterion);
    commands(criterion);
}

/// Pipelines of which every command is a message, or that fill one.
const DEPTHS: [usize; 3] = [1, 16, 64];

/// There and back on one thread: what the rings themselves take.
fn rings(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mesh");
    for count in DEPTHS {
        let (mut here, mut there) = pair();
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::new("there and back, one thread", count), |bench| {
            bench.iter(|| {
                (0..count as u64).for_each(|number| here.send(1, black_box(number)));
                while let Some((from, number)) = there.receive() {
                    there.send(from, number);
                }
                (0..count).for_each(|_| assert!(here.receive().is_some()));
            });
        });
    }
    group.finish();
}

/// One message there and back between two threads of which neither sleeps while both have a CPU.
fn across_threads(criterion: &mut Criterion) {
    /// What ends the other thread.
    const STOP: u64 = u64::MAX;
    let (mut here, mut there) = pair();
    let echo = thread::spawn(move || {
        loop {
            match receive(&mut there) {
                (_, STOP) => return,
                (from, number) => there.send(from, number),
            }
        }
    });
    criterion.bench_function("mesh/there and back, two threads", |bench| {
        bench.iter(|| {
            here.send(1, 7);
            black_box(receive(&mut here))
        });
    });
    here.send(1, STOP);
    echo.join().expect("the other thread does not panic");
}

/// The next message. Who has waited for long waits for the other thread's turn on this CPU.
fn receive(port: &mut Port<u64>) -> (usize, u64) {
    loop {
        for _ in 0..10_000 {
            if let Some(mail) = port.receive() {
                return mail;
            }
            std::hint::spin_loop();
        }
        thread::yield_now();
    }
}

fn pair() -> (Port<u64>, Port<u64>) {
    let mut ports = Mesh::new(2).expect("two eventfds").into_iter();
    let mut next = || ports.next().expect("as many ports as cores");
    (next(), next())
}

/// A pipeline of a session whose keys are at home on its core, and of one whose keys are all on another.
fn commands(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("turn");
    for (place, home) in [("here", 0), ("on another core", 1)] {
        let keys: Vec<String> = at_home_on(home).take(64).collect();
        for (name, value) in [("GET", None), ("SET", Some("v".repeat(16)))] {
            for depth in DEPTHS {
                let words = |key: &String| match &value {
                    None => command(&["GET", key]),
                    Some(value) => command(&["SET", key, value]),
                };
                let pipeline: Vec<u8> = keys.iter().take(depth).flat_map(words).collect();
                let mut pair = Pair::new();
                keys.iter().for_each(|key| assert_eq!(pair.serve(&command(&["SET", key, "v"])), 5));
                group.throughput(Throughput::Elements(depth as u64));
                group.bench_function(BenchmarkId::new(format!("{name} {place}"), depth), |bench| {
                    bench.iter(|| assert!(pair.serve(black_box(&pipeline)) >= 5 * depth));
                });
            }
        }
    }
    group.finish();
}

/// Names of keys whose home is shard `home` of two.
fn at_home_on(home: usize) -> impl Iterator<Item = String> {
    let names = (0..).map(|nth: u32| format!("key:{nth:012}"));
    names.filter(move |name| Ring::new(2).home(slot_of(name.as_bytes())) == home)
}

/// Two cores whose mail is carried by hand.
struct Pair {
    cores: [Machine; 2],
    session: usize,
}

impl Pair {
    fn new() -> Self {
        let (first, session) = one_core::core(0, 2);
        Self { cores: [first, one_core::core(1, 2).0], session }
    }

    /// Gives the first core bytes from its session, and carries mail until there is none. Returns the bytes of the answer.
    fn serve(&mut self, bytes: &[u8]) -> usize {
        let [first, second] = &mut self.cores;
        let mut answered = one_core::turn(first, self.session, bytes);
        for message in first.post.take(1) {
            second.message(0, message);
        }
        second.finish_turn();
        for message in second.post.take(0) {
            first.message(1, message);
        }
        answered += one_core::answer(first);
        answered
    }
}
