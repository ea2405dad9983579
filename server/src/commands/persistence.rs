//! The server family's commands about files: asked of the log core, which writes them all.

use super::{
    Args, Categories, Command, Core, FailoverPlan, FailoverState, Flags, Group, NodeFacts, Run, Shutdown,
};
use crate::resp::{Refusal, Reply};

/// What a client asks of the log core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// A snapshot; the reply waits for its end.
    Save,
    /// A snapshot; `schedule`: if another one or a rewrite is under way, afterwards.
    BgSave {
        schedule: bool,
    },
    /// All data has gone: the last snapshot is not to bring it back.
    SaveEmpty,
    /// A new append-only file that begins with a snapshot.
    RewriteAof,
    /// Answers once so many replicas have what this session wrote, or the time is up; 0 ms: for ever.
    Wait {
        replicas: i64,
        timeout_ms: u64,
    },
    /// As above, for what is on their disks, and on this server's.
    WaitAof {
        local: bool,
        replicas: i64,
        timeout_ms: u64,
    },
    /// Follow this primary; none: be one.
    ReplicaOf(Option<(Box<str>, u16)>),
    Failover(FailoverPlan),
    AbortFailover,
    /// The end of the server, or of that; the reply comes only if it comes to nothing.
    Shutdown(Shutdown),
    /// The link of this client number is to be closed.
    EndLink(u64),
    /// The session that waits for the reply named is gone.
    GiveUp,
}

/// A task on its way to the log core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    pub task: Task,
    /// The session and its reply slot; `None` if the reply has been given already (within EXEC).
    pub reply_to: Option<(u64, u64)>,
}

impl Task {
    /// Whether the session does nothing else until it has the answer.
    pub fn blocks(&self) -> bool {
        match self {
            Task::Shutdown(how) => !how.abort,
            // What follows in the pipeline is not to be in the snapshot.
            Task::Save | Task::BgSave { .. } => true,
            _ => matches!(self, Task::Wait { .. } | Task::WaitAof { .. }),
        }
    }

    /// The reply within EXEC, which does not wait for other cores' business.
    pub fn reply_at_once(&self, node: &NodeFacts, reply: &mut Reply) {
        match self {
            Task::Save | Task::BgSave { .. } => reply.simple("Background saving scheduled"),
            Task::RewriteAof => reply.simple("Background append only file rewriting scheduled"),
            Task::Wait { .. } => reply.int(node.replication.up_to_date() as i64),
            Task::WaitAof { .. } => {
                reply.array(2);
                reply.int(i64::from(node.log.durable_offset >= node.log.offset && node.log.offset > 0));
                reply.int(0);
            }
            Task::ReplicaOf(_) => reply.ok(),
            Task::Failover(plan) => match plan.check_server(&node.replication) {
                Ok(()) => reply.ok(),
                Err(why) => reply.error_line(why),
            },
            Task::AbortFailover if node.replication.failover == FailoverState::None => {
                reply.error_line(FailoverPlan::NOT_UNDER_WAY)
            }
            Task::AbortFailover => reply.ok(),
            // None of them is queued.
            Task::SaveEmpty | Task::Shutdown(_) | Task::EndLink(_) | Task::GiveUp => {}
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

fn rewrite_aof(_core: &Core, _args: &mut Args) -> Result<Task, Refusal> {
    Ok(Task::RewriteAof)
}

fn bgsave(_core: &Core, args: &mut Args) -> Result<Task, Refusal> {
    let schedule = args.option("SCHEDULE");
    if args.is_empty() { Ok(Task::BgSave { schedule }) } else { Err(Refusal::Syntax) }
}

fn save(_core: &Core, _args: &mut Args) -> Result<Task, Refusal> {
    Ok(Task::Save)
}

fn lastsave(core: &mut Core, _client: usize, _args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    reply.int(core.node.log.last_save);
    Ok(())
}
