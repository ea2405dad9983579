//! The table of settings: what a row says, the groups of rows, and how a row reads and writes its field.

use super::Settings;
use super::form::{Form, Value};
use super::values::{Custom, Named, name_of};
use std::path::PathBuf;

mod accepted;
mod persistence;
mod replication;
mod serving;

/// Rows that the help shows under one heading.
pub struct Group {
    pub title: &'static str,
    pub rows: &'static [Setting],
}

/// The one table.
pub const GROUPS: &[Group] = &[
    Group { title: "Network", rows: serving::NETWORK },
    Group { title: "Clients and limits", rows: serving::CLIENTS },
    Group { title: "Memory and expiry", rows: serving::MEMORY },
    Group { title: "Running and watching", rows: serving::RUNNING },
    Group { title: "Persistence", rows: persistence::PERSISTENCE },
    Group { title: "Replication", rows: replication::REPLICATION },
    Group { title: "Cores", rows: serving::CORES },
    Group { title: "Files of the configuration", rows: accepted::FILES },
    Group { title: "Accepted: process and clients", rows: accepted::PROCESS },
    Group { title: "Accepted: encodings, expiry and eviction", rows: accepted::TUNING },
    Group { title: "Accepted: persistence", rows: accepted::PERSISTENCE },
    Group { title: "Accepted: replication and cluster", rows: accepted::REPLICATION },
    Group { title: "Accepted: access control and TLS", rows: accepted::ACCESS },
];

/// Every row of the table.
pub fn settings() -> impl Iterator<Item = &'static Setting> {
    GROUPS.iter().flat_map(|group| group.rows)
}

/// The row whose name or alias this is, in any case.
pub fn find(name: &str) -> Option<&'static Setting> {
    let is = |own: &str| own.eq_ignore_ascii_case(name);
    settings().find(|setting| is(setting.name) || setting.alias.is_some_and(is))
}

/// When a setting may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// By CONFIG SET at any time.
    Runtime,
    /// Only at start.
    Start,
    /// Only at start, because a client could reach files of the machine with it.
    Protected,
    /// A directive of the file that CONFIG GET and SET do not know.
    FileOnly,
}

/// What happens when a value asks for something that Torc does not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The server does not start: to go on would break a promise (durability, access, replication).
    Refuse,
    /// The server starts and says so in its log.
    Warn,
}

/// A feature that is not there.
#[derive(Clone, Copy)]
pub struct Missing {
    /// Whether a canonical text asks for it.
    pub wanted: fn(&str) -> bool,
    pub verdict: Verdict,
    /// What Torc does instead, as half a sentence.
    pub instead: &'static str,
}

/// A whole number of any width.
pub trait Integer {
    fn put(&mut self, number: i64);
    fn take(&self) -> i64;
}

impl<T: TryFrom<i64> + TryInto<i64> + Copy> Integer for T {
    fn put(&mut self, number: i64) {
        *self = T::try_from(number).ok().expect("the row's range fits its field");
    }

    fn take(&self) -> i64 {
        (*self).try_into().ok().expect("a setting is at most i64::MAX")
    }
}

/// One word of a closed set.
pub trait Choice {
    fn choose(&mut self, name: &str);
    fn chosen(&self) -> &'static str;
}

impl<T: Named> Choice for T {
    fn choose(&mut self, name: &str) {
        *self = T::ALL.iter().find(|(_, each)| *each == name).expect("the form checked the word").0;
    }

    fn chosen(&self) -> &'static str {
        name_of(*self)
    }
}

/// Where a setting's value lives: the accessor of its field, or the texts of what is only accepted.
#[derive(Clone, Copy)]
pub enum Home {
    Flag(fn(&mut Settings) -> &mut bool),
    Number(fn(&mut Settings) -> &mut dyn Integer),
    /// 0 = none: the server chooses.
    Auto(fn(&mut Settings) -> &mut Option<usize>),
    Choice(fn(&mut Settings) -> &mut dyn Choice),
    Text(fn(&mut Settings) -> &mut String),
    /// Empty = none.
    Path(fn(&mut Settings) -> &mut Option<PathBuf>),
    Custom(fn(&mut Settings) -> &mut dyn Custom),
    /// No room reads it yet: only its text is kept, for CONFIG GET.
    Kept,
}

/// One row.
#[derive(Clone, Copy)]
pub struct Setting {
    pub name: &'static str,
    /// A second name, old or of a relative of the reference server.
    pub alias: Option<&'static str>,
    pub form: Form,
    pub home: Home,
    pub default: &'static str,
    pub change: Change,
    /// A second directive adds to the first instead of replacing it.
    pub repeats: bool,
    pub missing: Option<Missing>,
    pub doc: &'static str,
}

impl Setting {
    /// A setting with a field that other rooms read, changeable at run time.
    const fn server(
        name: &'static str,
        form: Form,
        home: Home,
        default: &'static str,
        doc: &'static str,
    ) -> Self {
        let (alias, change) = (None, Change::Runtime);
        Setting { name, alias, form, home, default, change, repeats: false, missing: None, doc }
    }

    /// A setting that is accepted, checked and shown, and that nothing reads.
    const fn kept(name: &'static str, form: Form, default: &'static str, doc: &'static str) -> Self {
        Setting::server(name, form, Home::Kept, default, doc)
    }

    const fn alias(mut self, alias: &'static str) -> Self {
        self.alias = Some(alias);
        self
    }

    const fn fixed(mut self) -> Self {
        self.change = Change::Start;
        self
    }

    const fn protected(mut self) -> Self {
        self.change = Change::Protected;
        self
    }

    const fn file_only(mut self) -> Self {
        self.change = Change::FileOnly;
        self
    }

    const fn repeats(mut self) -> Self {
        self.repeats = true;
        self
    }

    const fn refuse(mut self, wanted: fn(&str) -> bool, instead: &'static str) -> Self {
        self.missing = Some(Missing { wanted, verdict: Verdict::Refuse, instead });
        self
    }

    const fn warn(mut self, wanted: fn(&str) -> bool, instead: &'static str) -> Self {
        self.missing = Some(Missing { wanted, verdict: Verdict::Warn, instead });
        self
    }

    /// Whether the setting is only accepted: no room reads it.
    pub fn is_kept(&self) -> bool {
        matches!(self.home, Home::Kept)
    }

    /// The field of [`Settings`] that holds it, by its Rust name; none for what is only accepted.
    pub fn field(&self) -> Option<String> {
        (!self.is_kept()).then(|| self.name.replace('-', "_"))
    }

    /// Checks the words and stores the value. Nothing changes on an error.
    pub fn assign(&self, settings: &mut Settings, words: &[String]) -> Result<(), String> {
        if let Home::Custom(field) = self.home {
            return field(settings).parse(words);
        }
        match (self.home, self.form.parse(words)?) {
            (Home::Flag(field), Value::Flag(flag)) => *field(settings) = flag,
            (Home::Number(field), Value::Number(number)) => field(settings).put(number),
            (Home::Auto(field), Value::Number(number)) => {
                *field(settings) = usize::try_from(number).ok().filter(|number| *number > 0);
            }
            (Home::Choice(field), Value::Text(name)) => field(settings).choose(&name),
            (Home::Text(field), Value::Text(text)) => *field(settings) = text,
            (Home::Path(field), Value::Text(text)) => {
                *field(settings) = (!text.is_empty()).then(|| PathBuf::from(text));
            }
            (Home::Kept, value) => {
                settings.kept.insert(self.name, self.form.print(&value));
            }
            _ => unreachable!("form and home of {} disagree", self.name),
        }
        Ok(())
    }

    /// The value as CONFIG GET prints it. Borrows mutably because the accessors do; changes nothing.
    pub fn text(&self, settings: &mut Settings) -> String {
        let value = match self.home {
            Home::Flag(field) => Value::Flag(*field(settings)),
            Home::Number(field) => Value::Number(field(settings).take()),
            Home::Auto(field) => Value::Number(field(settings).unwrap_or(0) as i64),
            Home::Choice(field) => Value::Text(field(settings).chosen().to_owned()),
            Home::Text(field) => Value::Text(field(settings).clone()),
            Home::Path(field) => {
                let path = field(settings).as_ref();
                Value::Text(path.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default())
            }
            Home::Custom(field) => Value::Text(field(settings).print()),
            Home::Kept => match settings.kept.get(self.name) {
                Some(text) => Value::Text(text.clone()),
                None => {
                    let words = self.form.words_of(self.default);
                    self.form.parse(&words).expect("a test parses every default of the table")
                }
            },
        };
        self.form.print(&value)
    }
}
