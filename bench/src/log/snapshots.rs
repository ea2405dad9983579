//! Snapshots of a gigabyte: what writing one costs those who are served meanwhile, and how fast a replica gets it.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use torc_loadgen::{
    Plan,
    clock::Clock,
    keys::{KeyRange, Pattern},
    plan::{Arrival, End, Load},
    traffic::mix::set_get,
};

use crate::{
    load::{self, Figures, Tool},
    measure::{Peak, check, rest, until},
    results::Metric,
    servers::Server,
};

use super::{Bench, GIB_VALUE, MIB, PATIENCE, POLL, follow};

/// The same load without BGSAVE.
pub const QUIET: &str = "1 GiB, 20k SET/s";
pub const BGSAVE: &str = "1 GiB, 20k SET/s, BGSAVE";
pub const FULLSYNC: &str = "full sync of 1 GiB";

/// Four of five requests are SETs on four of the connections; the GETs are another client's.
const MIX: (u32, u32) = (4, 1);
const CONNECTIONS: usize = 5;
const RATE: f64 = 25_000.0;
const SECONDS: u64 = 20;

pub fn bgsave(bench: &mut Bench<'_, '_>) -> Result<(), String> {
    for contender in bench.turns() {
        let server = bench.primary(contender, &[])?;
        let keys = bench.fill_gib(&server)?;
        rest(bench.lasting(1), bench.run.stop)?;
        for (name, saves) in [(QUIET, false), (BGSAVE, true)] {
            let figures = serve(bench, &server, keys, saves)
                .map_err(|problem| format!("{name} on {}: {problem}", contender.kind.label()))?;
            bench.run.note(name, Tool::Loadgen, contender.kind, &figures);
        }
    }
    Ok(())
}

/// Serves the fixed load, with one BGSAVE after the other under way or with none.
fn serve(bench: &Bench<'_, '_>, server: &Server, keys: u64, saves: bool) -> Result<Figures, String> {
    let arrivals = RATE * bench.lasting(SECONDS).as_secs_f64();
    let plan = Plan {
        clients: CONNECTIONS,
        // Room for what falls due in a stall of most of a second.
        pipeline: 4096,
        mix: set_get(MIX.0, MIX.1),
        apart: true,
        load: Load::Open { rate: RATE, arrival: Arrival::Constant, end: End::Requests(arrivals as u64) },
        ..Plan::fill(
            server.address,
            KeyRange { first: 0, last: keys - 1, pattern: Pattern::Random },
            GIB_VALUE,
        )
    };
    let over = AtomicBool::new(!saves);
    let peak = Peak::watch(server.pid())?;
    let before = peak.before as f64;
    let (outcome, saved) = thread::scope(|scope| {
        let saver = scope.spawn(|| save_until(server, &over, bench.run.stop));
        let outcome = load::drive(&plan, bench.run.stop);
        over.store(true, Ordering::Relaxed);
        (outcome, saver.join().expect("the saver does not panic"))
    });
    let (outcome, (count, longest)) = (outcome?, saved?);
    let most = peak.end() as f64;
    let us = |ns: u64| ns as f64 / 1000.0;
    let gets = &outcome.command("GET").expect("the mix has GETs").response;
    let mut figures = vec![
        (Metric::P50Us, us(gets.value_at_quantile(0.5))),
        (Metric::P99Us, us(gets.value_at_quantile(0.99))),
        (Metric::P999Us, us(gets.value_at_quantile(0.999))),
        (Metric::WorstUs, us(gets.max())),
        (Metric::LagWorstUs, us(outcome.lag.max())),
        (Metric::PeakMib, most / MIB),
        (Metric::ExtraPercent, (most - before) * 100.0 / before),
    ];
    if saves {
        figures.extend([(Metric::Saves, f64::from(count)), (Metric::SaveSeconds, longest)]);
        if let Some(copied) = server.info("persistence")?.field("rdb_last_cow_size") {
            figures.push((Metric::CopiedMib, copied.parse().unwrap_or(0.0) / MIB));
        }
    }
    Ok(figures)
}

/// Starts a BGSAVE whenever none is under way, until `over`; then waits for the last. Returns how many there were and
/// the seconds of the longest.
fn save_until(server: &Server, over: &AtomicBool, stop: &AtomicBool) -> Result<(u32, f64), String> {
    let (mut count, mut longest) = (0, 0.0_f64);
    while !over.load(Ordering::Relaxed) {
        check(stop)?;
        let before = server.info("persistence")?.number("rdb_saves");
        let clock = Clock::start();
        server.ask(&["BGSAVE"])?;
        // By the count: what INFO says is under way may lag behind a reply.
        let saved = || {
            let info = server.info("persistence")?;
            if info.field("rdb_last_bgsave_status") != Some("ok") {
                return Err("BGSAVE failed".into());
            }
            let idle = info.number("rdb_bgsave_in_progress") == 0.0;
            Ok((idle && info.number("rdb_saves") > before).then_some(()))
        };
        until(PATIENCE, Duration::from_millis(50), stop, saved)?.ok_or("BGSAVE does not come to an end")?;
        count += 1;
        longest = longest.max(clock.ns() as f64 / 1e9);
    }
    Ok((count, longest))
}

pub fn fullsync(bench: &mut Bench<'_, '_>) -> Result<(), String> {
    for contender in bench.turns() {
        let primary = bench.primary(contender, &[])?;
        bench.fill_gib(&primary)?;
        let replica = bench.replica(contender)?;
        rest(bench.lasting(1), bench.run.stop)?;
        let wanted = primary.ask(&["DBSIZE"])?;
        let peak = Peak::watch(primary.pid())?;
        let before = peak.before as f64;
        let clock = Clock::start();
        follow(&replica, primary.address)?;
        let synced = until(PATIENCE, POLL, bench.run.stop, || {
            let up = replica.info("replication")?.field("master_link_status") == Some("up");
            Ok((up && replica.ask(&["DBSIZE"])? == wanted).then_some(()))
        })?;
        let seconds = clock.ns() as f64 / 1e9;
        synced.ok_or_else(|| format!("{}: the full sync does not come to an end", contender.kind.label()))?;
        let most = peak.end() as f64;
        let figures = [
            (Metric::SyncSeconds, seconds),
            (Metric::PeakMib, most / MIB),
            (Metric::ExtraPercent, (most - before) * 100.0 / before),
            (Metric::FullSyncs, primary.info("stats")?.number("sync_full")),
        ];
        bench.run.note(FULLSYNC, Tool::Loadgen, contender.kind, &figures);
    }
    Ok(())
}
