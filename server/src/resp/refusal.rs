//! What a client asked wrongly, and the one place that words it as the reference server does.

use std::borrow::Cow;

/// An error reply. `Text` holds the whole line after the `-`, its code included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    WrongType,
    Syntax,
    NotInteger,
    NotFloat,
    NoSuchKey,
    OutOfRange,
    DbIndex,
    OutOfMemory,
    /// Wrong number of arguments; holds the full command name in lower case (`client|list`).
    Arity(&'static str),
    /// The text after `ERR `.
    Err(Cow<'static, str>),
    /// The whole line after `-`.
    Text(Cow<'static, str>),
}

impl Refusal {
    pub const fn err(text: &'static str) -> Self {
        Refusal::Err(Cow::Borrowed(text))
    }

    /// The line of the error reply: no leading `-`, no line ending.
    pub fn line(&self) -> Cow<'static, str> {
        match self {
            Refusal::WrongType => {
                Cow::Borrowed("WRONGTYPE Operation against a key holding the wrong kind of value")
            }
            Refusal::Syntax => Cow::Borrowed("ERR syntax error"),
            Refusal::NotInteger => Cow::Borrowed("ERR value is not an integer or out of range"),
            Refusal::NotFloat => Cow::Borrowed("ERR value is not a valid float"),
            Refusal::NoSuchKey => Cow::Borrowed("ERR no such key"),
            Refusal::OutOfRange => Cow::Borrowed("ERR index out of range"),
            Refusal::DbIndex => Cow::Borrowed("ERR DB index is out of range"),
            Refusal::OutOfMemory => Cow::Borrowed("OOM command not allowed when used memory > 'maxmemory'."),
            Refusal::Arity(name) => Cow::Owned(format!("ERR wrong number of arguments for '{name}' command")),
            Refusal::Err(text) => Cow::Owned(format!("ERR {text}")),
            Refusal::Text(line) => line.clone(),
        }
    }
}
