//! From parsed commands to their homes: looks up rows, hashes and prefetches keys, then runs in order.

use super::machine::Machine;
use crate::commands::{
    Args, Ask, ClientFlags, Control, Flags, KeyRef, Recent, ReplyMode, Run, TaskFn, admit, admit_now,
    passes_over, refuse_unknown_command, refuse_unknown_subcommand, table,
};
use crate::keyspace::{Key, slot_of};
use crate::resp::{Argv, Commands, Refusal, Reply};
use crate::shard::{self, Call, Token, refuse};
use crate::transaction::{Program, Queued, park_if_locked};

/// What routing found out about one command of a batch.
#[derive(Clone, Copy)]
pub struct Route {
    /// The row, or `NO_ROW` for a command line that names none.
    row: u16,
    /// The first key's argument index (0: none), slot and hash.
    key_index: u32,
    slot: u16,
    hash: u64,
    home: Home,
}

const NO_ROW: u16 = u16::MAX;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Home {
    /// This core's shard, or a command without keys.
    Here,
    There(usize),
    /// Keys of several shards.
    Several,
}

impl Machine {
    /// Runs a parsed batch in order. `Some(offset)` if it stopped early: just behind the last command run.
    pub(super) fn run_commands(&mut self, key: usize, commands: &Commands, buf: &[u8]) -> Option<usize> {
        let mut routes = std::mem::take(&mut self.routes);
        routes.clear();
        let db = self.core.clients[key].db;
        let mut recent = self.recent;
        routes
            .extend((0..commands.len()).map(|index| self.route(commands.argv(index, buf), db, &mut recent)));
        self.recent = recent;
        let keyspace = &self.shard.data.keyspace;
        if routes.len() > 1 {
            let here = |route: &&Route| route.home == Home::Here && route.key_index > 0;
            routes.iter().filter(here).for_each(|key| keyspace.prefetch_bucket(db, key.slot, key.hash));
            routes.iter().filter(here).for_each(|key| keyspace.prefetch_entry(db, key.slot, key.hash));
        }
        self.core.last_tick = (self.core.ticks)();
        let mut stopped = None;
        for (index, route) in routes.iter().enumerate() {
            let argv = commands.argv(index, buf);
            let waits = self.waits_for_replies(key, route);
            if waits || self.core.is_pausing() && self.postpone(key, argv, route) {
                self.sessions[key].barrier = waits;
                stopped = Some(if index == 0 { 0 } else { commands.end(index - 1) });
                break;
            }
            self.run_command(key, argv, route);
            let gone = !self.sessions.contains(key);
            let last = index + 1 == routes.len();
            if gone || !last && (self.sessions[key].is_stalled() || self.core.clients[key].is_closing()) {
                stopped = Some(commands.end(index));
                break;
            }
        }
        self.routes = routes;
        if self.sessions.contains(key) && self.sessions[key].replies.unsent() > 0 {
            self.mark_dirty(key);
            self.bound_output(key);
        }
        stopped
    }

    /// Stops the session before a command that must wait for the end of a pause, if nothing else speaks against it.
    #[cold]
    fn postpone(&mut self, key: usize, argv: Argv, route: &Route) -> bool {
        if route.row == NO_ROW || self.applier == Some(key) {
            return false;
        }
        let row = table().row(route.row);
        let queued = match row.run {
            Run::Control(Control::Exec) => &self.sessions[key].multi,
            _ => &None,
        };
        let queued = queued.iter().flat_map(|multi| &multi.queued).map(|queued| table().row(queued.row));
        let waits = queued.chain([row]).any(|row| self.core.postpones(row));
        let postponed = waits && self.admit(key, argv, route).is_ok();
        if postponed {
            self.sessions[key].postponed = true;
            self.core.clients[key].flags |= ClientFlags::BLOCKED;
        }
        postponed
    }

    /// Whether a command must wait until all earlier ones have their replies: those that become transactions
    /// do, or a command of theirs could overtake an earlier one that waits for a lock; and what is asked of the log
    /// core, which has the effects of the earlier ones then.
    #[inline]
    fn waits_for_replies(&mut self, key: usize, route: &Route) -> bool {
        let session = &mut self.sessions[key];
        session.barrier = false;
        let outstanding = session.replies.outstanding() > 0;
        outstanding && route.row != NO_ROW && {
            let run = table().row(route.row).run;
            route.home == Home::Several
                || matches!(
                    run,
                    Run::EveryCore { .. }
                        | Run::Walk(_)
                        | Run::Node(_)
                        | Run::Control(Control::Exec | Control::Watch)
                )
        }
    }

    #[inline]
    fn route(&self, argv: Argv, db: usize, recent: &mut Recent) -> Route {
        let none = Route { row: NO_ROW, key_index: 0, slot: 0, hash: 0, home: Home::Here };
        let Some(number) = recent.resolve(argv) else { return none };
        let row = table().row(number);
        if row.keys.is_empty() || !row.accepts(argv.len()) {
            return Route { row: number, ..none };
        }
        let first = row.keys[0].first;
        if first >= argv.len() {
            return Route { row: number, ..none };
        }
        let key = self.hasher.key(argv.get(first));
        let home = self.ring.home(key.slot);
        if home == self.core.index {
            self.shard.data.keyspace.prefetch_slot(db, key.slot);
        }
        let elsewhere = |key: KeyRef| self.ring.home(slot_of(argv.get(key.index))) != home;
        let several = self.ring.shards() > 1 && !row.has_one_key() && row.key_refs(argv).any(elsewhere);
        let home = if several {
            Home::Several
        } else if home == self.core.index {
            Home::Here
        } else {
            Home::There(home)
        };
        Route { row: number, key_index: first as u32, slot: key.slot, hash: key.hash, home }
    }

    fn run_command(&mut self, key: usize, argv: Argv, route: &Route) {
        let client = &mut self.core.clients[key];
        client.commands += 1;
        client.reply_mode = match client.reply_mode {
            ReplyMode::SkipNext => ReplyMode::Skip,
            ReplyMode::Skip => ReplyMode::On,
            mode => mode,
        };
        if route.row == NO_ROW {
            return self.reject_unknown(key, argv);
        }
        let row = table().row(route.row);
        client.last_command = row.full_name;
        let in_multi = client.is(ClientFlags::MULTI);
        if let Err(refusal) = self.admit(key, argv, route) {
            return self.reject(key, Some(route.row), &refusal);
        }
        if in_multi && queues(row.run, row.flags) {
            return self.queue(key, route.row, argv);
        }
        match row.run {
            Run::OneShard(_) | Run::Split { .. } | Run::Steps(_) => match route.home {
                Home::Here => self.run_here(key, argv, route),
                Home::There(home) => self.send_there(key, argv, route, home),
                Home::Several => self.transact_one(key, argv, route.row),
            },
            Run::Session(_) => self.run_session(key, argv, route.row),
            Run::EveryCore { .. } | Run::Walk(_) => self.transact_one(key, argv, route.row),
            Run::Control(control) => self.control(key, control, argv, route.row),
            Run::Node(task) => self.ask_node(key, argv, route.row, task),
            Run::Container => unreachable!("a container's own row is never resolved"),
        }
    }

    /// What must hold before any command runs or is queued.
    #[inline]
    fn admit(&self, key: usize, argv: Argv, route: &Route) -> Result<(), Refusal> {
        let row = table().row(route.row);
        admit(row, &self.core, key, argv)?;
        let in_multi = self.core.clients[key].is(ClientFlags::MULTI);
        if in_multi && row.flags.contains(Flags::NO_MULTI) {
            return Err(Refusal::err("Command not allowed inside a transaction"));
        }
        // Between MULTI and EXEC whatever would be queued takes memory.
        let takes_memory = row.flags.contains(Flags::DENYOOM) || in_multi && queues(row.run, row.flags);
        if self.core.out_of_memory && takes_memory {
            return Err(Refusal::OutOfMemory);
        }
        admit_now(row.flags, &self.core, key)
    }

    #[cold]
    fn reject_unknown(&mut self, key: usize, argv: Argv) {
        if self.applier == Some(key) {
            if passes_over(argv.get(0)) {
                return;
            }
            let name = String::from_utf8_lossy(argv.get(0)).into_owned();
            self.fail_apply(&format!("unknown command '{name}'"));
        }
        let client = &mut self.core.clients[key];
        if client.is(ClientFlags::MULTI) {
            client.flags |= ClientFlags::MULTI_ABORTED;
        }
        self.core.count_error("ERR");
        if [&b"POST"[..], b"Host:"].iter().any(|name| argv.get(0).eq_ignore_ascii_case(name)) {
            // Somebody's browser was tricked into talking to us.
            let client = &self.core.clients[key];
            tracing::warn!(client = client.id, addr = %client.addr, "closing a client that speaks HTTP");
            self.core.doomed.push(key);
            self.core.clients[key].flags |= ClientFlags::CLOSE_AFTER_REPLY;
            return;
        }
        self.answer(key, |reply| match table().find(argv.get(0)) {
            Some(container) if argv.len() > 1 => {
                refuse_unknown_subcommand(table().row(container), argv, reply);
            }
            Some(container) => reply.refuse(&Refusal::Arity(table().row(container).full_name)),
            None => refuse_unknown_command(argv, reply),
        });
    }

    /// Refuses a command that never ran; between MULTI and EXEC that spoils the transaction.
    #[cold]
    fn reject(&mut self, key: usize, row: Option<u16>, refusal: &Refusal) {
        let client = &mut self.core.clients[key];
        if client.is(ClientFlags::MULTI) {
            client.flags |= ClientFlags::MULTI_ABORTED;
        }
        if let Some(row) = row {
            self.core.command_stats[row as usize].rejected += 1;
        }
        let mut line = refusal.line();
        if row.is_some_and(|row| matches!(table().row(row).run, Run::Control(Control::Exec))) {
            self.leave_multi(key);
            self.unwatch(key);
            let why = line.strip_prefix("ERR ").unwrap_or(&line);
            line = format!("EXECABORT Transaction discarded because of: {why}").into();
        }
        self.core.count_error(&line);
        if self.applier == Some(key) {
            let name = row.map_or("", |row| table().row(row).full_name);
            self.fail_apply(&format!("command '{name}': {line}"));
        }
        self.answer(key, |reply| reply.error_line(&line));
    }

    /// Writes a reply of the session's own making.
    pub(super) fn answer(&mut self, key: usize, write: impl FnOnce(&mut Reply)) {
        let client = &self.core.clients[key];
        let (resp3, silent) = (client.resp3, client.is_silent());
        let replies = &mut self.sessions[key].replies;
        let (out, start) = replies.begin();
        write(&mut Reply::new(out, resp3));
        replies.written(start, silent);
    }

    fn call<'a>(&self, key: usize, argv: Argv<'a>, route: &Route) -> Call<'a> {
        let client = &self.core.clients[key];
        let index = route.key_index as usize;
        let routed =
            (index > 0).then(|| (index, Key { bytes: argv.get(index), hash: route.hash, slot: route.slot }));
        Call {
            row: route.row,
            argv,
            routed,
            db: client.db,
            resp3: client.resp3,
            no_touch: client.is(ClientFlags::NO_TOUCH),
        }
    }

    fn run_here(&mut self, key: usize, argv: Argv, route: &Route) {
        let call = self.call(key, argv, route);
        let silent = self.core.clients[key].is_silent();
        let session = &mut self.sessions[key];
        if !self.shard.is_unlocked() {
            // The slot is reserved first because the parked command needs its number.
            let reply = session.replies.reserve(silent);
            let token = Token { core: self.core.index, session: session.id, reply };
            if park_if_locked(&mut self.shard, &call, token) {
                return;
            }
            session.replies.unreserve();
        }
        let (out, start) = session.replies.begin();
        let emitted = self.shard.data.outbox.emitted();
        let slow = shard::execute(&mut self.shard, &mut self.core, call, out);
        let failure = (silent && out.get(start) == Some(&b'-')).then(|| out[start..].to_vec());
        let outbox = &self.shard.data.outbox;
        if self.core.holds_replies() && outbox.emitted() != emitted && !silent {
            session.replies.written_held(start, outbox.seq());
            let held = (outbox.seq(), session.id);
            if self.held.back() != Some(&held) {
                self.held.push_back(held);
            }
        } else {
            session.replies.written(start, silent);
        }
        if let Some(nanos) = slow {
            self.log_slow(Some(key), nanos, argv.len(), argv.iter());
        }
        if let Some(reply) = failure.filter(|_| self.applier == Some(key)) {
            self.heed_reply(argv.get(0), &reply);
        }
    }

    fn send_there(&mut self, key: usize, argv: Argv, route: &Route, home: usize) {
        let call = self.call(key, argv, route);
        let silent = self.core.clients[key].is_silent();
        let session = &mut self.sessions[key];
        let reply = session.replies.reserve(silent);
        self.post.pack(home, session.id, reply, &call);
    }

    fn run_session(&mut self, key: usize, argv: Argv, row: u16) {
        let command = table().row(row);
        let Run::Session(handler) = command.run else { unreachable!("{} runs elsewhere", command.full_name) };
        let resp3 = self.core.clients[key].resp3;
        let mut args = Args::new(argv, command.words(), &self.hasher);
        let replies = &mut self.sessions[key].replies;
        let (out, start) = replies.begin();
        let before = self.core.last_tick;
        let outcome = handler(&mut self.core, key, &mut args, &mut Reply::new(out, resp3));
        self.core.last_tick = (self.core.ticks)();
        let nanos = self.core.last_tick.saturating_sub(before);
        let tracking = self.core.settings.latency_tracking;
        self.core.command_stats[row as usize].record(nanos, tracking);
        self.core.stats.commands_processed += 1;
        if let Err(refusal) = outcome {
            out.truncate(start);
            refuse(&mut self.core, row, &refusal, out);
            if self.applier == Some(key) {
                let reply = out[start..].to_vec();
                self.heed_reply(argv.get(0), &reply);
            }
        }
        let replies = &mut self.sessions[key].replies;
        replies.written(start, self.core.clients[key].is_silent());
        self.after_session_command(key);
    }

    fn after_session_command(&mut self, key: usize) {
        let client = &mut self.core.clients[key];
        if client.is(ClientFlags::RESET) {
            client.flags.remove(ClientFlags::RESET);
            self.leave_multi(key);
            self.unwatch(key);
        }
    }

    /// Passes a task on to the log core, whose reply comes later.
    fn ask_node(&mut self, key: usize, argv: Argv, row: u16, task: TaskFn) {
        self.core.command_stats[row as usize].record(1, false);
        self.core.stats.commands_processed += 1;
        let mut args = Args::new(argv, table().row(row).words(), &self.hasher);
        match task(&self.core, &mut args) {
            Ok(task) => {
                let silent = self.core.clients[key].is_silent();
                let session = &mut self.sessions[key];
                let reply = session.replies.reserve(silent);
                if task.blocks() {
                    session.blocked = Some(reply);
                    self.core.clients[key].flags |= ClientFlags::BLOCKED;
                }
                self.core.asks.push(Ask { task, reply_to: Some((session.id, reply)) });
            }
            Err(refusal) => self.reject(key, Some(row), &refusal),
        }
    }

    fn transact_one(&mut self, key: usize, argv: Argv, row: u16) {
        let queued = Queued { row, argv: argv.to_owned() };
        self.transact(key, Program::new(vec![queued], false), false);
    }
}

/// Whether MULTI queues a command: all but those that control the transaction or end the connection.
fn queues(run: Run, flags: Flags) -> bool {
    let controls =
        matches!(run, Run::Control(Control::Multi | Control::Exec | Control::Discard | Control::Watch));
    !controls && !flags.contains(Flags::AT_ONCE)
}
