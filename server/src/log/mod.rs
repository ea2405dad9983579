//! The log: the one ordered stream of all effects, on its way to the files and to the replicas, and back.
//!
//! All of it is state machines without I/O: bytes, completions and the time come in, actions go out. The log
//! core calls them, in this order in each turn:
//!
//! 1. [`Merger::push`] for every `Effects` that came from a shard, then once [`Merger::merge`]: it appends to
//!    the stream and reports cuts and what is consumed.
//! 2. [`Journal::append`] and [`Backlog::append`] with the new bytes. If a cut among them begins a rewrite,
//!    [`Journal::rotate`] with the cut's offset, once the bytes are appended and before the next step.
//! 3. The completions of earlier actions: [`Journal::wrote`], [`Journal::flushed`], [`Journal::truncated`].
//! 4. [`Journal::next`] until it has nothing more to do: each [`Action`] is carried out or started.
//!    Steps are carried out at once, in order, up to the first that fails, and reported to [`Journal::stepped`].
//! 5. To each shard: what [`Merged::Consumed`] told. Its effects are *taken* once [`Journal::written`] is past
//!    the offset told (the shard may then have more in flight), and *durable* once [`Journal::durable`] is (replies
//!    that wait for that may leave). While [`Journal::trouble`] says that writes are refused, shards refuse them.
//! 6. Sleeps no longer than until [`Journal::wake`].
//!
//! At start-up [`Manifest::parse`] says which files to load; each goes through [`Scanner`] (bases that are RDB
//! files through the `rdb` room; the last file alone may be torn), and [`Journal::resume`] goes on behind the last whole unit. Without files it is
//! [`Journal::fresh`], and [`Journal::begin`] when the log is turned on later. The directory is the caller's to create
//! (and to flush its parent); what is [`temporary`] in it at start-up can go.
//!
//! A rewrite: a cut; `rotate` at its offset; the snapshot of the cut is written to a [`temporary`] file, which
//! the caller flushes; [`Journal::rebase`] makes it the base. Or [`Journal::abandon`].

mod backlog;
mod journal;
mod manifest;
mod merge;
mod recover;
#[cfg(test)]
pub(crate) mod simulation;

pub use backlog::Backlog;
pub use journal::{Action, Doing, Journal, Trouble};
pub use manifest::{Kind, Manifest, ManifestError, Part, is_part_name, manifest_name, temporary};
pub use merge::{Merged, Merger, select};
pub use recover::{Damage, End, Scanner, begins_as_rdb};

/// A change in the log's directory: a call that takes a moment, and that leaves nothing half done that a
/// repetition would not put right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A file of exactly these bytes, written anew and flushed.
    Put { name: String, bytes: Vec<u8> },
    /// Opens a file for writing as the current increment, created if it is missing; what is longer than
    /// `length` is cut there; then it is flushed. The increment before it is closed.
    Open { name: String, length: u64 },
    /// Replaces `to`, if there is one.
    Rename { from: String, to: String },
    /// A file that is not there counts as removed.
    Remove { name: String },
    /// Flushes the directory itself: what was created, renamed and removed stays so.
    FlushDirectory,
}
