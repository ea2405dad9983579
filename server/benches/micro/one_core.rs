//! A core without sockets, for benches and for the example `tape`.

use torc_server::commands::{Core, Data, NodeFacts};
use torc_server::config::Settings;
use torc_server::keyspace::{KeyHasher, Keyspace, Ring};
use torc_server::runtime::clock;
use torc_server::session::{Counters, Machine, Peer};
use torc_server::shard::Shard;

/// Hashes and random numbers do not differ between runs.
pub const SEED: u64 = 1;

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

/// Core number `index` of `cores`, with default settings and one session, and that session's key.
pub fn core(index: usize, cores: usize) -> (Machine, usize) {
    let (settings, ring) = (Settings::default(), Ring::new(cores));
    let keyspace = Keyspace::new(settings.databases, ring.slots(index), KeyHasher::new(SEED));
    let facts = NodeFacts { shards: cores, ..NodeFacts::default() };
    let core = Core::new(index, settings, facts, clock::monotonic_ns);
    let shard = Shard::new(Data::new(keyspace, SEED));
    let mut machine = Machine::new(core, shard, ring, Box::new(Sequence::default()));
    let session = machine.connect(Peer { fd: 0, addr: "none:0".into(), laddr: "none:0".into(), unix: false });
    (machine, session)
}

/// One turn of a core with bytes from its session, as its loop makes it: returns how many bytes it answers.
pub fn turn(machine: &mut Machine, session: usize, bytes: &[u8]) -> usize {
    machine.begin_turn(clock::unix_us(), 0);
    machine.received(session, bytes);
    answer(machine)
}

/// Ends a turn: takes the output as if it were sent at once.
pub fn answer(machine: &mut Machine) -> usize {
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
