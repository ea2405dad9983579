//! Runs a whole command on the one shard that owns all its keys.

use super::{Args, Carry, Command, Ctx, Next, Run};
use crate::resp::Refusal;

/// Runs a row that works on keys; the reply, or the refusal, is written to `ctx.reply`. Rows that run
/// elsewhere (`Session`, `EveryCore`, `Walk`, `Control`) are the coordinator's business and never come here.
pub fn execute_local(row: &Command, ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    match row.run {
        Run::OneShard(handler) => handler(ctx, args),
        Run::Split { part, .. } => part(ctx, args),
        Run::Steps(next) => {
            let mut carries = Vec::new();
            for step in 0.. {
                let Next::Visit(visits) = next(step, args, carries, &mut ctx.reply)? else { break };
                carries = Vec::with_capacity(visits.len());
                for visit in visits {
                    let key = args.key_at(visit.key);
                    carries.push(visit_key(ctx, &key, visit.db, visit.act, visit.carry)?);
                }
            }
            Ok(())
        }
        Run::Container
        | Run::Session(_)
        | Run::EveryCore { .. }
        | Run::Walk(_)
        | Run::Control(_)
        | Run::Node(_) => {
            unreachable!("{} does not run on a shard", row.full_name)
        }
    }
}

/// Runs one visit of a `Steps` command, in the database it asks for.
pub fn visit_key(
    ctx: &mut Ctx,
    key: &crate::keyspace::Key,
    db: Option<usize>,
    act: fn(&mut Ctx, &crate::keyspace::Key, Carry) -> Result<Carry, Refusal>,
    carry: Carry,
) -> Result<Carry, Refusal> {
    let own = ctx.db;
    ctx.db = db.unwrap_or(own);
    let brought = act(ctx, key, carry);
    ctx.db = own;
    brought
}
