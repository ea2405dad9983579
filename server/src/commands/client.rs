//! What commands know of a connection. Its buffers and its pending replies are the session's own business.

use bitflags::bitflags;

use super::ReplicaIdentity;

bitflags! {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ClientFlags: u16 {
        /// Close once the replies so far have been sent.
        const CLOSE_AFTER_REPLY = 1 << 0;
        /// Close at once; nothing more is sent.
        const KILLED = 1 << 1;
        const AUTHENTICATED = 1 << 2;
        const NO_EVICT = 1 << 3;
        const NO_TOUCH = 1 << 4;
        const UNIX_SOCKET = 1 << 5;
        /// Between MULTI and EXEC.
        const MULTI = 1 << 6;
        /// A queued command was refused: EXEC will abort.
        const MULTI_ABORTED = 1 << 7;
        /// RESET was asked for: the session drops its MULTI and WATCH state.
        const RESET = 1 << 8;
        /// No client at all: the log's own session, which applies what has been decided already.
        const APPLIER = 1 << 9;
        /// Waits for the answer to a blocking command.
        const BLOCKED = 1 << 10;
        /// The link of a server that follows this one, and that to the server which this one follows: the log core's.
        const REPLICA = 1 << 11;
        const PRIMARY = 1 << 12;
    }
}

/// CLIENT REPLY.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyMode {
    #[default]
    On,
    Off,
    /// No reply to the next command.
    SkipNext,
    /// No reply to the command running now; set by the session as it moves on from `SkipNext`.
    Skip,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Client {
    /// Unique in the process, increasing, never reused.
    pub id: u64,
    pub flags: ClientFlags,
    pub reply_mode: ReplyMode,
    pub resp3: bool,
    pub db: usize,
    pub fd: i32,
    /// `ip:port`, `[ip6]:port` or `path:0`.
    pub addr: Box<str>,
    pub laddr: Box<str>,
    pub name: Box<[u8]>,
    pub lib_name: Box<[u8]>,
    pub lib_ver: Box<[u8]>,
    /// Unix ms.
    pub created: i64,
    pub last_active: i64,
    /// Full name of the last command.
    pub last_command: &'static str,
    /// Commands queued by MULTI.
    pub queued: usize,
    pub watching: usize,
    /// What REPLCONF told.
    pub replica: Option<Box<ReplicaIdentity>>,
    /// Bytes held by the query buffer, by unsent replies, and by queued commands.
    pub input_bytes: usize,
    pub output_bytes: usize,
    pub multi_bytes: usize,
    pub net_in: u64,
    pub net_out: u64,
    pub commands: u64,
}

impl Client {
    pub fn new(id: u64, fd: i32, addr: Box<str>, laddr: Box<str>, now: i64) -> Self {
        Client {
            id,
            flags: ClientFlags::empty(),
            reply_mode: ReplyMode::On,
            resp3: false,
            db: 0,
            fd,
            addr,
            laddr,
            name: Box::default(),
            lib_name: Box::default(),
            lib_ver: Box::default(),
            created: now,
            last_active: now,
            last_command: "NULL",
            queued: 0,
            watching: 0,
            replica: None,
            input_bytes: 0,
            output_bytes: 0,
            multi_bytes: 0,
            net_in: 0,
            net_out: 0,
            commands: 0,
        }
    }

    pub fn is(&self, flags: ClientFlags) -> bool {
        self.flags.contains(flags)
    }
}
