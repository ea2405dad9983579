//! What a transaction does once it has its locks: its commands, hop by hop, and the reply they make.

use super::{Work, WorkResult};
use crate::commands::{
    Args, Ask, Carry, Client, Command, Control, Core, Merge, Next, Run, StepFn, TaskFn, Visit, Walk,
    WalkPlan, table,
};
use crate::keyspace::{KeyHasher, Ring};
use crate::resp::{Argv, OwnedArgv, Refusal, Reply, elements};
use crate::shard;

/// A command on its way into a transaction.
#[derive(Debug)]
pub struct Queued {
    pub row: u16,
    pub argv: OwnedArgv,
}

/// A key under WATCH and the version that must still hold at EXEC.
#[derive(Debug)]
pub struct Watched {
    pub db: usize,
    pub key: Vec<u8>,
    pub version: u64,
}

/// What running a program needs of its core.
pub struct Env<'a> {
    pub core: &'a mut Core,
    /// The session's key in `core.clients`.
    pub client: usize,
    pub ring: Ring,
    pub hasher: &'a KeyHasher,
}

/// One hop: works by shard, each with its number.
pub struct Hop {
    pub works: Vec<(usize, Vec<(usize, Work)>)>,
    /// No further hop follows: the shards may let go with it.
    pub last: bool,
}

enum Stage {
    Idle,
    /// This many commands from `at` on, each whole on one shard.
    Run(usize),
    /// For each work, which of the command's keys it was given.
    Split {
        merge: Merge,
        placement: Vec<Vec<usize>>,
    },
    Steps {
        next: StepFn,
        step: usize,
    },
    Every(Merge),
    Walk(WalkPlan),
    Watch,
}

pub struct Program {
    commands: Vec<Queued>,
    /// The command that runs now.
    at: usize,
    /// EXEC: the reply is an array of the commands' replies.
    exec: bool,
    stage: Stage,
    out: Vec<u8>,
    /// Watches established by WATCH, for the session to keep.
    pub watched: Vec<Watched>,
    /// Reading of the core's clock when the current command began, ns.
    began: u64,
}

impl Program {
    pub fn new(commands: Vec<Queued>, exec: bool) -> Self {
        Program { commands, at: 0, exec, stage: Stage::Idle, out: Vec::new(), watched: Vec::new(), began: 0 }
    }

    pub fn commands(&self) -> &[Queued] {
        &self.commands
    }

    pub fn take_reply(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Takes in what the last hop brought and returns the next one; `None` when the reply is complete.
    pub fn advance(&mut self, env: &mut Env, mut results: Vec<(usize, WorkResult)>) -> Option<Hop> {
        results.sort_unstable_by_key(|(tag, _)| *tag);
        let results: Vec<WorkResult> = results.into_iter().map(|(_, result)| result).collect();
        if self.exec && self.out.is_empty() {
            Reply::new(&mut self.out, false).array(self.commands.len());
        }
        let mut hop = self.absorb(env, results);
        while hop.is_none() && self.at < self.commands.len() {
            hop = self.begin(env);
        }
        hop
    }

    fn row(&self) -> &'static Command {
        table().row(self.commands[self.at].row)
    }

    /// The reply of the current command is complete.
    fn finish(&mut self, env: &mut Env, outcome: Result<(), Refusal>, start: usize) {
        let row = self.commands[self.at].row;
        let nanos = (env.core.ticks)().saturating_sub(self.began);
        env.core.command_stats[row as usize].record(nanos, env.core.settings.latency_tracking);
        env.core.stats.commands_processed += 1;
        if let Err(refusal) = outcome {
            self.out.truncate(start);
            shard::refuse(env.core, row, &refusal, &mut self.out);
        }
        self.at += 1;
        self.stage = Stage::Idle;
    }

    fn absorb(&mut self, env: &mut Env, results: Vec<WorkResult>) -> Option<Hop> {
        match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Idle => {}
            Stage::Run(count) => {
                replies(&results).for_each(|reply| self.out.extend_from_slice(reply));
                self.at += count;
            }
            Stage::Split { merge, placement } => self.merge(env, merge, &results, &placement),
            Stage::Every(merge) => self.merge(env, merge, &results, &[]),
            Stage::Steps { next, step } => return self.absorb_steps(env, next, step, results),
            Stage::Walk(plan) => return self.absorb_walk(env, plan, results),
            Stage::Watch => {
                let start = self.out.len();
                let db = env.core.clients[env.client].db;
                let argv = self.commands[self.at].argv.borrow();
                for (key, result) in argv.iter().skip(1).zip(results) {
                    let WorkResult::Watched { version } = result else { unreachable!("{result:?}") };
                    self.watched.push(Watched { db, key: key.to_vec(), version });
                }
                Reply::new(&mut self.out, false).ok();
                self.finish(env, Ok(()), start);
            }
        }
        None
    }

    fn merge(&mut self, env: &mut Env, merge: Merge, results: &[WorkResult], placement: &[Vec<usize>]) {
        let start = self.out.len();
        let resp3 = env.core.clients[env.client].resp3;
        let parts: Vec<&[u8]> = replies(results).collect();
        let queued = &self.commands[self.at];
        let mut args = Args::new(queued.argv.borrow(), table().row(queued.row).words(), env.hasher);
        let mut reply = Reply::new(&mut self.out, resp3);
        let outcome = merge_parts(merge, &parts, placement, env.core, &mut args, &mut reply);
        self.finish(env, outcome, start);
    }

    fn absorb_steps(
        &mut self,
        env: &mut Env,
        next: StepFn,
        step: usize,
        results: Vec<WorkResult>,
    ) -> Option<Hop> {
        let carries = results.into_iter().map(|result| match result {
            WorkResult::Visited(brought) => brought,
            other => unreachable!("a visit brings a carry, not {other:?}"),
        });
        let carries: Result<Vec<Carry>, Refusal> = carries.collect();
        self.step(env, next, step, carries)
    }

    fn step(
        &mut self,
        env: &mut Env,
        next: StepFn,
        step: usize,
        carries: Result<Vec<Carry>, Refusal>,
    ) -> Option<Hop> {
        let start = self.out.len();
        let client = &env.core.clients[env.client];
        let (resp3, own_db) = (client.resp3, client.db);
        let queued = &self.commands[self.at];
        let mut args = Args::new(queued.argv.borrow(), table().row(queued.row).words(), env.hasher);
        let mut reply = Reply::new(&mut self.out, resp3);
        let decided = carries.and_then(|carries| next(step, &mut args, carries, &mut reply));
        match decided {
            Ok(Next::Done) => self.finish(env, Ok(()), start),
            Err(refusal) => self.finish(env, Err(refusal), start),
            Ok(Next::Visit(visits)) => {
                let mut works = Works::default();
                for (tag, Visit { key, db, act, carry }) in visits.into_iter().enumerate() {
                    let key = env.hasher.key(queued.argv.borrow().get(key));
                    let work = Work::Visit { db: db.unwrap_or(own_db), key: key.bytes.to_vec(), act, carry };
                    works.add(env.ring.home(key.slot), tag, work);
                }
                self.stage = Stage::Steps { next, step: step + 1 };
                return Some(works.hop(false));
            }
        }
        None
    }

    fn absorb_walk(&mut self, env: &mut Env, mut plan: WalkPlan, results: Vec<WorkResult>) -> Option<Hop> {
        for result in results {
            let WorkResult::Walked { keys, cursor } = result else { unreachable!("{result:?}") };
            plan.absorb(keys, cursor, env.ring);
        }
        self.walk(env, plan)
    }

    fn walk(&mut self, env: &mut Env, plan: WalkPlan) -> Option<Hop> {
        let Client { db, resp3, .. } = *env.core.clients[env.client];
        if let Some((shard, cursor, budget)) = plan.next(env.ring) {
            let work = Work::Walk { db, cursor, budget, filter: plan.filter().clone() };
            self.stage = Stage::Walk(plan);
            return Some(Hop { works: vec![(shard, vec![(0, work)])], last: false });
        }
        let start = self.out.len();
        plan.reply(&mut Reply::new(&mut self.out, resp3));
        self.finish(env, Ok(()), start);
        None
    }

    /// Starts the current command: a hop, or `None` if it is done already.
    fn begin(&mut self, env: &mut Env) -> Option<Hop> {
        self.began = (env.core.ticks)();
        let row = self.row();
        let start = self.out.len();
        let only = self.at + 1 == self.commands.len();
        let argv = self.commands[self.at].argv.borrow();
        match row.run {
            Run::OneShard(_) | Run::Split { .. } | Run::Steps(_) if one_home(env, row, argv).is_some() => {
                return Some(self.begin_run(env));
            }
            Run::Split { merge, .. } => {
                if let Err(refusal) = row.check_groups(argv.len()) {
                    self.finish(env, Err(refusal), start);
                    return None;
                }
                let (hop, placement) = self.split(env, row, only);
                self.stage = Stage::Split { merge, placement };
                return Some(hop);
            }
            Run::Steps(next) => return self.step(env, next, 0, Ok(Vec::new())),
            Run::EveryCore { merge, .. } => {
                let Client { db, resp3, id: caller, .. } = *env.core.clients[env.client];
                let row = self.commands[self.at].row;
                let work = |shard| {
                    (shard, vec![(shard, Work::Every { row, db, resp3, caller, argv: argv.to_owned() })])
                };
                let works = (0..env.ring.shards()).map(work).collect();
                self.stage = Stage::Every(merge);
                return Some(Hop { works, last: only });
            }
            Run::Walk(kind) => {
                let plan = plan_walk(kind, &mut Args::new(argv, row.words(), env.hasher));
                match plan {
                    Ok(plan) => return self.walk(env, plan),
                    Err(refusal) => self.finish(env, Err(refusal), start),
                }
            }
            Run::Control(Control::Watch) => {
                let Client { db, .. } = *env.core.clients[env.client];
                let mut works = Works::default();
                for (tag, key) in argv.iter().skip(1).enumerate() {
                    let home = env.ring.home(env.hasher.key(key).slot);
                    works.add(home, tag, Work::Watch { db, key: key.to_vec() });
                }
                self.stage = Stage::Watch;
                return Some(works.hop(true));
            }
            Run::Session(handler) => {
                let resp3 = env.core.clients[env.client].resp3;
                let mut args = Args::new(argv, row.words(), env.hasher);
                let mut reply = Reply::new(&mut self.out, resp3);
                let outcome = handler(env.core, env.client, &mut args, &mut reply);
                self.finish(env, outcome, start);
            }
            Run::Node(task) => {
                let mut reply = Reply::new(&mut self.out, false);
                let outcome = ask(env.core, task, &mut Args::new(argv, row.words(), env.hasher), &mut reply);
                self.finish(env, outcome, start);
            }
            // UNWATCH inside EXEC: the watches are gone already.
            Run::Control(_) => {
                Reply::new(&mut self.out, false).ok();
                self.finish(env, Ok(()), start);
            }
            Run::OneShard(_) | Run::Container => unreachable!("{} has one home", row.full_name),
        }
        None
    }

    /// All commands from here on that live whole on one shard each, in one hop.
    fn begin_run(&mut self, env: &mut Env) -> Hop {
        let Client { db, resp3, flags, .. } = *env.core.clients[env.client];
        let no_touch = flags.contains(crate::commands::ClientFlags::NO_TOUCH);
        let mut works = Works::default();
        let mut count = 0;
        for queued in &self.commands[self.at..] {
            let row = table().row(queued.row);
            if !matches!(row.run, Run::OneShard(_) | Run::Split { .. } | Run::Steps(_)) {
                break;
            }
            let Some(home) = one_home(env, row, queued.argv.borrow()) else { break };
            let argv = queued.argv.clone();
            works.add(home, count, Work::Command { row: queued.row, db, resp3, no_touch, argv, part: false });
            count += 1;
        }
        self.stage = Stage::Run(count);
        works.hop(self.at + count == self.commands.len())
    }

    /// Gives each shard the command with only its keys; also returns which keys each work got.
    fn split(&self, env: &Env, row: &Command, last: bool) -> (Hop, Vec<Vec<usize>>) {
        let Client { db, resp3, flags, .. } = *env.core.clients[env.client];
        let no_touch = flags.contains(crate::commands::ClientFlags::NO_TOUCH);
        let queued = &self.commands[self.at];
        let argv = queued.argv.borrow();
        let step = row.keys[0].step;
        let name = || ((0..row.words()).map(|word| argv.get(word)).collect(), Vec::new());
        let mut parts: Vec<Option<(OwnedArgv, Vec<usize>)>> = (0..env.ring.shards()).map(|_| None).collect();
        for (ordinal, key) in row.key_refs(argv).enumerate() {
            let home = env.ring.home(env.hasher.key(argv.get(key.index)).slot);
            let (part, ordinals) = parts[home].get_or_insert_with(name);
            (key.index..key.index + step).for_each(|index| part.push(argv.get(index)));
            ordinals.push(ordinal);
        }
        let mut placement = Vec::new();
        let mut works = Vec::new();
        for (shard, part) in parts.into_iter().enumerate() {
            let Some((argv, ordinals)) = part else { continue };
            let work = Work::Command { row: queued.row, db, resp3, no_touch, argv, part: true };
            works.push((shard, vec![(placement.len(), work)]));
            placement.push(ordinals);
        }
        (Hop { works, last }, placement)
    }
}

/// Works of a hop, gathered by shard.
#[derive(Default)]
struct Works {
    by_shard: Vec<(usize, Vec<(usize, Work)>)>,
}

impl Works {
    fn add(&mut self, shard: usize, tag: usize, work: Work) {
        match self.by_shard.iter_mut().find(|(of, _)| *of == shard) {
            Some((_, works)) => works.push((tag, work)),
            None => self.by_shard.push((shard, vec![(tag, work)])),
        }
    }

    fn hop(self, last: bool) -> Hop {
        Hop { works: self.by_shard, last }
    }
}

/// The one shard that is home to all keys of a command; a command without keys is at home anywhere.
fn one_home(env: &Env, row: &Command, argv: Argv) -> Option<usize> {
    let mut homes = row.key_refs(argv).map(|key| env.ring.home(env.hasher.key(argv.get(key.index)).slot));
    let Some(first) = homes.next() else { return Some(env.core.index) };
    homes.all(|home| home == first).then_some(first)
}

fn plan_walk(kind: Walk, args: &mut Args) -> Result<WalkPlan, Refusal> {
    match kind {
        Walk::Scan => WalkPlan::scan(args),
        Walk::Keys => WalkPlan::keys(args),
    }
}

/// A task for the log core from within EXEC: its reply cannot wait.
fn ask(core: &mut Core, task: TaskFn, args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    let task = task(core, args)?;
    task.reply_at_once(&core.node, reply);
    if !task.blocks() {
        core.asks.push(Ask { task, reply_to: None });
    }
    Ok(())
}

fn replies(results: &[WorkResult]) -> impl Iterator<Item = &[u8]> {
    results.iter().map(|result| match result {
        WorkResult::Reply(bytes) => bytes.as_slice(),
        other => unreachable!("a command brings a reply, not {other:?}"),
    })
}

fn merge_parts(
    merge: Merge,
    parts: &[&[u8]],
    placement: &[Vec<usize>],
    core: &Core,
    args: &mut Args,
    reply: &mut Reply,
) -> Result<(), Refusal> {
    if let Some(error) = parts.iter().find(|part| part.first() == Some(&b'-')) {
        let line = String::from_utf8_lossy(&error[1..error.len() - 2]).into_owned();
        return Err(Refusal::Text(line.into()));
    }
    match merge {
        Merge::AllOk => reply.ok(),
        Merge::Sum => {
            let value = |part: &&[u8]| crate::resp::parse_i64(&part[1..part.len() - 2]).unwrap_or(0);
            reply.int(parts.iter().map(value).sum());
        }
        Merge::PerKey => {
            let mut all: Vec<&[u8]> = vec![&[]; placement.iter().map(Vec::len).sum()];
            for (part, ordinals) in parts.iter().zip(placement) {
                elements(part).zip(ordinals).for_each(|(element, &ordinal)| all[ordinal] = element);
            }
            reply.array(all.len());
            all.into_iter().for_each(|element| reply.raw(element));
        }
        Merge::Custom(merge) => merge(parts, core, args, reply)?,
    }
    Ok(())
}
