//! `torc-bench memory`: what a key and an element take, by type and size, in servers that are alone and started fresh for
//! every row.

mod report;
mod shapes;

use std::{sync::atomic::AtomicBool, time::Duration};

use clap::{Args, ValueEnum};

use crate::{
    Common,
    client::Pipe,
    load::{Figures, Tool},
    measure::{check, rest, rss_bytes},
    results::Metric,
    run::{self, Run, Sections},
    servers::{Contender, Kind, Server, Setup},
};

use shapes::{Lasting, SHAPES, SMALL, Shape};

#[derive(Args, Clone)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub sections: Sections<Section>,
    /// Strings of a row, and elements of a row of collections
    #[arg(long, default_value_t = 1_000_000)]
    pub keys: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Section {
    Strings,
    Hashes,
    Lists,
    Sets,
    SortedSets,
    Streams,
}

/// Commands that are sent before their replies are awaited.
const PIPELINE: usize = 100;

/// Longest wait for the replies of one pipeline.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longer than a server's own account of its memory is behind; what a quick run finds means nothing.
const SETTLE: Duration = Duration::from_millis(1200);
const SETTLE_QUICK: Duration = Duration::from_millis(20);

/// Makes every measurement the options ask for and writes the report.
pub fn run(options: &Options, stop: &AtomicBool) -> Result<(), String> {
    let measure = |run: &mut Run<'_>| {
        let lacking = survey(run)?;
        run.repeat(&options.sections, |run, section| {
            let known = |shape: &&Shape| lacking.iter().all(|(_, unknown)| !unknown.contains(&shape.command));
            for shape in SHAPES.iter().filter(|shape| shape.section == section).filter(known) {
                for lasting in shape.lastings() {
                    for contender in run.turns(&Kind::PEERS) {
                        let keys = (run.scaled(options.keys) / shape.elements).max(1);
                        let figures = grow(run, contender, shape, *lasting, keys)?;
                        run.note(&shape.title(*lasting), Tool::Own, contender.kind, &figures);
                    }
                }
            }
            Ok(())
        })?;
        Ok(lacking)
    };
    run::carry_out(&options.common, &Kind::PEERS, stop, measure, |kinds, results, lacking| {
        report::report(options, kinds, &lacking, results)
    })
}

/// What a server takes before anything is in it.
const EMPTY: &str = "empty";

/// Looks at every server empty. Returns who does not know which of the commands that fill.
fn survey(run: &mut Run<'_>) -> Result<Vec<(Kind, Vec<&'static str>)>, String> {
    let mut commands = SHAPES.map(|shape| shape.command).to_vec();
    commands.dedup();
    let mut lacking = Vec::new();
    for contender in run.turns(&Kind::PEERS) {
        let server = run.start(contender, &Setup::on(&[run.options.server_cpu]))?;
        settle(run)?;
        let figures = [(Metric::EmptyMib, rss_bytes(server.pid())? as f64 / f64::from(1 << 20))];
        run.note(EMPTY, Tool::Own, contender.kind, &figures);
        let mut unknown = Vec::new();
        for &command in &commands {
            // A null instead of its description.
            if server.ask(&["COMMAND", "INFO", command])?.ends_with("-1\r\n") {
                unknown.push(command);
            }
        }
        if !unknown.is_empty() {
            eprintln!("{} does not know {}", contender.kind.label(), unknown.join(", "));
            lacking.push((contender.kind, unknown));
        }
    }
    Ok(lacking)
}

/// Fills a fresh server with `keys` keys of one shape; returns by how much it has grown.
fn grow(
    run: &mut Run<'_>,
    contender: &Contender,
    shape: &Shape,
    lasting: Lasting,
    keys: u64,
) -> Result<Figures, String> {
    let server = run.start(contender, &Setup::on(&[run.options.server_cpu]))?;
    let accounts = || Ok([rss_bytes(server.pid())? as f64, server.info("memory")?.number("used_memory")]);
    let empty = settle(run).and_then(|()| accounts())?;
    fill(&server, shape, lasting, keys, run.stop)
        .map_err(|problem| format!("{} on {}: {problem}", shape.name, contender.kind.label()))?;
    let full = settle(run).and_then(|()| accounts())?;
    let [rss, used] = [0, 1].map(|account| full[account] - empty[account]);
    let (keys, elements) = (keys as f64, (keys * shape.elements) as f64);
    let mut figures = Vec::new();
    if shape.elements <= SMALL {
        figures.extend([(Metric::BytesPerKey, rss / keys), (Metric::UsedPerKey, used / keys)]);
    }
    if shape.elements > 1 {
        figures
            .extend([(Metric::BytesPerElement, rss / elements), (Metric::UsedPerElement, used / elements)]);
    }
    Ok(figures)
}

/// Waits until what the server says of its memory is true.
fn settle(run: &Run<'_>) -> Result<(), String> {
    rest(if run.options.quick { SETTLE_QUICK } else { SETTLE }, run.stop)
}

fn fill(
    server: &Server,
    shape: &Shape,
    lasting: Lasting,
    keys: u64,
    stop: &AtomicBool,
) -> Result<(), String> {
    let mut pipe = Pipe::open(server.address, PATIENCE).map_err(|error| error.to_string())?;
    let (mut pipeline, mut requests) = (Vec::new(), 0);
    for key in 0..keys {
        requests += shape.write(key, lasting, &mut pipeline);
        if requests >= PIPELINE || key + 1 == keys {
            check(stop)?;
            pipe.order(&pipeline, requests)?;
            pipeline.clear();
            requests = 0;
        }
    }
    let found = server.ask(&["DBSIZE"])?;
    if found.trim() == format!(":{keys}") { Ok(()) } else { Err(format!("DBSIZE {found}")) }
}
