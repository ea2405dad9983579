//! The manifest: the text file that says which files, in which order, are the log.
//!
//! ```text
//! file appendonly.aof.3.base.rdb seq 3 type b
//! file appendonly.aof.2.base.rdb seq 2 type h
//! file appendonly.aof.7.incr.aof seq 7 type i startoffset 123456
//! ```
//!
//! One base (`b`), the increments (`i`) that follow it, and history (`h`): what a rewrite replaced. An increment
//! among it keeps its offset while the stream goes on from it without a gap: replicas may be sent it. The rest is
//! to be deleted. The reference server's format; `startoffset`, where in the stream an increment begins, is of its
//! version 8, and older ones skip it. It deletes all history when it loads the files.
//!
//! **Order on the disk.** What a manifest names must be there before the manifest is, and what it no longer
//! needs goes after it. So: new files are written and flushed under a temporary name or are empty, renamed if
//! need be, and the directory is flushed; then the manifest is written under a temporary name, flushed,
//! renamed over the old one, and the directory is flushed again ([`Manifest::publish`]). Whichever of two
//! renames between two flushes of a directory survives a crash is up to the file system, hence the one between.

use std::fmt;

use super::Step;
use crate::config::{joined, words};
use crate::limits::HISTORY_FILES;

/// What a file of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Base,
    Increment,
    History,
}

/// One file of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name in the log's directory.
    pub name: String,
    pub seq: u64,
    pub kind: Kind,
    /// Offset of its first byte in the stream, if known.
    pub start: Option<u64>,
}

/// The files of a log. Copying it is cheap enough for something that changes once per rewrite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// `appendfilename`, with which the names of all files begin.
    prefix: String,
    base: Option<Part>,
    history: Vec<Part>,
    increments: Vec<Part>,
}

/// Why a manifest is not one.
#[derive(Debug, PartialEq, Eq)]
pub struct ManifestError {
    /// Counted from 1; 0 for the whole file.
    line: usize,
    what: String,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(out, "line {}: ", self.line)?;
        }
        out.write_str(&self.what)
    }
}

impl std::error::Error for ManifestError {}

/// The manifest's own name, in the directory of the log.
pub fn manifest_name(prefix: &str) -> String {
    format!("{prefix}.manifest")
}

/// A name for `name` while it is being written. What has such a name at start-up is of no use to anybody.
pub fn temporary(name: &str) -> String {
    format!("{TEMPORARY}{name}")
}

/// Whether a log of this prefix, ours or the reference server's, has bases and increments of such names.
pub fn is_part_name(prefix: &str, name: &str) -> bool {
    let numbered = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.')?.split_once('.'));
    numbered.is_some_and(|(seq, kind)| {
        seq.parse::<u64>().is_ok() && ["base.rdb", "base.aof", "incr.aof"].contains(&kind)
    })
}

const TEMPORARY: &str = "temp-";

impl Manifest {
    /// Of a log without files.
    pub fn new(prefix: &str) -> Manifest {
        Manifest { prefix: prefix.to_owned(), base: None, history: Vec::new(), increments: Vec::new() }
    }

    /// Of a log that is one old-style file, which has been moved into the directory of the log.
    pub fn adopt(prefix: &str, name: &str) -> Manifest {
        let base = Part { name: name.to_owned(), seq: 1, kind: Kind::Base, start: None };
        Manifest { base: Some(base), ..Manifest::new(prefix) }
    }

    /// Reads the text of a manifest.
    pub fn parse(prefix: &str, text: &[u8]) -> Result<Manifest, ManifestError> {
        let mut manifest = Manifest::new(prefix);
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            parse_line(line)
                .and_then(|part| manifest.take_in(part))
                .map_err(|what| ManifestError { line: index + 1, what })?;
        }
        if manifest.files().next().is_none() {
            return Err(ManifestError { line: 0, what: "it names no file to load".to_owned() });
        }
        Ok(manifest)
    }

    fn take_in(&mut self, part: Part) -> Result<(), String> {
        let all = self.files().chain(&self.history);
        if all.into_iter().any(|other| other.name == part.name) {
            return Err(format!("{} is named twice", part.name));
        }
        match part.kind {
            Kind::Base if self.base.is_some() => return Err("a second base".to_owned()),
            Kind::Base => self.base = Some(part),
            Kind::History => self.history.push(part),
            Kind::Increment => {
                let last = self.increments.last().map_or(0, |last| last.seq);
                if part.seq <= last {
                    return Err(format!("increment {} behind increment {last}", part.seq));
                }
                self.increments.push(part);
            }
        }
        Ok(())
    }

    /// The text that [`Manifest::parse`] reads.
    pub fn format(&self) -> String {
        let parts = self.base.iter().chain(&self.history).chain(&self.increments);
        parts.map(|part| format!("{part}\n")).collect()
    }

    /// The files to load, in order.
    pub fn files(&self) -> impl Iterator<Item = &Part> {
        self.base.iter().chain(&self.increments)
    }

    /// The increment that the log goes on in.
    pub fn last_increment(&self) -> Option<&Part> {
        self.increments.last()
    }

    /// Files that a rewrite has replaced.
    pub fn history(&self) -> &[Part] {
        &self.history
    }

    /// The files that have the stream without a gap up to its end, and where each begins; oldest first.
    pub(super) fn stream(&self) -> Vec<(&Part, u64)> {
        let parts = self.history.iter().chain(&self.increments).rev();
        let mut stream: Vec<_> = parts.map_while(|part| Some((part, part.start?))).collect();
        stream.reverse();
        stream
    }

    /// How many files of the history, from its beginning, are of no use, or more than `most` bytes of it.
    pub(super) fn surplus(&self, most: u64) -> usize {
        let mut next = self.increments.first().and_then(|part| part.start);
        let mut bytes = 0_u64;
        let is_kept = |part: &&Part| {
            // Less what the next one begins with of its own.
            let size = next.zip(part.start).map(|(next, start)| next.wrapping_sub(start));
            next = part.start;
            bytes = bytes.saturating_add(size.unwrap_or(0));
            size.is_some() && bytes <= most
        };
        let newest = self.history.iter().rev().take(if most > 0 { HISTORY_FILES } else { 0 });
        self.history.len() - newest.take_while(is_kept).count()
    }

    /// The history's files of which this is true are not of the stream, nor does anything lead up to it through them.
    pub fn disown_history(&mut self, is_foreign: impl Fn(&Part) -> bool) {
        self.history.iter_mut().filter(|part| is_foreign(part)).for_each(|part| part.start = None);
    }

    /// A name for the increment behind `last`; it begins at offset `start` of the stream.
    pub(super) fn next_increment(&self, last: u64, start: u64) -> Part {
        let seq = self.increments.last().map_or(0, |part| part.seq).max(last) + 1;
        let name = format!("{}.{seq}.incr.aof", self.prefix);
        Part { name, seq, kind: Kind::Increment, start: Some(start) }
    }

    pub(super) fn add(&mut self, increment: Part) {
        self.increments.push(increment);
    }

    /// A name for the next base, which will be an RDB file.
    pub(super) fn next_base(&self) -> Part {
        let seq = self.base.as_ref().map_or(0, |part| part.seq) + 1;
        Part { name: format!("{}.{seq}.base.rdb", self.prefix), seq, kind: Kind::Base, start: None }
    }

    /// `base` stands for all that came before `first`; the files that did become history.
    pub(super) fn rebase(&mut self, base: Part, first: Part) {
        let replaces = |part: &Part| part.name != first.name && part.name != base.name;
        let replaced = |part| Part { kind: Kind::History, ..part };
        let increments = std::mem::take(&mut self.increments).into_iter();
        self.history.extend(increments.filter(replaces).map(replaced));
        // What is no part of the stream must not stand within it.
        self.history.splice(..0, self.base.take().filter(replaces).map(replaced));
        self.base = Some(base);
        self.increments = vec![first];
    }

    /// The first `count` files of the history are gone.
    pub(super) fn forget_history(&mut self, count: usize) {
        self.history.drain(..count);
    }

    /// Makes this the manifest on the disk. Until its rename the old one holds, from its rename on the new one.
    pub(super) fn publish(&self) -> [Step; 3] {
        let name = manifest_name(&self.prefix);
        let from = temporary(&name);
        [
            Step::Put { name: from.clone(), bytes: self.format().into_bytes() },
            Step::Rename { from, to: name },
            Step::FlushDirectory,
        ]
    }
}

impl fmt::Display for Part {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Base => 'b',
            Kind::History => 'h',
            Kind::Increment => 'i',
        };
        let name = joined(std::slice::from_ref(&self.name));
        write!(out, "file {name} seq {} type {kind}", self.seq)?;
        if let (Some(start), Kind::Increment | Kind::History) = (self.start, self.kind) {
            write!(out, " startoffset {start}")?;
        }
        Ok(())
    }
}

/// A line is keys and values by turns. Keys that are not known are skipped, as by the reference server.
fn parse_line(line: &[u8]) -> Result<Part, String> {
    let words = words(line).map_err(|_| "unbalanced quotes".to_owned())?;
    let (mut name, mut seq, mut kind, mut start) = (None, None, None, None);
    if words.len() % 2 != 0 {
        return Err("a key without a value".to_owned());
    }
    for pair in words.chunks_exact(2) {
        let value = String::from_utf8_lossy(&pair[1]);
        let number = || value.parse::<u64>().map_err(|_| format!("{value:?} is not a number"));
        match pair[0].to_ascii_lowercase().as_slice() {
            b"file" => name = Some(file_name(&pair[1])?),
            b"seq" => seq = Some(number()?),
            b"type" => kind = Some(parse_kind(&value)?),
            b"startoffset" => start = Some(number()?),
            _ => {}
        }
    }
    let missing = |what| format!("no `{what}`");
    Ok(Part {
        name: name.ok_or_else(|| missing("file"))?,
        seq: seq.filter(|seq| *seq > 0).ok_or_else(|| missing("seq"))?,
        kind: kind.ok_or_else(|| missing("type"))?,
        start,
    })
}

/// A file in the log's own directory, never elsewhere.
fn file_name(word: &[u8]) -> Result<String, String> {
    let name = String::from_utf8(word.to_vec()).map_err(|_| "a file name that is not UTF-8".to_owned())?;
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        return Err(format!("{name:?} is not a file's name"));
    }
    Ok(name)
}

fn parse_kind(word: &str) -> Result<Kind, String> {
    match word {
        "b" => Ok(Kind::Base),
        "h" => Ok(Kind::History),
        "i" => Ok(Kind::Increment),
        _ => Err(format!("{word:?} is no type: b, h or i")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Manifest, String> {
        Manifest::parse("a.aof", text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_manifest_is_read_in_the_order_to_load() {
        let text = "# comment\nfile a.aof.2.incr.aof seq 2 type i\r\n\nfile a.aof.1.base.rdb seq 1 type b\n\
                    file \"a.aof.3.incr.aof\" seq 3 type i startoffset 77 endoffset 99\n\
                    file old seq 1 type h extra words";
        let manifest = parse(text).expect("it is one");
        let names: Vec<&str> = manifest.files().map(|part| part.name.as_str()).collect();
        assert_eq!(names, ["a.aof.1.base.rdb", "a.aof.2.incr.aof", "a.aof.3.incr.aof"]);
        assert_eq!(manifest.last_increment().and_then(|part| part.start), Some(77));
        assert_eq!(manifest.history()[0].name, "old");
        let again = "file a.aof.1.base.rdb seq 1 type b\nfile old seq 1 type h\n\
                     file a.aof.2.incr.aof seq 2 type i\nfile a.aof.3.incr.aof seq 3 type i startoffset 77\n";
        assert_eq!(manifest.format(), again);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let good = "file a seq 1 type b\n";
        for (text, error) in [
            ("", "it names no file to load"),
            ("file a seq 1 type h", "it names no file to load"),
            ("\nfile a seq 1", "line 2: no `type`"),
            ("seq 1 type b", "line 1: no `file`"),
            ("file a seq 0 type b", "line 1: no `seq`"),
            ("file a seq -1 type b", "line 1: \"-1\" is not a number"),
            ("file a seq 1 type b x", "line 1: a key without a value"),
            ("file \"a seq 1 type b", "line 1: unbalanced quotes"),
            ("file a seq 1 type q", "line 1: \"q\" is no type: b, h or i"),
            ("file ../a seq 1 type b", "line 1: \"../a\" is not a file's name"),
            ("file .. seq 1 type b", "line 1: \"..\" is not a file's name"),
            ("file \"\" seq 1 type b", "line 1: \"\" is not a file's name"),
            (&format!("{good}file b seq 2 type b"), "line 2: a second base"),
            (&format!("{good}file a seq 2 type i"), "line 2: a is named twice"),
            ("file a seq 2 type i\nfile b seq 2 type i", "line 2: increment 2 behind increment 2"),
        ] {
            assert_eq!(parse(text), Err(error.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn a_rewrite_makes_history_of_what_it_replaces() {
        let mut manifest =
            parse("file a.aof.1.base.rdb seq 1 type b\nfile a.aof.4.incr.aof seq 4 type i").expect("good");
        let next = manifest.next_increment(4, 1000);
        assert_eq!(next.name, "a.aof.5.incr.aof");
        manifest.add(next.clone());
        manifest.rebase(manifest.next_base(), next);
        let text = "file a.aof.2.base.rdb seq 2 type b\nfile a.aof.1.base.rdb seq 1 type h\n\
                    file a.aof.4.incr.aof seq 4 type h\nfile a.aof.5.incr.aof seq 5 type i startoffset 1000\n";
        assert_eq!(manifest.format(), text);
        assert_eq!(manifest.surplus(u64::MAX), 2, "of neither it is known where in the stream it lies");
        manifest.forget_history(2);
        assert_eq!((manifest.files().count(), manifest.history()), (2, &[][..]));
        let [put, rename, flush] = manifest.publish();
        assert!(matches!(put, Step::Put { name, .. } if name == "temp-a.aof.manifest"));
        let (from, to) = ("temp-a.aof.manifest".to_owned(), "a.aof.manifest".to_owned());
        assert_eq!((rename, flush), (Step::Rename { from, to }, Step::FlushDirectory));
    }

    #[test]
    fn names_of_parts_are_told_from_others() {
        let is = |name| is_part_name("a.aof", name);
        assert!(is("a.aof.1.base.rdb") && is("a.aof.12.base.aof") && is("a.aof.3.incr.aof"));
        for name in ["a.aof", "a.aof.manifest", "a.aof.history", "a.aof.x.incr.aof", "a.aof.1.incr.aof.old"] {
            assert!(!is(name), "{name}");
        }
        assert!(!is("b.aof.1.base.rdb") && !is("temp-a.aof.1.base.rdb") && !is("a.aofa.1.base.rdb"));
    }

    #[test]
    fn history_is_kept_up_to_a_bound_and_a_gap() {
        let text = "file b seq 3 type b\nfile a1 seq 1 type h startoffset 0\nfile a2 seq 2 type h startoffset 100\n\
                    file b2 seq 2 type h\nfile a3 seq 3 type h startoffset 150\nfile a4 seq 4 type h startoffset 250\n\
                    file a5 seq 5 type i startoffset 300\n";
        let mut manifest = parse(text).expect("it is one");
        let stream = |manifest: &Manifest| -> Vec<String> {
            manifest.stream().into_iter().map(|(part, _)| part.name.clone()).collect()
        };
        assert_eq!(stream(&manifest), ["a3", "a4", "a5"], "nothing leads through a file that has no offset");
        for (most, surplus) in [(0, 5), (49, 5), (50, 4), (149, 4), (150, 3), (u64::MAX, 3)] {
            assert_eq!(manifest.surplus(most), surplus, "{most} bytes");
        }
        let (base, first) = (manifest.next_base(), manifest.next_increment(5, 400));
        manifest.add(first.clone());
        manifest.rebase(base, first);
        assert_eq!(stream(&manifest), ["a3", "a4", "a5", "a.aof.6.incr.aof"], "the base stands before them");
        assert_eq!(parse(&manifest.format()), Ok(manifest.clone()));
        manifest.disown_history(|part| part.name == "a4");
        assert_eq!(stream(&manifest), ["a5", "a.aof.6.incr.aof"]);
        manifest.disown_history(|_| true);
        assert_eq!((stream(&manifest).len(), manifest.surplus(u64::MAX)), (1, 7));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text: Vec<u8>) {
            let _ = Manifest::parse("a", &text);
        }

        #[test]
        fn any_name_survives(name in "[ -~äß\\t]{1,12}", start: Option<u64>) {
            prop_assume!(!name.contains('/') && name != "." && name != "..");
            let mut manifest = Manifest::adopt(&name, &name);
            manifest.add(Part { start, ..manifest.next_increment(0, 0) });
            let text = manifest.format();
            let read = Manifest::parse(&name, text.as_bytes());
            prop_assert_eq!(read, Ok(manifest), "{}", text);
        }
    }
}
