//! Runs one command on its shard: permission by memory, the handler, its statistics.

use super::Shard;
use crate::commands::{Args, Core, Ctx, Flags, execute_local, table};
use crate::keyspace::Key;
use crate::resp::{Argv, Refusal, Reply};

/// A command as it reaches its home.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    pub row: u16,
    pub argv: Argv<'a>,
    /// The key that routing has already hashed, and its argument index.
    pub routed: Option<(usize, Key<'a>)>,
    pub db: usize,
    pub resp3: bool,
    pub no_touch: bool,
}

/// Runs `call` and appends its reply to `out`. Returns the nanoseconds it took if the slow log wants it.
#[inline]
pub fn execute(shard: &mut Shard, core: &mut Core, call: Call, out: &mut Vec<u8>) -> Option<u64> {
    let row = table().row(call.row);
    let before = core.last_tick;
    let start = out.len();
    let outcome = if core.out_of_memory && row.flags.contains(Flags::DENYOOM) {
        Err(Refusal::OutOfMemory)
    } else {
        run(shard, core.now, &call, out)
    };
    core.last_tick = (core.ticks)();
    let nanos = core.last_tick.saturating_sub(before);
    let tracking = core.settings.latency_tracking;
    core.command_stats[call.row as usize].record(nanos, tracking);
    core.stats.commands_processed += 1;
    if let Err(refusal) = outcome {
        out.truncate(start);
        refuse(core, call.row, &refusal, out);
    }
    core.is_slow(nanos).then_some(nanos)
}

#[inline]
fn run(shard: &mut Shard, now: i64, call: &Call, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let row = table().row(call.row);
    let data = &mut shard.data;
    let hasher = data.keyspace.hasher().clone();
    let mut args = Args::new(call.argv, row.words(), &hasher);
    if let Some((index, key)) = call.routed {
        args = args.with_routed(index, key);
    }
    let reply = Reply::new(out, call.resp3);
    let mut ctx = Ctx { data, db: call.db, now, reply, no_touch: call.no_touch };
    execute_local(row, &mut ctx, &mut args)
}

/// Writes an error reply and counts it.
#[cold]
pub fn refuse(core: &mut Core, row: u16, refusal: &Refusal, out: &mut Vec<u8>) {
    let line = refusal.line();
    Reply::new(out, false).error_line(&line);
    core.command_stats[row as usize].failed += 1;
    core.count_error(&line);
}
