//! A shard's side of batches and transactions.

use std::collections::HashMap;

use super::{
    Batch, Executed, Executing, Late, Message, Post, Scheduling, TransactionId, Verdict, Work, WorkResult,
};
use crate::commands::{Access, Args, Core, Ctx, Expiry, Run, execute_local, table, visit_key, walk_step};
use crate::resp::{Refusal, Reply};
use crate::shard::{self, Call, Parked, Ready, Shard, Token, lock_set};

/// A ticket this shard has accepted.
struct Enrolled {
    id: TransactionId,
    watches: Vec<(usize, Vec<u8>, u64)>,
    /// Hops that arrived before the ticket's turn among the writers.
    held: Vec<Executing>,
}

#[derive(Default)]
pub struct Participant {
    enrolled: HashMap<u64, Enrolled>,
}

/// What the participant works with, borrowed for one message.
pub struct Site<'a> {
    pub shard: &'a mut Shard,
    pub core: &'a mut Core,
    pub post: &'a mut Post,
}

impl Participant {
    pub fn schedule(&mut self, site: &mut Site, scheduling: Scheduling) {
        let Scheduling { id, ticket, locks, write, watches } = scheduling;
        let verdict = site.shard.schedule(ticket, &locks, write);
        if verdict == shard::Verdict::Refused {
            site.post.send(id.core, Message::Scheduled { id, verdict: Verdict::Refused });
            return;
        }
        self.enrolled.insert(ticket, Enrolled { id, watches, held: Vec::new() });
        if verdict == shard::Verdict::Granted {
            self.pursue(site, vec![Ready::Granted(ticket)]);
        }
    }

    pub fn execute(&mut self, site: &mut Site, executing: Executing) {
        if executing.ticket == 0 {
            let emitted = site.shard.data.outbox.emitted();
            let (id, results) = (executing.id, run_works(site, executing.works, executing.now));
            answer(site, id.core, emitted, Message::Executed(Box::new(Executed { id, results })));
        } else if site.shard.may_execute(executing.ticket) {
            self.run_ticket(site, executing);
        } else {
            let enrolled = self.enrolled.get_mut(&executing.ticket).expect("a granted ticket is enrolled");
            enrolled.held.push(executing);
        }
    }

    pub fn cancel(&mut self, site: &mut Site, ticket: u64) {
        // A refused ticket was never enrolled here; its cancellation has nothing to do.
        if self.enrolled.remove(&ticket).is_some() {
            let mut ready = Vec::new();
            site.shard.release(ticket, &mut ready);
            self.pursue(site, ready);
        }
    }

    fn run_ticket(&mut self, site: &mut Site, executing: Executing) {
        let mut ready = Vec::new();
        self.run_hop_of_ticket(site, executing, &mut ready);
        self.pursue(site, ready);
    }

    /// One hop of a ticket whose turn it is; the last one lets go of its locks.
    fn run_hop_of_ticket(&mut self, site: &mut Site, executing: Executing, ready: &mut Vec<Ready>) {
        let Executing { id, ticket, hop, now, works, release, acknowledge, parts } = executing;
        let answers = acknowledge || !works.is_empty();
        let mut emitted = site.shard.data.outbox.emitted();
        // A transaction that only reads is never sealed, but may find keys whose time is up.
        if site.shard.first_writer() == Some(ticket) {
            site.shard.data.outbox.begin(ticket, hop);
        }
        let results = run_works(site, works, now);
        site.shard.data.outbox.end();
        if !release {
            // What a hop wrote is durable only once all shards have sealed, and they wait for the hops to come.
            emitted = site.shard.data.outbox.emitted();
        }
        if release && parts > 0 && site.shard.data.outbox.is_open() {
            site.shard.data.outbox.seal(ticket, parts);
            // The transaction is in the log with its last seal, whoever wrote what of it.
            emitted = u64::MAX;
        }
        if answers {
            answer(site, id.core, emitted, Message::Executed(Box::new(Executed { id, results })));
        }
        if release {
            self.enrolled.remove(&ticket);
            site.shard.release(ticket, ready);
        }
    }

    /// Does all that a release made possible, and what that makes possible in turn.
    fn pursue(&mut self, site: &mut Site, mut ready: Vec<Ready>) {
        loop {
            while let Some(next) = ready.pop() {
                match next {
                    Ready::Granted(ticket) => self.granted(site, ticket),
                    Ready::Run(place, parked) => {
                        run_parked(site, parked);
                        site.shard.finish(place, &mut ready);
                    }
                }
            }
            // A released writer may make room for the next one in ticket order.
            let Some(first) = site.shard.first_writer() else { return };
            let Some(enrolled) = self.enrolled.get_mut(&first).filter(|enrolled| !enrolled.held.is_empty())
            else {
                return;
            };
            let held = std::mem::take(&mut enrolled.held);
            for executing in held {
                let may = site.shard.may_execute(first);
                debug_assert!(may, "the first writer may execute");
                self.run_hop_of_ticket(site, executing, &mut ready);
            }
        }
    }

    /// All locks of `ticket` on this shard are held: checks what it watched, and answers.
    fn granted(&self, site: &mut Site, ticket: u64) {
        let enrolled = &self.enrolled[&ticket];
        let id = enrolled.id;
        let (data, now) = (&site.shard.data, site.core.now);
        let changed = enrolled.watches.iter().any(|(db, key, version)| {
            let hashed = data.keyspace.hasher().key(key);
            // Where a primary decides, a key changes when it says so: a due one would abort until then.
            let gone = data.expiry != Expiry::Hide && data.keyspace.is_due(*db, &hashed, now);
            data.watches.version(*db, key) != Some(*version) || gone
        });
        let verdict = if changed { Verdict::Dirty } else { Verdict::Granted };
        site.post.send(id.core, Message::Scheduled { id, verdict });
    }

    pub fn check_invariants(&self, shard: &Shard) {
        assert!(!self.enrolled.is_empty() || shard.first_writer().is_none(), "a writer nobody remembers");
    }
}

/// Runs a batch that another core's sessions sent, and sends the replies back.
pub fn run_batch(site: &mut Site, mut batch: Box<Batch>, from: usize) {
    let keyspace = &site.shard.data.keyspace;
    let keys = |batch: &Batch, visit: &mut dyn FnMut(usize, u16, u64)| {
        (0..batch.len())
            .filter_map(|index| batch.prefetch_key(index))
            .for_each(|(db, slot, hash)| visit(db, slot, hash));
    };
    keys(&batch, &mut |db, slot, _| keyspace.prefetch_slot(db, slot));
    keys(&batch, &mut |db, slot, hash| keyspace.prefetch_bucket(db, slot, hash));
    keys(&batch, &mut |db, slot, hash| keyspace.prefetch_entry(db, slot, hash));
    let (mut replies, mut ends) = batch.take_replies();
    let emitted = site.shard.data.outbox.emitted();
    site.core.last_tick = (site.core.ticks)();
    let mut slow = std::mem::take(&mut batch.slow);
    for index in 0..batch.len() {
        let call = batch.call(index);
        let request = batch.requests()[index];
        let token = Token { core: from, session: request.session, reply: request.reply };
        if !park_if_locked(site.shard, &call, token) {
            if let Some(nanos) = shard::execute(site.shard, site.core, call, &mut replies) {
                slow.push((index, nanos));
            }
            ends.push(Batch::end(replies.len()));
        } else {
            ends.push(Batch::late());
        }
    }
    batch.slow = slow;
    batch.put_replies(replies, ends);
    answer(site, from, emitted, Message::Replies(batch));
}

/// Sends an answer; one to writes waits until they are durable, if that is the promise. `emitted` is where the outbox
/// stood before.
fn answer(site: &mut Site, to: usize, emitted: u64, message: Message) {
    let outbox = &site.shard.data.outbox;
    if site.core.holds_replies() && outbox.emitted() != emitted {
        site.post.hold(outbox.seq(), to, message);
    } else {
        site.post.send(to, message);
    }
}

/// Parks a command that conflicts with a lock. False, at the price of one branch, while nothing is locked.
#[inline]
pub fn park_if_locked(shard: &mut Shard, call: &Call, token: Token) -> bool {
    !shard.is_unlocked() && park_behind_lock(shard, call, token)
}

#[cold]
fn park_behind_lock(shard: &mut Shard, call: &Call, token: Token) -> bool {
    let mut set = lock_set(table().row(call.row), call.argv, shard.data.keyspace.hasher());
    // A lock of the session's own keeps its commands on this shard in order behind one that is parked.
    set.keys.push((token.session.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ token.core as u64, Access::Write));
    if !shard.must_wait(&set) {
        return false;
    }
    let Call { row, db, resp3, no_touch, .. } = *call;
    shard.park(&set, Parked { token, row, db, resp3, no_touch, argv: call.argv.to_owned() });
    true
}

fn run_parked(site: &mut Site, parked: Parked) {
    let Parked { token, row, db, resp3, no_touch, argv } = parked;
    let mut bytes = Vec::new();
    let emitted = site.shard.data.outbox.emitted();
    site.core.last_tick = (site.core.ticks)();
    let call = Call { row, argv: argv.borrow(), routed: None, db, resp3, no_touch };
    shard::execute(site.shard, site.core, call, &mut bytes);
    let late = Late { session: token.session, reply: token.reply, bytes, last: false };
    answer(site, token.core, emitted, Message::Late(late));
}

/// Runs the works of one hop at the time of its transaction.
fn run_works(site: &mut Site, works: Vec<(usize, Work)>, now: i64) -> Vec<(usize, WorkResult)> {
    let own = std::mem::replace(&mut site.core.now, now);
    let results = works.into_iter().map(|(tag, work)| (tag, run_work(site, work))).collect();
    site.core.now = own;
    results
}

fn run_work(site: &mut Site, work: Work) -> WorkResult {
    let now = site.core.now;
    match work {
        Work::Command { row, db, resp3, no_touch, argv, part: false } => {
            let mut bytes = Vec::new();
            site.core.last_tick = (site.core.ticks)();
            let call = Call { row, argv: argv.borrow(), routed: None, db, resp3, no_touch };
            shard::execute(site.shard, site.core, call, &mut bytes);
            WorkResult::Reply(bytes)
        }
        Work::Command { row, db, resp3, no_touch, argv, part: true } => {
            WorkResult::Reply(part(site, row, db, resp3, no_touch, &argv.borrow(), |_, row, ctx, args| {
                execute_local(row, ctx, args)
            }))
        }
        Work::Every { row, db, resp3, caller, argv } => {
            site.core.caller = caller;
            WorkResult::Reply(part(site, row, db, resp3, false, &argv.borrow(), |core, row, ctx, args| {
                let Run::EveryCore { part, .. } = row.run else { unreachable!("{}", row.full_name) };
                part(core, ctx, args)
            }))
        }
        Work::Visit { db, key, act, carry } => {
            let data = &mut site.shard.data;
            let hasher = data.keyspace.hasher().clone();
            let mut nothing = Vec::new();
            let reply = Reply::new(&mut nothing, false);
            let mut ctx = Ctx { data, db, now, reply, no_touch: false };
            WorkResult::Visited(visit_key(&mut ctx, &hasher.key(&key), None, act, carry))
        }
        Work::Walk { db, cursor, budget, filter } => {
            let mut keys = Vec::new();
            let cursor = walk_step(&site.shard.data, db, now, cursor, budget, &filter, &mut |key| {
                keys.push(key.to_vec());
            });
            WorkResult::Walked { keys, cursor }
        }
        Work::Watch { db, key } => {
            let data = &mut site.shard.data;
            let hasher = data.keyspace.hasher().clone();
            let mut nothing = Vec::new();
            let reply = Reply::new(&mut nothing, false);
            // A key past its time counts as missing from the start: removing it later is no change.
            Ctx { data, db, now, reply, no_touch: true }.peek(&hasher.key(&key));
            WorkResult::Watched { version: site.shard.data.watches.watch(db, &key) }
        }
    }
}

type PartFn = fn(&mut Core, &crate::commands::Command, &mut Ctx, &mut Args) -> Result<(), Refusal>;

/// One shard's part of a command: its raw reply, or the error that becomes the whole command's.
fn part(
    site: &mut Site,
    row: u16,
    db: usize,
    resp3: bool,
    no_touch: bool,
    argv: &crate::resp::Argv,
    run: PartFn,
) -> Vec<u8> {
    let command = table().row(row);
    let data = &mut site.shard.data;
    let hasher = data.keyspace.hasher().clone();
    let mut bytes = Vec::new();
    let reply = Reply::new(&mut bytes, resp3);
    let mut ctx = Ctx { data, db, now: site.core.now, reply, no_touch };
    let mut args = Args::new(*argv, command.words(), &hasher);
    if let Err(refusal) = run(site.core, command, &mut ctx, &mut args) {
        bytes.clear();
        Reply::new(&mut bytes, resp3).error_line(&refusal.line());
    }
    bytes
}
