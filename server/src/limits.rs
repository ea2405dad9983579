//! Every bound of the server and its reason. A queue names here how long it may get and what happens when it is full.

/// Hash slots of the keyspace; the number is part of the cluster protocol of the reference server.
pub const SLOTS: usize = 16384;

/// Most shards of one process: a shard number travels as a byte-sized index in slot routing tables.
pub const MAX_SHARDS: usize = 128;

/// Arguments of one command, as in the reference server; the query buffer limit bounds their bytes.
pub const MAX_ARGUMENTS: usize = i32::MAX as usize;

/// Bytes of one inline command line, as in the reference server.
pub const MAX_INLINE: usize = 64 * 1024;

/// Arguments and bulk bytes a connection may send before it has authenticated, as in the reference server.
pub const UNAUTHENTICATED_ARGUMENTS: usize = 10;
pub const UNAUTHENTICATED_BULK: usize = 16384;

/// Commands parsed, hashed and prefetched together before the first of them runs. Beyond 64 the first
/// prefetched lines leave L1 before they are used (`slot-table` measurements: 16 → 64 gains 10 %, more nothing).
pub const COMMANDS_PER_BATCH: usize = 64;

/// Replies a session may have outstanding on other cores. At the limit the session stops parsing; its
/// input stays in its buffer, then in the socket, so the client is slowed, not refused.
pub const OUTSTANDING_REPLIES: usize = 512;

/// Where that limit begins for a session whose replies are not known yet. Small replies
/// raise it one by one, so that it doubles with every hop; a large one lowers it to what `OUTPUT_PAUSE` holds
/// of its size.
pub const FIRST_WINDOW: usize = 16;

/// Replies to writes a session may have held back until they are durable; then it is stalled as above.
pub const HELD_REPLIES: usize = 4096;

/// Replies that may leave wait for those of other cores that will soon follow, so that a pipeline over several
/// shards is answered by one send: until there are so many bytes of them, or for so many microseconds.
pub const PARTIAL_OUTPUT: usize = 16 * 1024;
pub const PARTIAL_WAIT_US: i64 = 1000;

/// Unsent reply bytes at which a session stops executing further commands of its pipeline until the
/// client has read some. A client that never reads therefore pins at most this much plus one reply.
pub const OUTPUT_PAUSE: usize = 1 << 20;

/// Unconsumed input at which a stalled session is not read any further: one receive buffer more than
/// a pipeline usually fills, so that stalls of a hop's length never stop the network.
pub const PAUSE_INPUT: usize = 64 * 1024;

/// A session whose output is paused and that takes not one byte for this long is disconnected (ms).
pub const OUTPUT_STALLED_MS: i64 = 60_000;

/// Buffers larger than this go back to the allocator once empty instead of staying with a session or a pool.
pub const KEEP_BUFFER: usize = 64 * 1024;

/// Batches one core may have in flight to another core. When the ring is full the batch stays with the
/// sender and grows there; it is bounded by `OUTSTANDING_REPLIES` of each session of that core.
pub const MESH_DEPTH: usize = 256;

/// Bytes of effects a shard may have on their way to the disk. Beyond it the shard runs no new command until some have
/// arrived: clients wait, as they would for any slow disk.
pub const EFFECTS_IN_FLIGHT: usize = 64 << 20;

/// Bytes of one line of a primary before its snapshot; the longest that has a meaning is an error of some hundred.
pub const PRIMARY_LINE: usize = 64 * 1024;

/// Bytes of one command or transaction in the stream of a primary, which a replica holds back until it is whole. Twice the
/// longest command; a transaction of more would have to be applied in one go, and in memory, anyway.
pub const REPLICATED_UNIT: u64 = 4 << 30;

/// Strings up to this long live inside their keyspace entry; longer ones have an allocation of their own
/// so that APPEND and SETRANGE can keep slack without moving the key.
pub const INLINE_VALUE: usize = 1024;

/// Entries that a walk (KEYS, SCAN) visits on a shard before it lets other commands run: about 0.1 ms.
pub const WALK_SLICE: usize = 1024;

/// Bytes of a snapshot that a shard collects before it hands them on, and what one step of its walk is asked for: about 0.1 ms.
/// What changes before the walk has come by is saved in chunks of this size, each given out before the walk goes on.
pub const CUT_CHUNK: usize = 64 * 1024;

/// Longest string that is compressed when it is written to a file or dumped: this much costs a core some 2 ms, during which
/// it serves nobody. Longer ones are written as they are, where the reference server has a process of its own to spend time in.
pub const COMPRESS_MAX: usize = 256 << 10;

/// Bytes of the stream that memory keeps at most for replicas that are behind, where no file has them: the reference server's
/// default hard limit of a replica's output. A replica that needs more begins anew.
pub const BEHIND_IN_MEMORY: usize = 256 << 20;

/// Increments that a rewrite has replaced and that are kept for replicas, whatever their size: they are all named in the
/// manifest, which every rewrite writes anew.
pub const HISTORY_FILES: usize = 1000;

/// Bytes of a big value given back to the allocator per slice of background freeing.
pub const REAP_SLICE: usize = 1 << 20;

/// Entries examined per slice of active expiry at `active-expire-effort 1`: about 50 µs when all of them go.
pub const EXPIRE_SLICE: usize = 256;

/// Sessions looked after in one sweep; there are `hz` sweeps a second.
pub const SESSION_SWEEP: usize = 1024;

/// Largest string value, `proto-max-bulk-len`'s default, as in the reference server.
pub const MAX_BULK: u64 = 512 * 1024 * 1024;

/// The version of the reference server whose commands and replies these are; clients choose what they send by it.
pub const REDIS_VERSION: &str = "7.2.0";

const _: () = assert!(SLOTS.is_power_of_two());
const _: () = assert!(MAX_SHARDS <= u8::MAX as usize);
const _: () = assert!(COMMANDS_PER_BATCH <= OUTSTANDING_REPLIES);
