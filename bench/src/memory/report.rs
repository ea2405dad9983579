//! The report of `torc-bench memory`: RESULTS-memory.md and results-memory.json.

use crate::{
    load::Tool,
    report::{Report, cell, figures_table, of, table},
    results::{Metric, Results},
    servers::Kind,
};

use super::{
    EMPTY, Options,
    shapes::{SHAPES, SMALL, Shape},
};

pub fn report(
    options: &Options,
    kinds: &[Kind],
    lacking: &[(Kind, Vec<&'static str>)],
    results: &Results,
) -> Report {
    let small = |shape: &Shape| shape.elements <= SMALL;
    let many = |shape: &Shape| shape.elements > 1;
    let mut tables = String::new();
    for (title, rows, metric) in [
        ("Resident bytes/key", small as fn(&Shape) -> bool, Metric::BytesPerKey),
        ("Resident bytes/element", many, Metric::BytesPerElement),
        ("used_memory, bytes/key", small, Metric::UsedPerKey),
        ("used_memory, bytes/element", many, Metric::UsedPerElement),
    ] {
        tables.push_str(&ratios(results, kinds, title, rows, metric));
    }
    let empty = [("resident MiB", of(EMPTY, Tool::Own, Metric::EmptyMib), 1)];
    tables.push_str(&figures_table(results, kinds, "The empty server", &empty));
    Report {
        title: "What keys take in memory",
        about: about(options, lacking),
        name: options.sections.results("memory", "memory"),
        bars: Vec::new(),
        tables,
    }
}

fn about(options: &Options, lacking: &[(Kind, Vec<&'static str>)]) -> String {
    let unknown = lacking
        .iter()
        .map(|(kind, unknown)| format!("{} does not know {}", kind.label(), unknown.join(", ")));
    let left_out = match &unknown.collect::<Vec<String>>()[..] {
        [] => String::new(),
        some => format!(" What not all servers have is left out: {}.", some.join("; ")),
    };
    format!(
        "Growth of a fresh server that is filled over the wire by pipelines: resident memory (smaps_rollup) and what INFO \
         calls used_memory, more than a second after the last command, less the same of the empty server. A row of strings \
         has {keys} keys, a row of collections {keys} elements, {SMALL} or 10000 to a key; a quick run has a hundredth. Keys \
         have 16 bytes. What does not depend on the number of keys is part of the growth (buffers, the arrays of an empty \
         keyspace), and vanishes among so many; arrays of a power of two do not, so other numbers of keys give Redis and \
         Valkey some bytes more or less. Resident memory differs by some percent from run to run, Torc's because what growth \
         needs next is faulted in ahead of it; used_memory hardly does. Ratios under 1: Torc takes less.{left_out}",
        keys = options.keys
    )
}

/// A table with the peers' ratios.
fn ratios(
    results: &Results,
    kinds: &[Kind],
    title: &str,
    wanted: fn(&Shape) -> bool,
    metric: Metric,
) -> String {
    let peers: Vec<Kind> = Kind::BAR.into_iter().filter(|kind| kinds.contains(kind)).collect();
    let peers = if kinds.contains(&Kind::Torc) { peers } else { Vec::new() };
    let names = SHAPES
        .iter()
        .filter(|shape| wanted(shape))
        .flat_map(|shape| shape.lastings().iter().map(|&lasting| shape.title(lasting)));
    let rows = names.map(|name| {
        let of = of(&name, Tool::Own, metric);
        let figures = kinds.iter().map(|&kind| cell(results.spread(of, kind), 1));
        let ratios = peers.iter().map(|&peer| cell(results.ratio((of, Kind::Torc), (of, peer)), 2));
        let cells = figures.chain(ratios).collect();
        (name, cells)
    });
    let heads: Vec<String> = peers.iter().map(|peer| format!("Torc / {}", peer.label())).collect();
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    table(title, kinds, &heads, rows.collect())
}
