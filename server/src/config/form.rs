//! How the value of a setting is written: one form per kind of value, with its check and its canonical text.
//!
//! The error texts are those of the reference server's CONFIG SET, because clients compare them.

use super::parse;

/// The syntax of a value.
#[derive(Clone, Copy)]
pub enum Form {
    /// `yes` or `no`.
    Flag,
    /// A whole number between the two, inclusive.
    Number(i64, i64),
    /// A number that is taken to the nearest of 1 to 500 (`hz`).
    Rate,
    /// Bytes, with or without a unit, between the two, inclusive.
    Memory(i64, i64),
    /// Bytes, or a part of `maxmemory` as in `5%`.
    MemoryOrPercent,
    /// Mode bits, in octal digits, up to the given.
    Octal(i64),
    /// One word of a typed set.
    Choice(fn() -> Vec<&'static str>),
    /// One of these words.
    OneOf(&'static [&'static str]),
    Text,
    /// The name of a file or a directory, never a path: whose, and which of the two, as the refusals say.
    Name {
        of: &'static str,
        kind: &'static str,
    },
    /// Words with rules of their own: their shape for the help, and the check that returns the canonical text.
    Words(&'static str, fn(&[String]) -> Result<String, String>),
    /// The field's own parser knows the rules; only the shape for the help is here.
    Shape(&'static str),
}

/// A checked value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Flag(bool),
    Number(i64),
    Text(String),
}

impl Form {
    /// Whether a directive of this form takes any number of words.
    fn takes_many(self) -> bool {
        matches!(self, Form::Words(..) | Form::Shape(_))
    }

    /// The words of a value that is one text, as in CONFIG SET and in the table's defaults: the reference
    /// server splits what takes many words at every blank, and knows no quotes there.
    pub fn words_of(self, text: &str) -> Vec<String> {
        match (self.takes_many(), text) {
            (true, "") => Vec::new(),
            (true, _) => text.split(' ').map(str::to_owned).collect(),
            (false, _) => vec![text.to_owned()],
        }
    }

    /// Checks the words of a directive.
    pub fn parse(self, words: &[String]) -> Result<Value, String> {
        match self {
            Form::Words(_, check) => check(words).map(Value::Text),
            Form::Shape(_) => Ok(Value::Text(words.join(" "))),
            _ => match words {
                [word] => self.parse_one(word),
                _ => Err("wrong number of arguments".into()),
            },
        }
    }

    fn parse_one(self, word: &str) -> Result<Value, String> {
        match self {
            Form::Flag if word.eq_ignore_ascii_case("yes") => Ok(Value::Flag(true)),
            Form::Flag if word.eq_ignore_ascii_case("no") => Ok(Value::Flag(false)),
            Form::Flag => Err("argument must be 'yes' or 'no'".into()),
            Form::Number(min, max) => within(integer(word)?, min, max).map(Value::Number),
            Form::Rate => {
                within(integer(word)?, 0, i32::MAX.into()).map(|hz| Value::Number(hz.clamp(1, 500)))
            }
            Form::Memory(min, max) => {
                let bytes = parse::memory(word).ok_or("argument must be a memory value")?;
                let bytes = i64::try_from(bytes).map_err(|_| not_between(min, max))?;
                within(bytes, min, max).map(Value::Number)
            }
            Form::MemoryOrPercent => memory_or_percent(word).map(Value::Text),
            Form::Octal(max) => match i64::from_str_radix(word, 8) {
                Ok(mode) if (0..=max).contains(&mode) => Ok(Value::Number(mode)),
                Ok(_) => Err(format!("argument must be between 0 and {max:o} inclusive")),
                Err(_) => Err("argument couldn't be parsed as an octal number".into()),
            },
            Form::Choice(names) => one_of(&names(), word),
            Form::OneOf(names) => one_of(names, word),
            Form::Name { of, .. } if word.is_empty() => Err(format!("{of} can't be empty")),
            Form::Name { of, kind } if word.contains(['/', '\\']) => {
                Err(format!("{of} can't be a path, just a {kind}"))
            }
            Form::Name { .. } | Form::Text | Form::Words(..) | Form::Shape(_) => {
                Ok(Value::Text(word.to_owned()))
            }
        }
    }

    /// The canonical text of a value, as CONFIG GET prints it.
    pub fn print(self, value: &Value) -> String {
        match (self, value) {
            (Form::Octal(_), Value::Number(mode)) => format!("{mode:o}"),
            (_, Value::Flag(flag)) => if *flag { "yes" } else { "no" }.into(),
            (_, Value::Number(number)) => number.to_string(),
            (_, Value::Text(text)) => text.clone(),
        }
    }

    /// The form as the help shows it.
    pub fn shape(self) -> String {
        match self {
            Form::Flag => "yes|no".into(),
            Form::Number(min, max) => match (min, max) {
                (_, i64::MAX) => "number".into(),
                (_, max) if max >= i32::MAX.into() => "number".into(),
                _ => format!("{min}..{max}"),
            },
            Form::Rate => "1..500".into(),
            Form::Memory(..) => "bytes".into(),
            Form::MemoryOrPercent => "bytes|percent%".into(),
            Form::Octal(_) => "mode".into(),
            Form::Choice(names) => names().join("|"),
            Form::OneOf(names) => names.join("|"),
            Form::Text => "text".into(),
            Form::Name { kind, .. } => kind.into(),
            Form::Words(shape, _) | Form::Shape(shape) => shape.into(),
        }
    }
}

fn integer(word: &str) -> Result<i64, String> {
    parse::integer(word).ok_or_else(|| "argument couldn't be parsed into an integer".into())
}

fn within(number: i64, min: i64, max: i64) -> Result<i64, String> {
    if (min..=max).contains(&number) { Ok(number) } else { Err(not_between(min, max)) }
}

fn not_between(min: i64, max: i64) -> String {
    format!("argument must be between {min} and {max} inclusive")
}

fn choose<'a>(choices: &[&'a str], word: &str) -> Option<&'a str> {
    choices.iter().copied().find(|choice| choice.eq_ignore_ascii_case(word))
}

fn must_be_one_of(choices: &[&str]) -> String {
    format!("argument(s) must be one of the following: {}", choices.join(", "))
}

fn one_of(choices: &[&str], word: &str) -> Result<Value, String> {
    let chosen = choose(choices, word).ok_or_else(|| must_be_one_of(choices))?;
    Ok(Value::Text(chosen.to_owned()))
}

fn memory_or_percent(word: &str) -> Result<String, String> {
    let bad = "argument must be a memory or percent value";
    let Some(percent) = word.strip_suffix('%') else {
        return parse::memory(word).map(|bytes| bytes.to_string()).ok_or_else(|| bad.into());
    };
    match parse::integer(percent) {
        Some(percent @ 0..=100) => Ok(format!("{percent}%")),
        Some(101..) => Err("percentage argument must be less or equal to 100".into()),
        _ => Err(bad.into()),
    }
}

/// `notify-keyspace-events`: classes in the order in which CONFIG GET prints them; `A` is all of `ALL`.
pub fn event_classes(words: &[String]) -> Result<String, String> {
    const ALL: &str = "g$lshzxetd";
    const REST: &str = "KEnm";
    let word = words.concat();
    if !word.chars().all(|class| class == 'A' || ALL.contains(class) || REST.contains(class)) {
        return Err("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".into());
    }
    let has = |class: &char| word.contains(*class) || ALL.contains(*class) && word.contains('A');
    let all = ALL.chars().all(|class| has(&class));
    let classes = if all { "A".into() } else { ALL.chars().filter(has).collect::<String>() };
    Ok(classes + &REST.chars().filter(has).collect::<String>())
}

/// `oom-score-adj-values`: three adjustments.
pub fn oom_scores(words: &[String]) -> Result<String, String> {
    if words.len() != 3 {
        return Err("wrong number of arguments".into());
    }
    let valid = |word: &String| parse::integer(word).is_some_and(|score| (-2000..=2000).contains(&score));
    if words.iter().all(valid) {
        Ok(words.join(" "))
    } else {
        Err("Invalid oom-score-adj-values, elements must be between -2000 and 2000.".into())
    }
}

/// `shutdown-on-sigterm` and its like: any of these, each once, and `default` only where there is no other.
pub fn shutdown_options(words: &[String]) -> Result<String, String> {
    const DEFAULT: &str = "default";
    const OPTIONS: [&str; 5] = [DEFAULT, "save", "nosave", "now", "force"];
    let chosen: Option<Vec<&str>> = words.iter().map(|word| choose(&OPTIONS, word)).collect();
    let chosen = chosen.filter(|chosen| !chosen.is_empty()).ok_or_else(|| must_be_one_of(&OPTIONS))?;
    if chosen.contains(&"save") && chosen.contains(&"nosave") {
        return Err("shutdown options SAVE and NOSAVE can't be used simultaneously".into());
    }
    let given = |option: &&str| *option != DEFAULT && chosen.contains(option);
    let options: Vec<&str> = OPTIONS.into_iter().filter(given).collect();
    Ok(if options.is_empty() { DEFAULT.into() } else { options.join(" ") })
}

/// Any words.
pub fn any_words(words: &[String]) -> Result<String, String> {
    Ok(words.join(" "))
}
