//! Why the server cannot start with this configuration: one line that names the directive, where it stands,
//! and what to do.

use super::table::Setting;
use super::{help, parse};
use std::fmt;
use std::path::PathBuf;

/// Where a directive stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file and the line in it, from 1.
    File(PathBuf, usize),
    /// The line of standard input, from 1.
    Input(usize),
    CommandLine,
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File(path, line) => write!(out, "{}:{line}", path.display()),
            Origin::Input(line) => write!(out, "standard input:{line}"),
            Origin::CommandLine => write!(out, "command line"),
        }
    }
}

/// A configuration with which the server does not start.
#[derive(Clone)]
pub enum ConfigError {
    /// No error: the text that `--help` or `--version` asked for, for standard output.
    Asked(String),
    Unknown {
        at: Origin,
        name: String,
    },
    /// Something on the command line that is neither the file nor part of a directive.
    Stray {
        word: String,
    },
    Value {
        at: Origin,
        name: String,
        words: Vec<String>,
        why: String,
        setting: &'static Setting,
    },
    Unbalanced {
        at: Origin,
        line: String,
    },
    NotText {
        at: Origin,
    },
    Unreadable {
        /// None for the file of the command line.
        at: Option<Origin>,
        path: String,
        why: String,
    },
    Loop {
        at: Origin,
        path: PathBuf,
    },
    /// Asks for something that Torc does not do and that must not be pretended.
    Missing {
        at: Origin,
        name: &'static str,
        value: String,
        instead: &'static str,
        /// Further directives of this kind.
        also: Vec<&'static str>,
    },
}

impl ConfigError {
    /// 0 when the text was asked for, as by `--help`.
    pub fn exit_code(&self) -> u8 {
        if matches!(self, ConfigError::Asked(_)) { 0 } else { 1 }
    }
}

impl fmt::Debug for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Asked(text) => out.write_str(text.trim_end()),
            ConfigError::Unknown { at, name } => {
                write!(out, "{at}: unknown directive '{name}'; ")?;
                match name.split_once('=') {
                    Some((name, value)) => {
                        write!(out, "write the value as a word of its own: {name} {value}")
                    }
                    None => match help::nearest(name) {
                        Some(near) => write!(out, "did you mean '{near}'?"),
                        None => write!(out, "remove it, or see torc-server --help for those there are"),
                    },
                }
            }
            ConfigError::Stray { word } => write!(
                out,
                "command line: '{word}' is out of place; write torc-server [file | -] [--directive value ...]"
            ),
            ConfigError::Value { at, name, words, why, setting } => {
                let given = parse::joined(&[std::slice::from_ref(name), words].concat());
                write!(out, "{at}: {given}: {why}; expected: {name} {}", setting.form.shape())
            }
            ConfigError::Unbalanced { at, line } => {
                write!(out, "{at}: quotes do not close in: {line}; close them, and leave a blank behind")
            }
            ConfigError::NotText { at } => write!(out, "{at}: not UTF-8 text; save the file as UTF-8"),
            ConfigError::Unreadable { at, path, why } => {
                if let Some(at) = at {
                    write!(out, "{at}: include ")?;
                }
                write!(out, "{path}: cannot be read ({why}); correct the path or its permissions")
            }
            ConfigError::Loop { at, path } => {
                write!(out, "{at}: include {}: the file includes itself; break the circle", path.display())
            }
            ConfigError::Missing { at, name, value, instead, also } => {
                write!(out, "{at}: {name} {value}: {instead}")?;
                if !also.is_empty() {
                    write!(out, " (not there either: {})", also.join(", "))?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for ConfigError {}
