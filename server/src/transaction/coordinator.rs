//! A session's side of a transaction: tickets, locks, hops.

use super::program::{Env, Hop};
use super::{
    Executing, Message, Post, Program, Queued, Scheduling, TransactionId, Verdict, Watched, WorkResult,
};
use crate::commands::{Access, Command, Control, Lock, Run, table};
use crate::shard::LockSet;

/// One transaction, from its first ticket to its reply.
pub struct Coordinator {
    id: TransactionId,
    program: Program,
    phase: Phase,
    /// 0 while the transaction holds no locks.
    ticket: u64,
    hops: u32,
    /// When the first hop left, Unix ms.
    now: i64,
    enlisted: Vec<Enlisted>,
    write: bool,
}

/// What one shard is asked for.
struct Enlisted {
    shard: usize,
    locks: LockSet,
    /// Watched keys at home there and the versions that must still hold.
    watches: Vec<(usize, Vec<u8>, u64)>,
}

enum Phase {
    /// Shards that have yet to grant.
    Locking(usize),
    /// Shards that have yet to answer the current hop, and what came so far.
    Running { outstanding: usize, results: Vec<(usize, WorkResult)> },
    /// The reply is complete; so many shards have yet to say that the transaction is durable.
    Closing(usize),
}

/// What became of a transaction after an event.
pub enum Outcome {
    Waiting,
    /// The reply, and watches to keep if it was a WATCH.
    Done(Vec<u8>, Vec<Watched>),
    /// A watched key changed: EXEC answers null.
    Aborted,
}

impl Coordinator {
    /// Begins a transaction of the session `id` names; `watches` are validated under the locks. `next_ticket` draws from the process-wide counter.
    pub fn start(
        id: TransactionId,
        program: Program,
        watches: &[Watched],
        env: &mut Env,
        post: &mut Post,
        next_ticket: &mut dyn FnMut() -> u64,
    ) -> (Self, Outcome) {
        let (enlisted, write) = enlist(&program, watches, env);
        let phase = Phase::Locking(0);
        let mut coordinator = Coordinator { id, program, phase, ticket: 0, hops: 0, now: 0, enlisted, write };
        let outcome = if coordinator.enlisted.is_empty() {
            coordinator.proceed(env, post, Vec::new())
        } else {
            coordinator.schedule(post, next_ticket);
            Outcome::Waiting
        };
        (coordinator, outcome)
    }

    fn schedule(&mut self, post: &mut Post, next_ticket: &mut dyn FnMut() -> u64) {
        self.ticket = next_ticket();
        self.phase = Phase::Locking(self.enlisted.len());
        for Enlisted { shard, locks, watches } in &self.enlisted {
            let scheduling = Scheduling {
                id: self.id,
                ticket: self.ticket,
                locks: locks.clone(),
                write: self.write,
                watches: watches.clone(),
            };
            post.send(*shard, Message::Schedule(Box::new(scheduling)));
        }
    }

    /// A shard answered a ticket.
    pub fn scheduled(
        &mut self,
        verdict: Verdict,
        env: &mut Env,
        post: &mut Post,
        next_ticket: &mut dyn FnMut() -> u64,
    ) -> Outcome {
        let Phase::Locking(missing) = &mut self.phase else { return Outcome::Waiting };
        match verdict {
            Verdict::Granted => {
                *missing -= 1;
                if *missing > 0 { Outcome::Waiting } else { self.proceed(env, post, Vec::new()) }
            }
            Verdict::Refused => {
                self.cancel(post);
                env.core.stats.transaction_retries += 1;
                self.id.attempt += 1;
                self.schedule(post, next_ticket);
                Outcome::Waiting
            }
            Verdict::Dirty => {
                self.cancel(post);
                Outcome::Aborted
            }
        }
    }

    fn cancel(&self, post: &mut Post) {
        self.enlisted.iter().for_each(|one| post.send(one.shard, Message::Cancel { ticket: self.ticket }));
    }

    /// A shard answered its part of a hop.
    pub fn executed(
        &mut self,
        mut brought: Vec<(usize, WorkResult)>,
        env: &mut Env,
        post: &mut Post,
    ) -> Outcome {
        let (outstanding, results) = match &mut self.phase {
            Phase::Running { outstanding, results } => (outstanding, results),
            Phase::Closing(missing) => {
                *missing -= 1;
                return if *missing > 0 { Outcome::Waiting } else { self.finish() };
            }
            Phase::Locking(_) => return Outcome::Waiting,
        };
        results.append(&mut brought);
        *outstanding -= 1;
        if *outstanding > 0 {
            return Outcome::Waiting;
        }
        let results = std::mem::take(results);
        self.proceed(env, post, results)
    }

    /// Sends the next hop, or ends.
    fn proceed(&mut self, env: &mut Env, post: &mut Post, results: Vec<(usize, WorkResult)>) -> Outcome {
        match self.program.advance(env, results) {
            Some(hop) => {
                if self.hops == 0 {
                    self.now = env.core.now;
                }
                self.send(hop, post);
                Outcome::Waiting
            }
            None => {
                let missing = self.let_go(post, env.core.holds_replies());
                if missing == 0 {
                    return self.finish();
                }
                self.phase = Phase::Closing(missing);
                Outcome::Waiting
            }
        }
    }

    fn finish(&mut self) -> Outcome {
        let watched = std::mem::take(&mut self.program.watched);
        Outcome::Done(self.program.take_reply(), watched)
    }

    fn send(&mut self, hop: Hop, post: &mut Post) {
        let Hop { works, last } = hop;
        self.phase = Phase::Running { outstanding: works.len(), results: Vec::new() };
        let (id, ticket, hop, now) = (self.id, self.ticket, self.hops, self.now);
        self.hops += 1;
        let release = last && self.ticket != 0;
        let parts = if release { self.parts() } else { 0 };
        let busy: Vec<usize> = works.iter().map(|(shard, _)| *shard).collect();
        for (shard, works) in works {
            let executing = Executing { id, ticket, hop, now, works, release, acknowledge: false, parts };
            post.send(shard, Message::Execute(Box::new(executing)));
        }
        if release {
            for Enlisted { shard, .. } in self.enlisted.drain(..).filter(|one| !busy.contains(&one.shard)) {
                let works = Vec::new();
                let executing = Executing { id, ticket, hop, now, works, release, acknowledge: false, parts };
                post.send(shard, Message::Execute(Box::new(executing)));
            }
            self.ticket = 0;
        }
    }

    /// Lets go of the locks if the last hop has not; returns how many shards will say that what was written is
    /// durable, if that is to be waited for.
    fn let_go(&mut self, post: &mut Post, until_durable: bool) -> usize {
        let (id, ticket) = (self.id, std::mem::take(&mut self.ticket));
        if ticket == 0 {
            return 0;
        }
        let parts = self.parts();
        let acknowledge = until_durable && parts > 0;
        for Enlisted { shard, .. } in self.enlisted.drain(..) {
            let works = Vec::new();
            let executing = Executing {
                id,
                ticket,
                hop: self.hops,
                now: self.now,
                works,
                release: true,
                acknowledge,
                parts,
            };
            post.send(shard, Message::Execute(Box::new(executing)));
        }
        if acknowledge { parts } else { 0 }
    }

    /// Shards that seal what the transaction wrote.
    fn parts(&self) -> usize {
        if self.write { self.enlisted.len() } else { 0 }
    }

    pub fn commands(&self) -> &[Queued] {
        self.program.commands()
    }

    pub fn id(&self) -> TransactionId {
        self.id
    }
}

/// What each shard is asked for, and whether the transaction writes anywhere.
fn enlist(program: &Program, watches: &[Watched], env: &Env) -> (Vec<Enlisted>, bool) {
    let none = |shard| Enlisted { shard, locks: LockSet::default(), watches: Vec::new() };
    let mut enlisted: Vec<Enlisted> = (0..env.ring.shards()).map(none).collect();
    let mut whole: Option<Access> = None;
    let mut write = false;
    for queued in program.commands() {
        let row = table().row(queued.row);
        if matches!(row.run, Run::Control(Control::Watch)) {
            continue;
        }
        whole = stronger(whole, whole_lock(row, program.commands().len() > 1));
        write |= row.is_write();
        let argv = queued.argv.borrow();
        for key in row.key_refs(argv) {
            let hashed = env.hasher.key(argv.get(key.index));
            let locks = &mut enlisted[env.ring.home(hashed.slot)].locks;
            locks.keys.push((hashed.hash, Command::access(key.flags)));
        }
    }
    for Watched { db, key, version } in watches {
        let hashed = env.hasher.key(key);
        let home = &mut enlisted[env.ring.home(hashed.slot)];
        home.locks.keys.push((hashed.hash, Access::Read));
        home.watches.push((*db, key.clone(), *version));
    }
    if whole.is_some() {
        enlisted.iter_mut().for_each(|one| one.locks = LockSet { keys: Vec::new(), whole });
    }
    enlisted.iter_mut().for_each(|one| one.locks.normalise());
    enlisted.retain(|one| one.locks.whole.is_some() || !one.locks.keys.is_empty());
    (enlisted, write || whole == Some(Access::Write))
}

/// The lock on all shards that a row asks for. Walks take none by themselves, like SCAN everywhere; beside
/// other commands in one EXEC they must not see half of somebody else's.
fn whole_lock(row: &Command, among_others: bool) -> Option<Access> {
    match row.run {
        Run::EveryCore { lock: Lock::Shared, .. } => Some(Access::Read),
        Run::EveryCore { lock: Lock::Exclusive, .. } => Some(Access::Write),
        Run::Walk(_) if among_others => Some(Access::Read),
        _ => None,
    }
}

fn stronger(one: Option<Access>, other: Option<Access>) -> Option<Access> {
    match (one, other) {
        (Some(Access::Write), _) | (_, Some(Access::Write)) => Some(Access::Write),
        (one, other) => one.or(other),
    }
}
