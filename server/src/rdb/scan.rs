//! Finds where an item ends in a buffer that grows, by the shape of what it is made of, without looking into values.

use std::borrow::Cow;

use super::Damage;
use super::cursor::{plain_length, text};

/// What follows what in an item.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    Length,
    Text,
    Bytes(usize),
    /// A score of old: a byte that says how many digits follow; 253 to 255 are infinities and what is no number.
    Digits,
    /// A module's own values, each behind a length that says its kind, up to kind 0.
    Module,
    /// A length, and this as often.
    Times(&'static [Part]),
}

/// Shapes of a module's values by their kind: signed, unsigned, float, double, string.
const MODULE_VALUES: [&[Part]; 6] =
    [&[], &[Part::Length], &[Part::Length], &[Part::Bytes(4)], &[Part::Bytes(8)], &[Part::Text]];

#[derive(Debug)]
struct Frame {
    parts: &'static [Part],
    /// The part that comes next.
    next: usize,
    /// How often all the parts are still to come, this time included.
    rounds: u64,
}

/// What became of one part.
enum Progress {
    /// It took so many bytes.
    Passed(usize),
    /// So many bytes led to parts within it; if `again`, it is not over with these.
    Inside { used: usize, parts: &'static [Part], rounds: u64, again: bool },
    /// Not all of it is there.
    Short,
}

/// A scan under way. What it has passed it does not look at again when the buffer has grown.
#[derive(Debug, Default)]
pub struct Scan {
    /// Nested as `Part::Times` is; never deeper than the shapes are.
    frames: Vec<Frame>,
    /// Bytes passed.
    at: usize,
}

impl Scan {
    pub fn at(&self) -> usize {
        self.at
    }

    pub fn reset(&mut self) {
        self.frames.clear();
        self.at = 0;
    }

    /// Passes bytes that are known to be there.
    pub fn skip(&mut self, count: usize) {
        self.at += count;
    }

    /// Goes on with parts of this shape; the ones before must all be passed.
    pub fn begin(&mut self, parts: &'static [Part]) {
        debug_assert!(self.frames.is_empty(), "one shape at a time");
        self.frames.push(Frame { parts, next: 0, rounds: 1 });
    }

    /// True once the shape begun last is passed; false if `bytes`, which must begin as they did before, end too early.
    /// The offset of damage is one within them.
    pub fn run(&mut self, bytes: &[u8]) -> Result<bool, Damage> {
        while let Some(frame) = self.frames.last_mut() {
            let Some(part) = frame.parts.get(frame.next) else {
                frame.next = 0;
                frame.rounds -= 1;
                if frame.rounds == 0 {
                    self.frames.pop();
                }
                continue;
            };
            let progress =
                pass(*part, &bytes[self.at..]).map_err(|what| Damage::new(self.at as u64, what))?;
            match progress {
                Progress::Short => return Ok(false),
                Progress::Passed(used) => {
                    frame.next += 1;
                    self.at += used;
                }
                Progress::Inside { used, parts, rounds, again } => {
                    frame.next += usize::from(!again);
                    self.at += used;
                    if rounds > 0 {
                        self.frames.push(Frame { parts, next: 0, rounds });
                    }
                }
            }
        }
        Ok(true)
    }
}

fn pass(part: Part, rest: &[u8]) -> Result<Progress, Cow<'static, str>> {
    let used = match part {
        Part::Length => plain_length(rest)?.map(|(_, used)| used),
        Part::Text => text(rest)?.map(|(_, used)| used),
        Part::Bytes(count) => Some(count),
        Part::Digits => rest.first().map(|&count| if count < 253 { 1 + usize::from(count) } else { 1 }),
        Part::Times(parts) => {
            let Some((rounds, used)) = plain_length(rest)? else { return Ok(Progress::Short) };
            return Ok(Progress::Inside { used, parts, rounds, again: false });
        }
        Part::Module => return pass_module_value(rest),
    };
    Ok(used.filter(|used| *used <= rest.len()).map_or(Progress::Short, Progress::Passed))
}

fn pass_module_value(rest: &[u8]) -> Result<Progress, Cow<'static, str>> {
    let Some((kind, used)) = plain_length(rest)? else { return Ok(Progress::Short) };
    if kind == 0 {
        return Ok(Progress::Passed(used));
    }
    let parts = usize::try_from(kind).ok().and_then(|kind| MODULE_VALUES.get(kind));
    let parts = parts.ok_or_else(|| format!("module value of unknown kind {kind}"))?;
    Ok(Progress::Inside { used, parts, rounds: 1, again: true })
}
