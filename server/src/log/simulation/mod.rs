//! The whole log on one thread, with a disk that fails and power that goes: what must hold whatever happens.
//!
//! A run is a function of its seed, which a failure prints. `TORC_TEST_SEED` repeats one, `TORC_TEST_SEEDS` says
//! how many to try.

mod disk;
mod shards;

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use super::{Action, Doing, Journal, Manifest, Merged, Merger, Scanner, Step, manifest_name, temporary};
use crate::config::AppendFsync;
use disk::{Disk, Flush};
use shards::{Shards, units};

/// splitmix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// Up to `most` milliseconds.
    pub fn ms(&mut self, most: u64) -> u64 {
        self.next() % (most + 1)
    }
}

/// The seeds of a run: `TORC_TEST_SEED` alone, or the first `TORC_TEST_SEEDS`.
pub fn seeds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("TORC_TEST_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TORC_TEST_SEEDS").unwrap_or(200),
    }
}

const PREFIX: &str = "a.aof";
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// Longest time between two turns.
const TURN_MS: usize = 60;

/// What an increment may begin with of its own: nothing that changes what follows.
const PRELUDE: &[u8] = b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n";

/// Turns after which an operation is over.
const SLOWEST: u64 = 3;

/// Without faults, under `everysec`: the second, a flush that was under way and one of its own, and the writes
/// before each, a rotation among them.
const EVERYSEC_MS: u64 = 1000 + 8 * (SLOWEST + 1) * TURN_MS as u64;

struct World {
    random: Random,
    policy: AppendFsync,
    /// One operation in so many fails; 0: none.
    faults: usize,
    /// Bytes of replaced increments that are kept.
    history: u64,
    /// What is lost with the power is lost in any order, not from some place on.
    holes: bool,
    now: u64,
    turn: u64,
    disk: Disk,
    /// Everything merged, by offset.
    stream: Vec<u8>,
    /// The stream of the life before, until this one has opened its files: a loss of power may bring back a tail that a
    /// truncation had hidden. Nobody had been told of it, and nothing of this life stands in its place.
    former: Vec<u8>,
    /// Where the stream ended at which time.
    ends: Vec<(u64, u64)>,
    /// The furthest offset that was ever durable.
    promised: u64,
    run: Run,
    /// The process may die between two steps; it has.
    mortal: bool,
    dead: bool,
    /// How often what happened.
    seen: BTreeMap<&'static str, usize>,
}

/// A write under way.
struct Write {
    offset: u64,
    bytes: Vec<u8>,
    through: bool,
    since: u64,
}

/// One life of the process.
struct Run {
    shards: Shards,
    merger: Merger,
    journal: Journal,
    /// Where the stream began.
    start: u64,
    write: Option<Write>,
    flush: Option<(Flush, u64)>,
    /// The cut that begins a rewrite, until it is merged; then its offset, until the base is written.
    cut: Option<NonZeroU64>,
    snapshot: Option<u64>,
    cuts: u64,
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random(seed);
        let policy = [AppendFsync::Always, AppendFsync::Everysec, AppendFsync::No][random.below(3)];
        let faults = [0, 0, 30, 8][random.below(4)];
        let holes = random.below(4) == 0;
        let history = [0, 2000, u64::MAX][random.below(3)];
        let shards = 1 + random.below(4);
        let run = if random.below(4) > 0 {
            Run::new(shards, Journal::fresh(PREFIX, base(0), 0, policy), 0)
        } else {
            let journal = Journal::begin(Manifest::new(PREFIX), 0, policy, Vec::new());
            Run { snapshot: Some(0), ..Run::new(shards, journal, 0) }
        };
        World {
            random,
            policy,
            faults,
            history,
            holes,
            now: 0,
            turn: 0,
            disk: Disk::default(),
            stream: Vec::new(),
            former: Vec::new(),
            ends: Vec::new(),
            promised: 0,
            run,
            mortal: true,
            dead: false,
            seen: BTreeMap::new(),
        }
    }

    fn see(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn fails(&mut self) -> bool {
        self.faults > 0 && self.random.below(self.faults) == 0
    }

    /// One turn of the log core, and what the shards did meanwhile.
    fn turn(&mut self, busy: bool) {
        self.turn += 1;
        self.now += self.random.below(TURN_MS) as u64;
        let trouble = self.run.journal.trouble();
        match trouble.map(|trouble| trouble.doing) {
            Some(Doing::Writing) => self.see("a write failed"),
            Some(Doing::Flushing) => self.see("a flush failed"),
            Some(Doing::Rotating) => self.see("a rotation failed"),
            Some(Doing::Rebasing) => self.see("a base could not be put in place"),
            None => {}
        }
        let refuses = trouble.is_some_and(|trouble| trouble.refuses);
        for _ in 0..self.random.below(8) {
            self.run.shards.step(busy && !refuses, &mut self.random);
        }
        let wanted = busy && self.random.below(40) == 0 || self.run.journal.needs_rewrite();
        if wanted && self.run.cut.is_none() && !self.run.journal.is_rewriting() {
            self.run.cuts += 1;
            self.run.cut = NonZeroU64::new(self.run.cuts);
            self.run.shards.cut(self.run.cut.expect("cuts are counted from 1"));
        }
        self.merge();
        self.snapshot();
        self.complete();
        self.act();
        self.run.journal.check_invariants();
        self.run.merger.check_invariants();
        self.check_promise();
        self.check_past();
    }

    fn merge(&mut self) {
        for shard in 0..self.run.shards.count() {
            if self.random.below(3) > 0
                && let Some(effects) = self.run.shards.drain(shard)
            {
                self.run.merger.push(shard, effects);
            }
        }
        let start = self.stream.len();
        let mut events = Vec::new();
        self.run.merger.merge(&mut self.stream, &mut |event| events.push(event));
        assert_eq!(self.run.merger.at(), self.stream.len() as u64);
        self.run.journal.append(&self.stream[start..], self.now);
        self.ends.push((self.now, self.stream.len() as u64));
        for event in events {
            match event {
                Merged::Consumed { shard, seq, at } => {
                    self.run.shards.check_consumed(&self.stream, self.run.start, shard, seq, at);
                }
                Merged::Cut { number, at } => {
                    assert_eq!(self.run.cut.take(), Some(number));
                    let prelude = if self.random.once_in(2) { PRELUDE } else { b"" };
                    self.run.journal.set_prelude(prelude.to_vec());
                    assert!(self.run.journal.rotate(at), "a rewrite was begun while there was one");
                    self.run.snapshot = Some(at);
                }
            }
        }
    }

    /// The base of a rewrite is written some time, or is not.
    fn snapshot(&mut self) {
        let Some(at) = self.run.snapshot.filter(|_| self.random.below(15) == 0) else { return };
        self.run.snapshot = None;
        let name = temporary("rewrite");
        let fails = self.fails();
        if self.disk.step(&Step::Put { name: name.clone(), bytes: base(at) }, fails, &mut self.random) {
            self.run.journal.rebase(name);
        } else {
            self.run.journal.abandon();
        }
    }

    fn complete(&mut self) {
        let over = |since: u64, random: &mut Random| self.turn > since + SLOWEST || random.below(2) == 0;
        let (write, flush) = (&mut self.run.write, &mut self.run.flush);
        let write = write.take_if(|write| over(write.since, &mut self.random));
        let flush = flush.take_if(|(_, since)| over(*since, &mut self.random));
        if let Some(Write { offset, bytes, through, .. }) = write {
            let fails = self.fails();
            let count = if fails { self.random.below(bytes.len()) } else { bytes.len() };
            let (mut told, mut error) = (count, if fails { ENOSPC } else { 0 });
            // It may fail at the flush: then all is there, and nobody says so.
            let late = fails && through && self.random.below(2) == 0;
            if late {
                (told, error) = (0, EIO);
            }
            self.disk.write(offset, &bytes, if late { bytes.len() } else { count });
            if through && (late || !fails) {
                let flush = self.disk.begin_flush();
                self.disk.end_flush(flush, late, &mut self.random);
            }
            self.run.journal.wrote(bytes, told, error, self.now);
        }
        if let Some((flush, _)) = flush {
            let fails = self.fails();
            self.disk.end_flush(flush, fails, &mut self.random);
            self.run.journal.flushed(if fails { EIO } else { 0 });
        }
    }

    /// Starts or does all that the journal asks for.
    fn act(&mut self) {
        self.run.journal.keep_history(self.history);
        while let Some(action) = self.run.journal.next(self.now) {
            match action {
                Action::Write { offset, bytes, through } => {
                    assert!(self.run.write.is_none(), "one write at a time");
                    self.run.write = Some(Write { offset, bytes, through, since: self.turn });
                }
                Action::Flush => {
                    assert!(self.run.flush.is_none(), "one flush at a time");
                    self.run.flush = Some((self.disk.begin_flush(), self.turn));
                }
                Action::Truncate { length } => {
                    let fails = self.fails();
                    if !fails {
                        self.disk.truncate(length);
                    }
                    self.run.journal.truncated(if fails { EIO } else { 0 }, self.now);
                }
                Action::Steps(steps) => {
                    if self.mortal && self.random.below(8) == 0 {
                        let until = self.random.below(steps.len());
                        steps[..until].iter().all(|step| self.step(step));
                        self.dead = true;
                        return self.see("death between two steps");
                    }
                    let done = steps.iter().take_while(|step| self.step(step)).count();
                    let error = if done < steps.len() { ENOSPC } else { 0 };
                    self.run.journal.stepped(done, error, self.now);
                }
            }
        }
    }

    fn step(&mut self, step: &Step) -> bool {
        let fails = self.fails();
        let done = self.disk.step(step, fails, &mut self.random);
        if done && matches!(step, Step::Open { .. }) {
            self.former.clear();
        }
        done
    }
}

impl World {
    /// What is durable is so in time, if nothing fails.
    fn check_promise(&mut self) {
        let journal = &self.run.journal;
        self.promised = self.promised.max(journal.durable());
        if self.faults > 0 || !journal.is_founded() || journal.trouble().is_some() {
            return self.ends.clear();
        }
        let due = self.due();
        assert!(journal.durable() >= due, "{due} should be durable, {} is: {journal:?}", journal.durable());
    }

    /// The offset up to which the stream is to be durable by now: what came longer ago than the policy allows to lose.
    fn due(&self) -> u64 {
        let slack = match self.policy {
            AppendFsync::Always => EVERYSEC_MS - 1000,
            AppendFsync::Everysec => EVERYSEC_MS,
            AppendFsync::No => return 0,
        };
        let due = self.ends.iter().rev().find(|(time, _)| time + slack <= self.now);
        due.map_or(0, |(_, end)| *end)
    }

    /// The files have what they are said to have of the stream: where a replica may be, it finds how the stream goes on.
    fn check_past(&mut self) {
        let journal = &self.run.journal;
        let Some(oldest) = journal.oldest().filter(|oldest| *oldest < journal.written()) else { return };
        let from = oldest + self.random.below((journal.written() - oldest) as usize) as u64;
        let piece = 1 + self.random.below(100);
        let read = journal.locate(from).find_map(|(name, offset)| {
            let rest = self.disk.read(name)?.get(offset as usize..).filter(|rest| !rest.is_empty())?;
            Some((name, &rest[..rest.len().min(piece)]))
        });
        let (name, read) = read.unwrap_or_else(|| panic!("nothing from {from} on: {journal:?}"));
        // What is in the file of a batch that failed is cut off, or nobody is sent it.
        let read = &read[..read.len().min((journal.written() - from) as usize)];
        assert!(self.stream[from as usize..].starts_with(read), "offset {from} in {name}: {journal:?}");
        if journal.manifest().history().iter().any(|part| part.name == name) {
            self.see("history was read");
        }
    }

    /// The disk works again: everything is made good, finished and flushed.
    fn heal(&mut self) {
        let faults = std::mem::take(&mut self.faults);
        self.mortal = false;
        let mut turns = 0;
        let mut closed = false;
        while !closed || !self.run.journal.is_settled() {
            self.turn(false);
            turns += 1;
            assert!(turns < 2000, "no end: {:?}", self.run.journal);
            let Run { shards, merger, journal, cut, .. } = &mut self.run;
            let idle = shards.at_rest() && shards.drained() && merger.held() == 0 && cut.is_none();
            if idle && journal.trouble().is_none() && !journal.is_rewriting() && !closed {
                journal.close();
                closed = true;
            }
        }
        assert_eq!(self.run.journal.durable(), self.stream.len() as u64);
        let history = self.run.journal.manifest().history();
        let sizes = history.iter().map(|part| self.disk.read(&part.name).expect("it is kept").len() as u64);
        let preludes = (PRELUDE.len() * (1 + history.len())) as u64;
        assert!(
            sizes.sum::<u64>() <= self.history.saturating_add(preludes)
                && (self.history > 0 || history.is_empty())
        );
        self.run.shards.check_stream(&self.stream[self.run.start as usize..], true);
        (self.faults, self.mortal) = (faults, true);
        self.see("everything made good");
    }

    /// The process ends, perhaps because power does; a new one goes on with what is there.
    fn die(&mut self, power: bool) {
        self.run.shards.check_stream(&self.stream[self.run.start as usize..], false);
        if let Some(Write { offset, bytes, .. }) = self.run.write.take() {
            let count = self.random.below(bytes.len() + 1);
            self.disk.write(offset, &bytes, count);
        }
        self.run.flush = None;
        let mut least = self.promised.max(self.due());
        if power {
            self.disk.lose_power(self.holes, &mut self.random);
        } else if self.run.journal.is_founded() && self.run.journal.trouble().is_none() {
            // The kernel lives: it has all it was given.
            least = least.max(self.run.journal.written());
        }
        let shards = 1 + self.random.below(4);
        self.run = match self.recover() {
            Some((mut manifest, length, at)) => {
                let is_ours = !self.random.once_in(8);
                manifest.disown_history(|part| !is_ours || self.disk.read(&part.name).is_none());
                assert!(at >= least, "{least} was promised, {at} is left");
                let lost = self.stream.len() as u64 - at;
                self.see(if lost > 0 { "a tail was lost" } else { "nothing was lost" });
                Run::new(shards, Journal::resume(manifest, length, at, self.policy), at)
            }
            None => {
                assert_eq!(least, 0, "the log is gone");
                self.see("no log yet");
                Run::new(shards, Journal::fresh(PREFIX, base(0), 0, self.policy), 0)
            }
        };
        let longer = if self.former.is_empty() { &self.stream } else { &self.former };
        self.former = longer.clone();
        self.stream.truncate(self.run.start as usize);
        self.dead = false;
        self.ends = vec![(self.now, self.run.start)];
    }

    /// Loads what the disk has: the manifest, the good length of the last increment, and its offset.
    fn recover(&mut self) -> Option<(Manifest, u64, u64)> {
        let manifest = Manifest::parse(PREFIX, self.disk.read(&manifest_name(PREFIX))?).expect("a manifest");
        let names: Vec<(String, Option<u64>)> =
            manifest.files().map(|part| (part.name.clone(), part.start)).collect();
        let (base, increments) = names.split_first().expect("a manifest names files");
        let base = self.disk.read(&base.0).expect("the base is there");
        let digits = base.strip_prefix(b"REDIS").expect("the base is whole");
        let mut at: u64 = String::from_utf8_lossy(digits).parse().expect("the base is whole");
        let mut length = 0;
        assert!(!increments.is_empty());
        for (index, (name, start)) in increments.iter().enumerate() {
            let (mut out, good) = self.load(name, index + 1 == increments.len());
            assert_eq!(out.len() as u64, good);
            if *start != Some(at) {
                assert_eq!(*start, Some(at.wrapping_sub(PRELUDE.len() as u64)), "{name} begins elsewhere");
                assert!(out.starts_with(PRELUDE), "{name} does not begin as it should");
                out.drain(..PRELUDE.len());
            }
            let end = at as usize + out.len();
            let is_of = |log: &[u8]| log.get(at as usize..).is_some_and(|rest| rest.starts_with(&out));
            if !is_of(&self.stream) {
                assert!(is_of(&self.former), "{name} is not the log");
                self.stream.clone_from(&self.former);
            }
            units(&out);
            (at, length) = (end as u64, good);
        }
        Some((manifest, length, at))
    }

    /// What a file has of whole units, and up to where. Only the last may have a tail that is torn, or that
    /// somebody has to cut off where the disk left holes.
    fn load(&mut self, name: &str, last: bool) -> (Vec<u8>, u64) {
        let bytes = self.disk.read(name).expect("a file that is named is there").to_vec();
        let (mut scanner, mut out) = (Scanner::new(0), Vec::new());
        let piece = 1 + self.random.below(200);
        if let Some(damage) = bytes.chunks(piece).find_map(|piece| scanner.scan(piece, &mut out).err()) {
            assert!(last && (self.holes || self.faults > 0), "{name}: {damage}");
            self.see("damage");
            return (out, scanner.good());
        }
        let end = scanner.finish();
        if let Some(torn) = end.torn {
            assert!(last, "{name}: {torn}");
            self.see("a torn tail");
        } else {
            assert_eq!(end.good, bytes.len() as u64);
        }
        (out, end.good)
    }
}

impl Run {
    fn new(shards: usize, journal: Journal, start: u64) -> Run {
        Run {
            shards: Shards::new(shards),
            merger: Merger::new(shards, start),
            journal,
            start,
            write: None,
            flush: None,
            cut: None,
            snapshot: None,
            cuts: 0,
        }
    }
}

/// A snapshot of the state at `at`: enough to tell what it stands for.
fn base(at: u64) -> Vec<u8> {
    format!("REDIS{at}").into_bytes()
}

#[test]
fn nothing_durable_is_lost_and_nothing_is_torn() {
    let seeds = seeds();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let many = seeds.end - seeds.start >= 200;
    for seed in seeds {
        println!("TORC_TEST_SEED={seed}");
        let mut world = World::new(seed);
        for _ in 0..5 {
            for _ in 0..world.random.below(400) {
                if !world.dead {
                    world.turn(true);
                }
            }
            if !world.dead && world.random.below(3) == 0 {
                world.heal();
            }
            let power = world.random.below(2) == 0;
            world.die(power);
        }
        world.seen.iter().for_each(|(what, count)| *seen.entry(what).or_default() += count);
    }
    println!("{seen:#?}");
    assert!(!many || seen.len() == 12, "something never happened: {seen:?}");
}
