//! The slow log of one core: commands that took long to execute.

use std::collections::VecDeque;

/// Arguments and bytes kept of a command, as in the reference server.
const MAX_ARGUMENTS: usize = 32;
const MAX_ARGUMENT_BYTES: usize = 128;

#[derive(Clone, Debug)]
pub struct SlowlogEntry {
    /// Increasing over all cores: entries of several cores merge by it.
    pub id: u64,
    /// Unix seconds.
    pub at: i64,
    pub micros: i64,
    pub argv: Vec<Vec<u8>>,
    pub addr: Box<str>,
    pub name: Box<[u8]>,
}

/// Newest first, at most `slowlog-max-len` entries (SLOWLOG GET and LEN cut the merged list to it again).
#[derive(Debug, Default)]
pub struct Slowlog {
    pub entries: VecDeque<SlowlogEntry>,
}

impl Slowlog {
    pub fn push(&mut self, entry: SlowlogEntry, max_len: usize) {
        self.entries.push_front(entry);
        self.entries.truncate(max_len);
    }

    /// The arguments as the log keeps them: cut in number and in length, with a note of what was cut.
    pub fn clip<'a>(argc: usize, argv: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
        let kept = argc.min(MAX_ARGUMENTS);
        argv.take(kept)
            .enumerate()
            .map(|(index, argument)| {
                if argc > kept && index == kept - 1 {
                    format!("... ({} more arguments)", argc - kept + 1).into_bytes()
                } else if argument.len() > MAX_ARGUMENT_BYTES {
                    let more = argument.len() - MAX_ARGUMENT_BYTES;
                    let note = format!("... ({more} more bytes)");
                    [&argument[..MAX_ARGUMENT_BYTES], note.as_bytes()].concat()
                } else {
                    argument.to_vec()
                }
            })
            .collect()
    }
}
