//! Shards that write: free-standing effects, and transactions over several of them, hop by hop, in the order
//! that tickets impose. And what must be true of the stream that comes of it.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU64;

use super::Random;
use crate::commands::{Effects, Outbox};
use crate::resp::element_len;

struct Transaction {
    shards: Vec<usize>,
    /// The shards of each hop to come, the current one first.
    hops: VecDeque<Vec<usize>>,
    hop: u32,
    cut: Option<NonZeroU64>,
}

/// One effect, as its only argument says: `shard.number.ticket.hop.db`.
#[derive(Clone, Copy, Debug)]
struct Label {
    shard: usize,
    number: u64,
    ticket: u64,
    hop: u32,
}

pub struct Shards {
    outboxes: Vec<Outbox>,
    /// Tickets in the order in which they execute on each shard.
    queues: Vec<VecDeque<u64>>,
    transactions: BTreeMap<u64, Transaction>,
    tickets: u64,
    /// Effects of each shard, of each ticket, and of each shard up to each of its drained batches.
    emitted: Vec<u64>,
    of_ticket: BTreeMap<u64, usize>,
    drained: Vec<Vec<u64>>,
}

impl Shards {
    pub fn new(count: usize) -> Shards {
        let mut outboxes: Vec<Outbox> = (0..count).map(|_| Outbox::default()).collect();
        outboxes.iter_mut().for_each(Outbox::open);
        Shards {
            outboxes,
            queues: vec![VecDeque::new(); count],
            transactions: BTreeMap::new(),
            tickets: 0,
            emitted: vec![0; count],
            of_ticket: BTreeMap::new(),
            drained: vec![vec![0]; count],
        }
    }

    pub fn count(&self) -> usize {
        self.outboxes.len()
    }

    /// No transaction is under way.
    pub fn at_rest(&self) -> bool {
        self.transactions.is_empty()
    }

    /// Nothing waits to be sent.
    pub fn drained(&self) -> bool {
        self.drained.iter().zip(&self.emitted).all(|(drained, emitted)| drained.last() == Some(emitted))
    }

    /// A transaction over all shards that marks the cut `number`.
    pub fn cut(&mut self, number: NonZeroU64) {
        self.begin((0..self.count()).collect(), VecDeque::new(), Some(number));
    }

    fn begin(&mut self, shards: Vec<usize>, hops: VecDeque<Vec<usize>>, cut: Option<NonZeroU64>) {
        self.tickets += 1;
        shards.iter().for_each(|shard| self.queues[*shard].push_back(self.tickets));
        self.transactions.insert(self.tickets, Transaction { shards, hops, hop: 0, cut });
    }

    fn begin_some(&mut self, random: &mut Random) {
        let mut shards: Vec<usize> = (0..self.count()).filter(|_| random.below(2) == 0).collect();
        if shards.is_empty() {
            shards.push(random.below(self.count()));
        }
        let hops =
            (0..random.below(4)).map(|_| shards.iter().copied().filter(|_| random.below(3) > 0).collect());
        let hops = hops.collect();
        self.begin(shards, hops, None);
    }

    fn emit(&mut self, shard: usize, ticket: u64, hop: u32, random: &mut Random) {
        let db = if random.below(4) == 0 { random.below(3) } else { 0 };
        let label = format!("{shard}.{}.{ticket}.{hop}.{db}", self.emitted[shard]);
        assert!(label.len() < 16, "{label} fills a sector");
        self.emitted[shard] += 1;
        if ticket > 0 {
            *self.of_ticket.entry(ticket).or_default() += 1;
        }
        self.outboxes[shard].push(db, 2, [b"E", label.as_bytes()].into_iter());
    }

    /// One thing happens on one shard; new work only if `accepts`.
    pub fn step(&mut self, accepts: bool, random: &mut Random) {
        let shard = random.below(self.count());
        match random.below(5) {
            0 if accepts && self.transactions.len() < 4 => self.begin_some(random),
            1 | 2 if accepts => self.emit(shard, 0, 0, random),
            _ => self.advance(shard, random),
        }
    }

    /// The first ticket of a shard's queue does what it can there.
    fn advance(&mut self, shard: usize, random: &mut Random) {
        let Some(&ticket) = self.queues[shard].front() else { return };
        let transaction = self.transactions.get_mut(&ticket).expect("a queued ticket is under way");
        let Some(hop) = transaction.hops.front_mut() else {
            if let Some(number) = transaction.cut {
                self.outboxes[shard].cut(number);
            }
            self.outboxes[shard].seal(ticket, transaction.shards.len());
            self.queues[shard].pop_front();
            if self.queues.iter().all(|queue| !queue.contains(&ticket)) {
                self.transactions.remove(&ticket);
            }
            return;
        };
        let here = hop.iter().position(|other| *other == shard);
        here.map(|index| hop.swap_remove(index));
        let (number, over) = (transaction.hop, hop.is_empty());
        if over {
            transaction.hops.pop_front();
            transaction.hop += 1;
        }
        if here.is_some() {
            self.outboxes[shard].begin(ticket, number);
            (0..random.below(3)).for_each(|_| self.emit(shard, ticket, number, random));
            self.outboxes[shard].end();
        }
    }

    pub fn drain(&mut self, shard: usize) -> Option<Effects> {
        let effects = self.outboxes[shard].drain(Vec::new())?;
        self.drained[shard].push(self.emitted[shard]);
        assert_eq!(self.drained[shard].len() as u64, effects.seq + 1);
        Some(effects)
    }

    /// All effects of `shard` up to number `seq` lie before `at`, in a stream that began at `start`.
    pub fn check_consumed(&self, stream: &[u8], start: u64, shard: usize, seq: u64, at: u64) {
        let within = units(&stream[start as usize..at as usize]).into_iter().flat_map(|unit| unit.labels);
        let found = within.filter(|label| label.shard == shard).count() as u64;
        assert!(found >= self.drained[shard][seq as usize], "effects {seq} of shard {shard} are not there");
    }

    /// The stream of these shards keeps each one's order and tears no transaction. With `whole`, it has everything.
    pub fn check_stream(&self, stream: &[u8], whole: bool) {
        let mut next = vec![0; self.count()];
        let mut of_ticket: BTreeMap<u64, usize> = BTreeMap::new();
        for unit in units(stream) {
            let tickets: Vec<u64> =
                unit.labels.iter().map(|label| label.ticket).filter(|&ticket| ticket > 0).collect();
            assert!(tickets.windows(2).all(|two| two[0] == two[1]), "two transactions in one: {tickets:?}");
            if let Some(ticket) = tickets.first() {
                assert_eq!(of_ticket.insert(*ticket, tickets.len()), None, "ticket {ticket} comes twice");
            }
            let hops = unit.labels.iter().filter(|label| label.ticket > 0).map(|label| label.hop);
            assert!(hops.is_sorted(), "{:?}", unit.labels);
            for label in &unit.labels {
                assert_eq!(label.number, next[label.shard], "{label:?}");
                next[label.shard] += 1;
            }
        }
        for (ticket, count) in &of_ticket {
            assert_eq!(*count, self.of_ticket[ticket], "ticket {ticket} is torn");
        }
        if whole {
            assert_eq!(next, self.emitted);
        }
    }
}

/// What takes effect as a whole.
pub struct Unit {
    labels: Vec<Label>,
}

/// The units of a stream, read independently of what is tested. Each effect must stand in its database.
pub fn units(stream: &[u8]) -> Vec<Unit> {
    let (mut units, mut end, mut db) = (Vec::new(), 0, None);
    let mut open: Option<Vec<Label>> = None;
    while end < stream.len() {
        let length = element_len(&stream[end..]).expect("the stream is whole commands");
        let text = String::from_utf8_lossy(&stream[end..end + length]);
        let words: Vec<&str> = text.split("\r\n").collect();
        end += length;
        let mut labels = Vec::new();
        match words[2] {
            "MULTI" => {
                open = Some(Vec::new());
                continue;
            }
            "EXEC" => labels = open.take().expect("EXEC follows MULTI"),
            "SELECT" => db = words[4].parse().ok(),
            _ => {
                let numbers: Vec<u64> =
                    words[4].split('.').map(|number| number.parse().expect("a label")).collect();
                let [shard, number, ticket, hop, of] = numbers[..] else { panic!("{numbers:?}") };
                assert_eq!(db, Some(of), "the database of {}", words[4]);
                labels.push(Label { shard: shard as usize, number, ticket, hop: hop as u32 });
            }
        }
        match &mut open {
            Some(open) => open.append(&mut labels),
            None => units.push(Unit { labels }),
        }
    }
    assert!(open.is_none(), "the stream is whole transactions");
    units
}
