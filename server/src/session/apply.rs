//! The session without a client: applies what the log, or a primary, has decided already.
//!
//! Its commands take the same way as a client's, so they run in parallel by slot, and a transaction as one.
//! Nothing is refused it for the state of the server, and nobody reads its replies.

use super::connection::Session;
use super::machine::Machine;
use crate::commands::{Client, ClientFlags, ReplyMode};

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

    /// Bytes fed and not yet executed, and commands whose shard has not answered.
    pub fn unapplied(&self) -> (usize, usize) {
        let session = self.applier.and_then(|key| self.sessions.get(key));
        session.map_or((0, 0), |session| {
            let transaction = usize::from(session.transaction.is_some());
            (session.input.len(), session.replies.outstanding() + transaction)
        })
    }

    /// Whether the session is still there: a protocol error ends it.
    pub fn is_applying(&self) -> bool {
        self.applier.is_some_and(|key| self.sessions.contains(key))
    }

    /// Closes the session.
    pub fn close_applier(&mut self) {
        if let Some(key) = self.applier.take() {
            self.broken(key);
        }
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
