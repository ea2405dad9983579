//! The session without a client: applies what the log, or a primary, has decided already.
//!
//! Its commands take the same way as a client's, so they run in parallel by slot, and a transaction as one.
//! Nothing is refused it for the state of the server, and nobody reads its replies.

use std::num::NonZeroU64;
use std::ops::Range;

use super::connection::Session;
use super::machine::Machine;
use crate::commands::{Client, ClientFlags, Cut, Recent, ReplyMode};
use crate::resp::{OwnedArgv, elements};
use crate::transaction::{Program, Queued};

/// What the session has before it.
#[derive(Debug, Default)]
pub struct Unapplied {
    /// Fed and not yet executed.
    pub bytes: usize,
    /// Numbers of the replies that are outstanding.
    pub replies: Range<u64>,
    /// A transaction is under way.
    pub transacts: bool,
    /// Selected.
    pub db: usize,
}

impl Machine {
    /// Opens the session; `apply` feeds it.
    pub fn open_applier(&mut self) {
        let mut client = Client::new(0, -1, "log:0".into(), "log:0".into(), self.core.now);
        client.flags |= ClientFlags::APPLIER | ClientFlags::AUTHENTICATED;
        client.reply_mode = ReplyMode::Off;
        let key = self.insert_session(client);
        self.applier = Some(key);
    }

    /// Executes commands of a log as far as nothing stalls them, and keeps the rest. The caller bounds what it feeds
    /// by `unapplied`.
    pub fn apply(&mut self, bytes: &[u8]) {
        if let Some(key) = self.applier {
            self.received(key, bytes);
        }
    }

    pub fn unapplied(&self) -> Unapplied {
        let session = self.applier.and_then(|key| Some((key, self.sessions.get(key)?)));
        session.map_or_else(Unapplied::default, |(key, session)| Unapplied {
            bytes: session.input.len(),
            replies: session.replies.numbers(),
            transacts: session.transaction.is_some(),
            db: self.core.clients[key].db,
        })
    }

    /// Begins a cut of this number on all shards, under a lock on everything; one after the other.
    pub fn cut(&mut self, number: NonZeroU64, kind: Cut) {
        self.cuts.push_back((number, kind));
        self.begin_due_cut();
    }

    pub(super) fn begin_due_cut(&mut self) {
        let idle = |key: &usize| self.sessions[*key].transaction.is_none();
        let Some(key) = self.applier.filter(idle) else { return };
        let Some((number, kind)) = self.cuts.pop_front() else { return };
        let digits = number.to_string();
        let argv = OwnedArgv::from_iter([&b"DEBUG"[..], b"CUT", digits.as_bytes(), kind.word().as_bytes()]);
        let row = Recent::default().resolve(argv.borrow()).expect("the table has the row");
        self.transact(key, Program::new(vec![Queued { row, argv }], false), false);
    }

    /// The reply to a command of the applier's. A file is loaded as the reference server does, whatever its commands reply;
    /// but a primary only replicates what it has done.
    pub(super) fn heed_reply(&mut self, name: &[u8], reply: &[u8]) {
        if let Some(line) = reply.strip_prefix(b"-").filter(|_| self.core.replica) {
            let line = line.trim_ascii_end().escape_ascii();
            self.fail_apply(&format!("command '{}': {line}", name.escape_ascii()));
        }
    }

    /// The same for a transaction of these commands.
    pub(super) fn heed_replies(&mut self, commands: &[Queued], reply: &[u8], exec: bool) {
        let name = |queued: &Queued| queued.argv.borrow().get(0).to_vec();
        match commands {
            [only] if !exec => self.heed_reply(&name(only), reply),
            _ => {
                let failed = elements(reply).zip(commands).find(|(reply, _)| reply.starts_with(b"-"));
                if let Some((reply, queued)) = failed {
                    self.heed_reply(&name(queued), reply);
                }
            }
        }
    }

    /// A command of the log cannot be applied: the data would not be what was logged.
    pub(super) fn fail_apply(&mut self, why: &str) {
        self.apply_failure.get_or_insert_with(|| why.into());
    }

    pub(super) fn insert_session(&mut self, client: Client) -> usize {
        let now = self.core.now;
        let key = self.core.clients.insert(Box::new(client));
        let session_id = self.next_session_id(key);
        let same = self.sessions.insert(Box::new(Session::new(session_id, now)));
        assert_eq!(key, same, "sessions and clients come and go together");
        key
    }
}
