//! The server family's commands about files: asked of the log core, which writes them all.

/// What a client asks of the log core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// A snapshot; the reply waits for its end.
    Save,
    /// A snapshot; `schedule`: if another one or a rewrite is under way, afterwards.
    BgSave { schedule: bool },
    /// A new append-only file that begins with a snapshot.
    RewriteAof,
}

/// A task on its way to the log core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    pub task: Task,
    /// The session and its reply slot; `None` if the reply has been given already (within EXEC).
    pub reply_to: Option<(u64, u64)>,
}

impl Task {
    /// The reply within EXEC, which does not wait for other cores' business.
    pub fn reply_at_once(self) -> &'static str {
        match self {
            Task::Save | Task::BgSave { .. } => "Background saving scheduled",
            Task::RewriteAof => "Background append only file rewriting scheduled",
        }
    }
}
