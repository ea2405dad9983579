//! A command tape fed to one core without sockets: `tape UNCOUNTED COUNTED`. Run it under
//! `valgrind --tool=callgrind --toggle-collect='*tape::serve_counted'` to count the instructions of the second file
//! alone: what a core does from the bytes it received to the bytes it will send.
//!
//! A file is a row of pieces, each its length (32 bits, little-endian) and its bytes; a piece is received at once.
//! Prints the bytes that the counted pieces were answered with.

use torc_server::commands::{Core, Data, NodeFacts};
use torc_server::config::Settings;
use torc_server::keyspace::{KeyHasher, Keyspace, Ring};
use torc_server::runtime::clock;
use torc_server::session::{Counters, Machine, Peer};
use torc_server::shard::Shard;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Hash and random numbers do not differ between runs.
const SEED: u64 = 1;

#[derive(Default)]
struct Sequence(u64);

impl Counters for Sequence {
    fn next_ticket(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }

    fn next_client(&mut self) -> u64 {
        self.next_ticket()
    }

    fn next_slowlog(&mut self) -> u64 {
        self.next_ticket()
    }
}

fn main() {
    let files: Vec<Vec<u8>> = std::env::args_os()
        .skip(1)
        .map(|path| std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        .collect();
    let [uncounted, counted] = &files[..] else { panic!("usage: tape UNCOUNTED COUNTED") };
    let mut machine = machine();
    let peer = Peer { fd: 0, addr: "tape:0".into(), laddr: "tape:0".into(), unix: false };
    let key = machine.connect(peer);
    pieces(uncounted).for_each(|piece| {
        serve(&mut machine, key, piece);
    });
    let answered: usize = pieces(counted).map(|piece| serve_counted(&mut machine, key, piece)).sum();
    println!("{answered}");
}

fn machine() -> Machine {
    let (settings, ring) = (Settings::default(), Ring::new(1));
    let keyspace = Keyspace::new(settings.databases, ring.slots(0), KeyHasher::new(SEED));
    let facts = NodeFacts { shards: 1, ..NodeFacts::default() };
    let core = Core::new(0, settings, facts, clock::monotonic_ns);
    Machine::new(core, Shard::new(Data::new(keyspace, SEED)), ring, Box::new(Sequence::default()))
}

fn pieces(mut file: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = file.split_first_chunk()?;
        let (piece, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        file = rest;
        Some(piece)
    })
}

/// As `serve`, under a name to count by.
#[inline(never)]
fn serve_counted(machine: &mut Machine, key: usize, piece: &[u8]) -> usize {
    serve(machine, key, piece)
}

/// One turn of a core, as its loop makes it: returns how many bytes there are to send.
fn serve(machine: &mut Machine, key: usize, piece: &[u8]) -> usize {
    machine.begin_turn(clock::unix_us(), 0);
    machine.received(key, piece);
    machine.finish_turn();
    let mut answered = 0;
    for key in std::mem::take(&mut machine.actions.flush) {
        if let Some(buffer) = machine.take_output(key) {
            answered += buffer.len();
            machine.sent(key, buffer);
        }
    }
    answered
}
