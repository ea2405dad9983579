//! Links that break and replicas that join while the primary takes writes as fast as it can.

use std::thread;

use torc_loadgen::clock::Clock;

use crate::{
    link::Link,
    load::{self, KEYS, Tool, VALUE},
    measure::rest,
    results::Metric,
    servers::{Contender, Kind, Server},
};

use super::{Bench, MIB, PATIENCE, follow, in_step};

pub const AWAY: &str = "away";
pub const JOIN: &str = "join";

pub const JOINERS: usize = 5;

/// Seconds of writes while the replica is away, and while others join.
const AWAY_SECONDS: u64 = 60;
const JOIN_SECONDS: u64 = 20;
/// Keys that are there when replicas join, and bytes of their values.
const JOIN_KEYS: u64 = 1_000_000;
const JOIN_VALUE: usize = 100;

/// The files and flushing of both measurements.
const FILES: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "everysec"];

pub fn away(bench: &mut Bench<'_, '_>) -> Result<(), String> {
    for contender in bench.turns() {
        let primary = bench.primary(contender, &FILES)?;
        load::fill(&primary, KEYS, VALUE, bench.run.stop)?;
        let replica = bench.replica(contender)?;
        let link = Link::to(primary.address).map_err(|error| format!("a link: {error}"))?;
        follow(&replica, link.address)?;
        if !bench.await_followers(&primary, &[&replica], PATIENCE)? {
            return Err(format!("{}: the first sync does not come to an end", contender.kind.label()));
        }
        let before = Counts::of(&primary)?;
        link.cut();
        let outcome = load::set_for(&primary, bench.lasting(AWAY_SECONDS), bench.run.stop)?;
        link.mend();
        let clock = Clock::start();
        let converged = bench.await_followers(&primary, &[&replica], PATIENCE)?;
        let mut figures = Counts::of(&primary)?.since(&before, contender.kind);
        figures.extend([
            (Metric::RequestsPerSecond, outcome.rate()),
            (Metric::Converged, f64::from(u8::from(converged))),
            (Metric::CatchUpSeconds, clock.ns() as f64 / 1e9),
        ]);
        bench.run.note(AWAY, Tool::Loadgen, contender.kind, &figures);
    }
    Ok(())
}

pub fn join(bench: &mut Bench<'_, '_>) -> Result<(), String> {
    for contender in bench.turns() {
        let primary = bench.primary(contender, &FILES)?;
        load::fill(&primary, bench.run.scaled(JOIN_KEYS), JOIN_VALUE, bench.run.stop)?;
        let figures = join_one(bench, contender, &primary)?;
        bench.run.note(JOIN, Tool::Loadgen, contender.kind, &figures);
    }
    Ok(())
}

fn join_one(
    bench: &mut Bench<'_, '_>,
    contender: &Contender,
    primary: &Server,
) -> Result<load::Figures, String> {
    let replicas: Vec<Server> =
        (0..JOINERS).map(|_| bench.replica(contender)).collect::<Result<_, String>>()?;
    let all: Vec<&Server> = replicas.iter().collect();
    let before = Counts::of(primary)?;
    let (stop, length) = (bench.run.stop, bench.lasting(JOIN_SECONDS));
    let outcome = thread::scope(|scope| {
        let writer = scope.spawn(|| load::set_for(primary, length, stop));
        // They join at once, when the writes are well under way.
        let joined = rest(length / 10, stop)
            .and_then(|()| all.iter().try_for_each(|one| follow(one, primary.address)));
        let outcome = writer.join().expect("the writer does not panic");
        joined.and(outcome)
    })?;
    let clock = Clock::start();
    bench.await_followers(primary, &all, PATIENCE)?;
    let seconds = clock.ns() as f64 / 1e9;
    let mut figures = Counts::of(primary)?.since(&before, contender.kind);
    figures.extend([
        (Metric::RequestsPerSecond, outcome.rate()),
        (Metric::Converged, in_step(primary, &all)? as f64),
        (Metric::CatchUpSeconds, seconds),
    ]);
    Ok(figures)
}

/// What a primary has counted so far.
struct Counts {
    full: f64,
    partial: f64,
    /// Snapshots for replicas that Torc has begun, by its log.
    walks: f64,
    forks: f64,
    offset: f64,
}

impl Counts {
    fn of(primary: &Server) -> Result<Self, String> {
        let (stats, replication) = (primary.info("stats")?, primary.info("replication")?);
        Ok(Self {
            full: stats.number("sync_full"),
            partial: stats.number("sync_partial_ok"),
            walks: primary.output().matches("Sync begins").count() as f64,
            forks: stats.number("total_forks"),
            offset: replication.number("master_repl_offset"),
        })
    }

    fn since(&self, before: &Self, kind: Kind) -> load::Figures {
        let walks = if kind == Kind::Torc { self.walks - before.walks } else { self.forks - before.forks };
        vec![
            (Metric::FullSyncs, self.full - before.full),
            (Metric::PartialSyncs, self.partial - before.partial),
            (Metric::Walks, walks),
            (Metric::StreamMib, (self.offset - before.offset) / MIB),
        ]
    }
}
