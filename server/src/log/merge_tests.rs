//! What the merger writes, as the reader of a file sees it.

use super::*;
use crate::commands::Outbox;
use crate::log::Scanner;
use crate::resp::{Commands, ParseLimits, Parser};

/// A word or words a command; a transaction in braces.
fn shown(stream: &[u8]) -> Vec<String> {
    let mut whole = Vec::new();
    let mut scanner = Scanner::new(0);
    scanner.scan(stream, &mut whole).expect("the stream is sound");
    assert_eq!(whole, stream, "it ends with a unit");
    let (mut parser, mut commands) = (Parser::default(), Commands::default());
    let limits = ParseLimits { max_bulk: 100, authenticated: true };
    parser.parse(stream, &limits, &mut commands).expect("the stream is sound");
    let mut lines: Vec<String> = Vec::new();
    let mut within = false;
    for index in 0..commands.len() {
        let words = commands.argv(index, stream).iter().map(String::from_utf8_lossy);
        let line = words.collect::<Vec<_>>().join(" ");
        match (line.as_str(), lines.last_mut().filter(|_| within)) {
            ("MULTI", _) => lines.push("{".to_owned()),
            ("EXEC", Some(last)) => last.push('}'),
            (_, Some(last)) if last == "{" => last.push_str(&line),
            (_, Some(last)) => last.push_str(&format!("; {line}")),
            _ => lines.push(line.clone()),
        }
        within = line != "EXEC" && (within || line == "MULTI");
    }
    lines
}

struct Bench {
    merger: Merger,
    outboxes: Vec<Outbox>,
    stream: Vec<u8>,
    events: Vec<Merged>,
}

impl Bench {
    fn new(shards: usize) -> Bench {
        let mut outboxes: Vec<Outbox> = (0..shards).map(|_| Outbox::default()).collect();
        outboxes.iter_mut().for_each(Outbox::open);
        Bench { merger: Merger::new(shards, 0), outboxes, stream: Vec::new(), events: Vec::new() }
    }

    /// An effect of a shard, in the transaction `ticket` if that is not 0.
    fn emit(&mut self, shard: usize, ticket: u64, hop: u32, db: usize, word: &str) {
        self.outboxes[shard].begin(ticket, hop);
        self.outboxes[shard].push(db, 1, std::iter::once(word.as_bytes()));
        self.outboxes[shard].end();
    }

    fn send(&mut self, shard: usize) {
        if let Some(effects) = self.outboxes[shard].drain(Vec::new()) {
            self.merger.push(shard, effects);
        }
    }

    /// What one more merge adds.
    fn merge(&mut self) -> Vec<String> {
        let (start, events) = (self.stream.len(), &mut self.events);
        self.merger.merge(&mut self.stream, &mut |event| events.push(event));
        self.merger.check_invariants();
        assert_eq!(self.merger.at(), self.stream.len() as u64);
        shown(&self.stream[start..])
    }
}

#[test]
fn free_standing_effects_pass_with_their_database() {
    let mut bench = Bench::new(2);
    bench.emit(0, 0, 0, 0, "a");
    bench.emit(0, 0, 0, 0, "b");
    bench.emit(0, 0, 0, 11, "c");
    bench.emit(1, 0, 0, 11, "d");
    bench.send(0);
    bench.send(1);
    assert_eq!(bench.merge(), ["SELECT 0", "a", "b", "SELECT 11", "c", "d"]);
    let end = bench.merger.at();
    let first = Merged::Consumed { shard: 0, seq: 1, at: end - 11 };
    assert_eq!(bench.events, [first, Merged::Consumed { shard: 1, seq: 1, at: end }]);
    bench.emit(1, 0, 0, 11, "e");
    bench.send(1);
    assert_eq!(bench.merge(), ["e"]);
    bench.merger.forget_db();
    bench.emit(1, 0, 0, 11, "f");
    bench.send(1);
    assert_eq!(bench.merge(), ["SELECT 11", "f"]);
}

#[test]
fn a_transaction_waits_for_all_its_seals_and_holds_back_what_follows_them() {
    let mut bench = Bench::new(3);
    bench.emit(0, 0, 0, 0, "before");
    bench.emit(0, 5, 0, 0, "one");
    bench.outboxes[0].seal(5, 2);
    bench.emit(0, 0, 0, 0, "after");
    bench.emit(2, 0, 0, 0, "elsewhere");
    (0..3).for_each(|shard| bench.send(shard));
    assert_eq!(bench.merge(), ["SELECT 0", "before", "elsewhere"]);
    assert_eq!(bench.events, [Merged::Consumed { shard: 2, seq: 1, at: bench.merger.at() }]);
    assert!(bench.merger.held() > 0);
    bench.emit(1, 5, 0, 0, "two");
    bench.send(1);
    assert_eq!(bench.merge(), [""; 0]);
    bench.outboxes[1].seal(5, 2);
    bench.send(1);
    bench.events.clear();
    assert_eq!(bench.merge(), ["{one; two}", "after"]);
    let end = bench.merger.at();
    let first = Merged::Consumed { shard: 0, seq: 1, at: end };
    assert_eq!(bench.events, [first, Merged::Consumed { shard: 1, seq: 2, at: end - 15 }]);
    assert_eq!(bench.merger.held(), 0);
}

#[test]
fn what_stands_between_the_effects_of_a_transaction_is_taken_along() {
    let mut bench = Bench::new(2);
    bench.emit(0, 5, 0, 0, "one");
    bench.emit(0, 0, 0, 3, "evicted");
    bench.emit(0, 5, 1, 0, "two");
    bench.send(0);
    assert_eq!(bench.merge(), [""; 0]);
    assert_eq!(bench.events, []);
    bench.outboxes[0].seal(5, 1);
    bench.send(0);
    assert_eq!(bench.merge(), ["SELECT 0", "{one; SELECT 3; evicted; SELECT 0; two}"]);
    assert_eq!(bench.events, [Merged::Consumed { shard: 0, seq: 2, at: bench.merger.at() }]);
}

/// FLUSHALL in the midst of a transaction is the effect of one shard and empties the others too.
#[test]
fn the_hops_of_a_transaction_keep_their_order_across_shards() {
    let mut bench = Bench::new(2);
    bench.emit(1, 7, 0, 0, "set");
    bench.emit(0, 7, 1, 0, "flushall");
    bench.emit(1, 7, 2, 0, "again");
    bench.outboxes[0].seal(7, 2);
    bench.outboxes[1].seal(7, 2);
    bench.send(0);
    bench.send(1);
    assert_eq!(bench.merge(), ["SELECT 0", "{set; flushall; again}"]);
}

#[test]
fn a_lone_effect_needs_no_transaction_and_none_leaves_no_trace() {
    let mut bench = Bench::new(2);
    bench.emit(1, 7, 0, 0, "lone");
    (0..2).for_each(|shard| bench.outboxes[shard].seal(7, 2));
    (0..2).for_each(|shard| bench.outboxes[shard].seal(8, 2));
    (0..2).for_each(|shard| bench.send(shard));
    assert_eq!(bench.merge(), ["SELECT 0", "lone"]);
    let at = bench.merger.at();
    assert_eq!(
        bench.events,
        [Merged::Consumed { shard: 0, seq: 1, at }, Merged::Consumed { shard: 1, seq: 1, at }]
    );
}

#[test]
fn a_cut_lies_between_what_the_shards_did_before_and_after_it() {
    let mut bench = Bench::new(2);
    let number = NonZeroU64::new(3).expect("three is not zero");
    for shard in 0..2 {
        bench.emit(shard, 0, 0, 0, "before");
        bench.outboxes[shard].cut(number);
        bench.outboxes[shard].seal(9, 2);
        bench.emit(shard, 0, 0, 0, "behind");
        bench.send(shard);
    }
    assert_eq!(bench.merge(), ["SELECT 0", "before", "before", "SELECT 0", "behind", "behind"]);
    let Merged::Cut { number: found, at } = bench.events[0] else { panic!("{:?}", bench.events) };
    assert_eq!(found, number);
    assert_eq!(shown(&bench.stream[..at as usize]), ["SELECT 0", "before", "before"]);
}

#[test]
#[should_panic(expected = "out of order")]
fn effects_that_went_missing_are_a_bug() {
    let mut merger = Merger::new(1, 0);
    merger.push(0, Effects { seq: 2, ..Effects::default() });
}
