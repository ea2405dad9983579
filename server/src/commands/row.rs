//! One row of the command table: what a command is called, which keys it names, and where it runs.

use bitflags::bitflags;

use super::{Args, Carry, Core, Ctx, Next, Task};
use crate::resp::{Argv, Refusal, Reply};

bitflags! {
    /// Command flags, named as COMMAND INFO prints them.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Flags: u32 {
        const WRITE = 1 << 0;
        const READONLY = 1 << 1;
        const DENYOOM = 1 << 2;
        const ADMIN = 1 << 3;
        const PUBSUB = 1 << 4;
        const NOSCRIPT = 1 << 5;
        const BLOCKING = 1 << 6;
        const LOADING = 1 << 7;
        const STALE = 1 << 8;
        const SKIP_MONITOR = 1 << 9;
        const SKIP_SLOWLOG = 1 << 10;
        const ASKING = 1 << 11;
        const FAST = 1 << 12;
        const NO_AUTH = 1 << 13;
        const MAY_REPLICATE = 1 << 14;
        const NO_ASYNC_LOADING = 1 << 15;
        const NO_MULTI = 1 << 16;
        const ALLOW_BUSY = 1 << 18;
        const NO_MANDATORY_KEYS = 1 << 19;
        const MOVABLEKEYS = 1 << 20;
        /// Not a flag of the protocol: a container whose subcommands COMMAND does not list, and those
        /// subcommands; wrong arity and an unknown subcommand are refused alike (DEBUG).
        const UNLISTED = 1 << 30;
        /// Nor is this one: MULTI does not queue the command, because it ends the transaction.
        const AT_ONCE = 1 << 31;
    }

    /// ACL categories beyond those that follow from the flags (see `Command::categories`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Categories: u32 {
        const KEYSPACE = 1 << 0;
        const READ = 1 << 1;
        const WRITE = 1 << 2;
        const SET = 1 << 3;
        const SORTEDSET = 1 << 4;
        const LIST = 1 << 5;
        const HASH = 1 << 6;
        const STRING = 1 << 7;
        const BITMAP = 1 << 8;
        const HYPERLOGLOG = 1 << 9;
        const GEO = 1 << 10;
        const STREAM = 1 << 11;
        const PUBSUB = 1 << 12;
        const ADMIN = 1 << 13;
        const FAST = 1 << 14;
        const SLOW = 1 << 15;
        const BLOCKING = 1 << 16;
        const DANGEROUS = 1 << 17;
        const CONNECTION = 1 << 18;
        const TRANSACTION = 1 << 19;
        const SCRIPTING = 1 << 20;
    }

    /// What a command does to the keys of one key specification, named as COMMAND INFO prints it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct KeyFlags: u16 {
        const RO = 1 << 0;
        const RW = 1 << 1;
        const OW = 1 << 2;
        const RM = 1 << 3;
        const ACCESS = 1 << 4;
        const UPDATE = 1 << 5;
        const INSERT = 1 << 6;
        const DELETE = 1 << 7;
        const NOT_KEY = 1 << 8;
        const INCOMPLETE = 1 << 9;
        const VARIABLE_FLAGS = 1 << 10;
    }
}

/// Where keys stand among the arguments: from `first`, to `last` (negative: counted from the end, -1 the
/// last argument), every `step`.
#[derive(Clone, Copy, Debug)]
pub struct KeySpec {
    pub flags: KeyFlags,
    pub first: usize,
    pub last: isize,
    pub step: usize,
    /// What COMMAND INFO says about the key beyond the flags; mostly nothing.
    pub notes: &'static str,
}

impl KeySpec {
    /// The one key at argument `index`.
    pub const fn at(index: usize, flags: KeyFlags) -> Self {
        KeySpec { flags, first: index, last: index as isize, step: 1, notes: "" }
    }

    /// Every argument from `first` to `last`.
    pub const fn between(first: usize, last: usize, flags: KeyFlags) -> Self {
        KeySpec { flags, first, last: last as isize, step: 1, notes: "" }
    }

    /// Every argument from `first` to the end.
    pub const fn rest(first: usize, flags: KeyFlags) -> Self {
        KeySpec { flags, first, last: -1, step: 1, notes: "" }
    }

    /// Every `step`th argument from `first` to the end (`MSET key value key value`).
    pub const fn every(first: usize, step: usize, flags: KeyFlags) -> Self {
        KeySpec { flags, first, last: -1, step, notes: "" }
    }

    pub const fn with_notes(mut self, notes: &'static str) -> Self {
        self.notes = notes;
        self
    }
}

/// One key of a concrete command: which argument it is and what happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRef {
    pub index: usize,
    pub flags: KeyFlags,
}

/// Whether a lock shares its keys with other readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
}

/// The lock a command over all shards holds while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// Nothing: the parts are independent (statistics, SLOWLOG).
    None,
    /// No write anywhere while it runs: a consistent view (DBSIZE).
    Shared,
    /// Nothing else anywhere while it runs (FLUSHALL, SWAPDB, CONFIG SET).
    Exclusive,
}

/// Makes one reply of the parts'.
pub type MergeFn =
    fn(parts: &[&[u8]], core: &Core, args: &mut Args, reply: &mut Reply) -> Result<(), Refusal>;

/// How the parts' replies, raw RESP in shard order, become one reply. The first error wins.
#[derive(Clone, Copy)]
pub enum Merge {
    /// All parts answer +OK and so does the command.
    AllOk,
    /// All parts answer integers; the reply is their sum.
    Sum,
    /// Each part answers an array with one element per key it was given; the reply has them in key order.
    PerKey,
    /// `core` is the one that coordinates: its settings and facts.
    Custom(MergeFn),
}

/// Runs on the shard that owns the command's keys.
pub type Handler = fn(&mut Ctx, &mut Args) -> Result<(), Refusal>;
/// Runs on the core of the connection; `client` is the session's key in `core.clients`.
pub type SessionHandler = fn(&mut Core, client: usize, &mut Args, &mut Reply) -> Result<(), Refusal>;
/// Runs on every core, beside its shard.
pub type CoreHandler = fn(&mut Core, &mut Ctx, &mut Args) -> Result<(), Refusal>;
/// Decides, between hops, what to visit next (`carries`: what the last visits brought, in their order).
pub type StepFn =
    fn(step: usize, args: &mut Args, carries: Vec<Carry>, reply: &mut Reply) -> Result<Next, Refusal>;

/// Says what is asked of the log core.
pub type TaskFn = fn(&Core, &mut Args) -> Result<Task, Refusal>;

/// Transaction control, which the session and the coordinator implement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    Multi,
    Exec,
    Discard,
    Watch,
    Unwatch,
    /// PSYNC and SYNC: the connection becomes a replica's.
    Replicate,
}

/// Commands that walk the keyspace in bounded slices, hop by hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    Scan,
    Keys,
}

/// Where a command runs.
#[derive(Clone, Copy)]
pub enum Run {
    /// A container of subcommands, which carry their own rows.
    Container,
    Session(SessionHandler),
    OneShard(Handler),
    /// Each shard gets the command with only its own keys (and what goes with them: `KeySpec::step`
    /// arguments a key); the replies are merged.
    Split {
        part: Handler,
        merge: Merge,
    },
    /// Reads keys, decides, writes keys, over as many hops as `StepFn` asks for, under one lock.
    Steps(StepFn),
    EveryCore {
        lock: Lock,
        part: CoreHandler,
        merge: Merge,
    },
    Walk(Walk),
    Control(Control),
    /// By the log core; the session only says what is asked.
    Node(TaskFn),
}

/// The documentation group of COMMAND DOCS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Generic,
    String,
    Connection,
    Server,
    Transactions,
}

#[derive(Clone, Copy)]
pub struct Command {
    /// Lower case; a subcommand's own name (`list`, not `client|list`).
    pub name: &'static str,
    /// `container|sub` for a subcommand, else the name.
    pub full_name: &'static str,
    /// As COMMAND INFO: the exact number of arguments with the name(s), or at least its negative.
    pub arity: i16,
    pub flags: Flags,
    pub keys: &'static [KeySpec],
    /// What a command line whose key specifications say `VARIABLE_FLAGS` does to its keys.
    pub key_flags: Option<fn(Argv) -> KeyFlags>,
    pub run: Run,
    /// Categories that do not follow from the flags.
    pub extra_categories: Categories,
    pub group: Group,
    pub since: &'static str,
    /// The version since which the command should not be used, and what to use instead.
    pub deprecated: Option<(&'static str, &'static str)>,
    pub summary: &'static str,
    pub complexity: &'static str,
    /// Arguments after the name(s), as documented: `key value [NX | XX] [EX seconds]`.
    pub syntax: &'static str,
    pub tips: &'static [&'static str],
    pub subcommands: &'static [Command],
}

impl Flags {
    /// What is no flag of the protocol.
    pub const INTERNAL: Flags = Flags::UNLISTED.union(Flags::AT_ONCE);
}

impl Command {
    /// What a row need not repeat.
    pub const BASE: Command = Command {
        name: "",
        full_name: "",
        arity: 1,
        flags: Flags::empty(),
        keys: &[],
        key_flags: None,
        run: Run::Container,
        extra_categories: Categories::empty(),
        group: Group::Generic,
        since: "1.0.0",
        deprecated: None,
        summary: "",
        complexity: "O(1)",
        syntax: "",
        tips: &[],
        subcommands: &[],
    };

    /// Whether every line of this command names exactly one key.
    #[inline]
    pub fn has_one_key(&self) -> bool {
        matches!(self.keys, [spec] if spec.last == spec.first as isize)
    }

    pub const fn is_write(&self) -> bool {
        self.flags.contains(Flags::WRITE)
    }

    /// Words that name the command: 2 for a subcommand.
    #[inline]
    pub const fn words(&self) -> usize {
        if self.name.len() == self.full_name.len() { 1 } else { 2 }
    }

    /// Whether `argc` arguments, the name(s) included, are acceptable.
    #[inline]
    pub fn accepts(&self, argc: usize) -> bool {
        let arity = self.arity as isize;
        if arity >= 0 { argc as isize == arity } else { argc as isize >= -arity }
    }

    /// Refuses a command whose last group of arguments is cut off (`MSET key value key`). Arity allows it, so
    /// whoever splits a command by its keys asks here first.
    #[inline]
    pub fn check_groups(&self, argc: usize) -> Result<(), Refusal> {
        let whole = |spec: &KeySpec| spec.last >= 0 || (argc - spec.first).is_multiple_of(spec.step);
        if self.keys.iter().all(whole) { Ok(()) } else { Err(Refusal::Arity(self.full_name)) }
    }

    /// All ACL categories, those that follow from flags and group included, as the reference derives them.
    pub fn categories(&self) -> Categories {
        let mut categories = self.extra_categories;
        let mut imply = |flag: Flags, category: Categories| {
            if self.flags.contains(flag) {
                categories |= category;
            }
        };
        imply(Flags::WRITE, Categories::WRITE);
        if !self.extra_categories.contains(Categories::SCRIPTING) {
            imply(Flags::READONLY, Categories::READ);
        }
        imply(Flags::ADMIN, Categories::ADMIN | Categories::DANGEROUS);
        imply(Flags::PUBSUB, Categories::PUBSUB);
        imply(Flags::FAST, Categories::FAST);
        imply(Flags::BLOCKING, Categories::BLOCKING);
        if !categories.contains(Categories::FAST) {
            categories |= Categories::SLOW;
        }
        categories
    }

    /// The keys among `argv`, in the order of the key specifications.
    pub fn key_refs<'a>(&'a self, argv: Argv<'a>) -> impl Iterator<Item = KeyRef> + 'a {
        let argc = argv.len();
        self.keys.iter().flat_map(move |spec| {
            let last =
                if spec.last < 0 { argc.checked_add_signed(spec.last) } else { Some(spec.last as usize) };
            let end = last.map_or(0, |last| (last + 1).min(argc));
            (spec.first..end).step_by(spec.step).map(move |index| KeyRef { index, flags: spec.flags })
        })
    }

    /// How the locks of key `flags` are shared.
    pub fn access(flags: KeyFlags) -> Access {
        if flags.contains(KeyFlags::RO) { Access::Read } else { Access::Write }
    }
}
