//! The one cursor by which handlers take their arguments.

use crate::keyspace::{Key, KeyHasher};
use crate::resp::{Argv, Refusal, parse_f64, parse_i64};

/// A cursor over a command's arguments, standing behind the name (and the subcommand's name).
pub struct Args<'a> {
    argv: Argv<'a>,
    next: usize,
    hasher: &'a KeyHasher,
    /// The key whose hash routing has already computed, and its argument index.
    routed: Option<(usize, Key<'a>)>,
}

impl<'a> Args<'a> {
    /// `skip` is 1 for a command, 2 for a subcommand.
    pub fn new(argv: Argv<'a>, skip: usize, hasher: &'a KeyHasher) -> Self {
        Args { argv, next: skip, hasher, routed: None }
    }

    /// Reuses the hash that routing computed for the key at argument `index`.
    #[inline]
    pub fn with_routed(mut self, index: usize, key: Key<'a>) -> Self {
        self.routed = Some((index, key));
        self
    }

    pub fn argv(&self) -> Argv<'a> {
        self.argv
    }

    pub fn remaining(&self) -> usize {
        self.argv.len() - self.next
    }

    pub fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    pub fn peek(&self) -> Option<&'a [u8]> {
        (self.next < self.argv.len()).then(|| self.argv.get(self.next))
    }

    /// The next argument; running out of arguments is a syntax error, as arity has been checked before.
    #[inline]
    pub fn take(&mut self) -> Result<&'a [u8], Refusal> {
        let argument = self.peek().ok_or(Refusal::Syntax)?;
        self.next += 1;
        Ok(argument)
    }

    /// Stands before argument `index` next. A step of `Run::Steps` cannot know how far earlier ones came.
    pub fn seek(&mut self, index: usize) {
        self.next = index.min(self.argv.len());
    }

    /// A database's number; whether there is such a database is for the shard to say.
    pub fn db(&mut self) -> Result<i64, Refusal> {
        let range = i64::from(i32::MIN)..=i64::from(i32::MAX);
        let db = self.int()?;
        let refusal = || {
            let text =
                format!("value is out of range, value must between {} and {}", range.start(), range.end());
            Refusal::Err(text.into())
        };
        if range.contains(&db) { Ok(db) } else { Err(refusal()) }
    }

    #[inline]
    pub fn key(&mut self) -> Result<Key<'a>, Refusal> {
        let index = self.next;
        let bytes = self.take()?;
        match self.routed {
            Some((routed, key)) if routed == index => Ok(key),
            _ => Ok(self.hasher.key(bytes)),
        }
    }

    /// Any argument as a key, wherever the cursor stands.
    pub fn key_at(&self, index: usize) -> Key<'a> {
        self.hasher.key(self.argv.get(index))
    }

    pub fn int(&mut self) -> Result<i64, Refusal> {
        parse_i64(self.take()?).ok_or(Refusal::NotInteger)
    }

    /// An integer whose refusal has a text of its own.
    pub fn int_or(&mut self, refusal: Refusal) -> Result<i64, Refusal> {
        parse_i64(self.take()?).ok_or(refusal)
    }

    pub fn float(&mut self) -> Result<f64, Refusal> {
        parse_f64(self.take()?).ok_or(Refusal::NotFloat)
    }

    /// Takes the next argument if it is the option `name`, whatever its case. The reference server compares C
    /// strings: a zero byte ends an option, and what follows is not looked at.
    #[inline]
    pub fn option(&mut self, name: &str) -> bool {
        let Some(argument) = self.peek() else { return false };
        let found =
            argument.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
                && argument.get(name.len()).is_none_or(|next| *next == 0);
        self.next += usize::from(found);
        found
    }

    /// Refuses what is left over.
    pub fn finish(&self) -> Result<(), Refusal> {
        if self.is_empty() { Ok(()) } else { Err(Refusal::Syntax) }
    }
}
