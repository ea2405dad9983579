//! LATENCY: how long commands took, from the histograms of `CommandStats`.

use super::help::help_row;
use super::parts::{all_elements, integer};
use super::{Args, Command, Core, Ctx, Flags, Group, Lock, Merge, Run, table};
use crate::resp::{Refusal, Reply, elements};
use hdrhistogram::Histogram;

/// What all rows share.
const ROW: Command = Command {
    flags: Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::LOADING).union(Flags::STALE),
    group: Group::Server,
    since: "2.8.13",
    ..Command::BASE
};

pub const COMMANDS: &[Command] = &[Command {
    name: "latency",
    full_name: "latency",
    arity: -2,
    flags: Flags::empty(),
    summary: "Commands about latency.",
    complexity: "Depends on the subcommand",
    subcommands: SUBCOMMANDS,
    ..ROW
}];

const SUBCOMMANDS: &[Command] = &[
    help_row("latency|help", Group::Server, "2.8.13"),
    Command {
        name: "histogram",
        full_name: "latency|histogram",
        arity: -2,
        run: Run::EveryCore { lock: Lock::None, part: histogram, merge: Merge::Custom(merge_histogram) },
        since: "7.0.0",
        summary: "Returns how many calls of commands took at most how long.",
        complexity: "O(N) with N commands asked for",
        syntax: "[command [command ...]]",
        tips: &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"],
        ..ROW
    },
    Command {
        name: "reset",
        full_name: "latency|reset",
        arity: -2,
        run: Run::Session(reset),
        summary: "Forgets recorded events; returns how many.",
        syntax: "[event [event ...]]",
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        ..ROW
    },
];

/// Times that calls are counted up to: the first, in nanoseconds, and how many, each twice the one before.
const FIRST_LEVEL: u64 = 1024;
const LEVELS: u32 = 21;

/// The longest time that falls into the histogram's bucket of `level`: two digits of precision divide a
/// power of two into 128 buckets.
fn top(level: u32) -> u64 {
    let nanos = FIRST_LEVEL << level;
    nanos + nanos / 128 - 1
}

/// Rows that the arguments name, a container's subcommands for the container; all rows without arguments.
fn rows(args: &mut Args) -> Result<Vec<u16>, Refusal> {
    let count = table().rows().len() as u16;
    if args.is_empty() {
        return Ok((0..count).collect());
    }
    let mut rows = Vec::new();
    while !args.is_empty() {
        let name = args.take()?.to_ascii_lowercase();
        rows.extend((0..count).filter(|row| {
            let full = table().row(*row).full_name.as_bytes();
            full.strip_prefix(name.as_slice()).is_some_and(|rest| rest.first().is_none_or(|bar| *bar == b'|'))
        }));
    }
    Ok(rows)
}

/// Answers for each row that was called its number, the calls, and the calls up to each level.
fn histogram(core: &mut Core, ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    let called = rows(args)?.into_iter().filter_map(|row| {
        let histogram: &Histogram<u64> = core.command_stats[row as usize].latency.as_deref()?;
        Some((row, histogram))
    });
    let called: Vec<(u16, &Histogram<u64>)> = called.collect();
    ctx.reply.array(called.len());
    for (row, histogram) in called {
        ctx.reply.array(2 + LEVELS as usize);
        ctx.reply.int(i64::from(row));
        ctx.reply.int(histogram.len() as i64);
        (0..LEVELS).for_each(|level| ctx.reply.int(histogram.count_between(0, top(level)) as i64));
    }
    Ok(())
}

/// Only levels at which the count grows are told, in microseconds.
fn merge_histogram(parts: &[&[u8]], _core: &Core, args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    let mut sums: Vec<Vec<i64>> = vec![Vec::new(); table().rows().len()];
    for element in all_elements(parts) {
        let numbers: Vec<i64> = elements(element).map(integer).collect();
        let Some((row, counts)) = numbers.split_first() else { continue };
        let sum = &mut sums[*row as usize];
        sum.resize(counts.len(), 0);
        sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    let mut rows = rows(args)?;
    rows.retain(|row| !sums[*row as usize].is_empty());
    reply.map(rows.len());
    for row in rows {
        let (calls, counts) = sums[row as usize].split_first().expect("rows without counts are gone");
        let mut before = 0;
        let grown: Vec<(u32, i64)> = (0..)
            .zip(counts.iter().copied())
            .filter(|(_, count)| std::mem::replace(&mut before, *count) < *count)
            .collect();
        reply.bulk(table().row(row).full_name.as_bytes());
        reply.map(2);
        reply.bulk(b"calls");
        reply.int(*calls);
        reply.bulk(b"histogram_usec");
        reply.map(grown.len());
        for (level, count) in grown {
            reply.int((top(level) / 1000) as i64);
            reply.int(count);
        }
    }
    Ok(())
}

/// No events are recorded, so none is forgotten.
fn reset(_core: &mut Core, _client: usize, _args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    reply.int(0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::shell::Shell;
    use super::super::table;

    #[test]
    fn calls_are_counted_up_to_powers_of_two() {
        let mut shell = Shell::new(2);
        let row = table().resolve(b"config", Some(b"get")).expect("the row exists") as usize;
        for (core, micros) in [(0, 3), (1, 3), (0, 30), (1, 250), (0, 400)] {
            shell.cores[core].command_stats[row].record(micros * 1000, true);
        }
        let config = "$10|config|get|*4|$5|calls|:5|$14|histogram_usec|*8|:4|:2|:33|:3|:264|:4|:528|:5|";
        assert_eq!(shell.run("LATENCY HISTOGRAM"), format!("*2|{config}"));
        assert_eq!(shell.run("LATENCY HISTOGRAM nosuch Config"), format!("*2|{config}"));
        assert_eq!(shell.run("LATENCY HISTOGRAM config|get"), format!("*2|{config}"));
        assert_eq!(shell.run("LATENCY HISTOGRAM conf ping"), "*0|");
        assert_eq!(shell.run("LATENCY RESET"), ":0|");
    }
}
