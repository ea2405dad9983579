//! The server family's commands about files: asked of the log core, which writes them all.

use super::{Args, Categories, Command, Core, Flags, Group, Run};
use crate::resp::{Refusal, Reply};

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

const ROW: Command = Command {
    group: Group::Server,
    flags: Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::NO_ASYNC_LOADING),
    ..Command::BASE
};

pub const COMMANDS: &[Command] = &[
    Command {
        name: "bgrewriteaof",
        full_name: "bgrewriteaof",
        run: Run::Node(rewrite_aof),
        summary: "Begins the append-only file anew with a snapshot, in the background.",
        ..ROW
    },
    Command {
        name: "bgsave",
        full_name: "bgsave",
        arity: -1,
        run: Run::Node(bgsave),
        summary: "Writes a snapshot in the background.",
        syntax: "[SCHEDULE]",
        ..ROW
    },
    Command {
        name: "lastsave",
        full_name: "lastsave",
        flags: Flags::LOADING.union(Flags::STALE).union(Flags::FAST),
        run: Run::Session(lastsave),
        extra_categories: Categories::ADMIN.union(Categories::DANGEROUS),
        summary: "Returns the Unix time of the last snapshot.",
        tips: &["nondeterministic_output"],
        ..ROW
    },
    Command {
        name: "save",
        full_name: "save",
        flags: Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::NO_ASYNC_LOADING).union(Flags::NO_MULTI),
        run: Run::Node(save),
        summary: "Writes a snapshot and returns when it is on the disk.",
        complexity: "O(N) with N keys in all databases",
        ..ROW
    },
];

fn rewrite_aof(_args: &mut Args) -> Result<Task, Refusal> {
    Ok(Task::RewriteAof)
}

fn bgsave(args: &mut Args) -> Result<Task, Refusal> {
    let schedule = args.option("SCHEDULE");
    if args.is_empty() { Ok(Task::BgSave { schedule }) } else { Err(Refusal::Syntax) }
}

fn save(_args: &mut Args) -> Result<Task, Refusal> {
    Ok(Task::Save)
}

fn lastsave(core: &mut Core, _client: usize, _args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    reply.int(core.node.log.last_save);
    Ok(())
}
