//! CONFIG GET and CONFIG SET on the settings, with the reference server's order of checks and error texts.

use super::Settings;
use super::table::{Change, Setting, Verdict, find, settings};
use std::fmt;

/// Why a CONFIG SET changed nothing. Its text is the error reply behind `ERR `.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetRefusal(String);

impl fmt::Display for SetRefusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl SetRefusal {
    /// The refusal of one pair. `name` is as the client wrote it or as the table has it: the reference
    /// server differs by kind of error.
    fn failed(name: &str, why: &str) -> Self {
        SetRefusal(format!("CONFIG SET failed (possibly related to argument '{name}') - {why}"))
    }

    fn unknown(name: &[u8]) -> Self {
        SetRefusal(format!("Unknown option or number of arguments for CONFIG SET - '{}'", printable(name)))
    }
}

/// A client's bytes inside an error line: up to a NUL, on one line.
fn printable(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).replace(['\r', '\n'], " ")
}

/// A row that CONFIG knows, under the one of its two names that was asked for.
fn known(name: &[u8]) -> Option<(&'static Setting, &'static str)> {
    let name = std::str::from_utf8(name).ok()?;
    let setting = find(name).filter(|setting| setting.change != Change::FileOnly)?;
    let alias = setting.alias.filter(|alias| alias.eq_ignore_ascii_case(name));
    Some((setting, alias.unwrap_or(setting.name)))
}

impl Settings {
    /// CONFIG GET: names and values that match any of `globs`, each once. `glob_match(pattern, text,
    /// ignore_case)` is the protocol's; a pattern without wildcard keeps the spelling the client gave it.
    pub fn matching(
        &self,
        globs: &[&[u8]],
        glob_match: impl Fn(&[u8], &[u8], bool) -> bool,
    ) -> Vec<(String, String)> {
        let mut copy = self.clone();
        let mut found: Vec<(String, String)> = Vec::new();
        let mut add = |name: &str, setting: &Setting| {
            if !found.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) {
                found.push((name.to_owned(), setting.text(&mut copy)));
            }
        };
        for glob in globs {
            if !glob.iter().any(|byte| b"*?[".contains(byte)) {
                if let Some((setting, _)) = known(glob) {
                    add(&printable(glob), setting);
                }
                continue;
            }
            for setting in settings().filter(|setting| setting.change != Change::FileOnly) {
                for name in std::iter::once(setting.name).chain(setting.alias) {
                    if glob_match(glob, name.as_bytes(), true) {
                        add(name, setting);
                    }
                }
            }
        }
        found
    }

    /// CONFIG SET of several pairs: all of them or, on any error, none.
    pub fn set(&mut self, pairs: &[(&[u8], &[u8])]) -> Result<(), SetRefusal> {
        let rows = changeable(pairs)?;
        let mut next = self.clone();
        for (&(setting, name), (_, value)) in rows.iter().zip(pairs) {
            let refuse = |why: &str| SetRefusal::failed(name, why);
            let text = std::str::from_utf8(value).map_err(|_| refuse("argument must be UTF-8 text"))?;
            setting.assign(&mut next, &setting.form.words_of(text)).map_err(|why| refuse(&why))?;
            let value = setting.text(&mut next);
            let missing = setting.missing.filter(|missing| (missing.wanted)(&value));
            if let Some(missing) = missing.filter(|missing| missing.verdict == Verdict::Refuse) {
                return Err(refuse(missing.instead));
            }
        }
        *self = next;
        Ok(())
    }
}

/// The rows of the pairs' names, if every one may be set and none twice (an alias counts as another name).
fn changeable(pairs: &[(&[u8], &[u8])]) -> Result<Vec<(&'static Setting, &'static str)>, SetRefusal> {
    let mut rows: Vec<(&'static Setting, &'static str)> = Vec::with_capacity(pairs.len());
    for (given, _) in pairs {
        let (setting, name) = known(given).ok_or_else(|| SetRefusal::unknown(given))?;
        let refuse = |why| Err(SetRefusal::failed(&printable(given), why));
        match setting.change {
            Change::Start => return refuse("can't set immutable config"),
            Change::Protected => return refuse("can't set protected config"),
            Change::Runtime if rows.iter().any(|(_, other)| *other == name) => {
                return refuse("duplicate parameter");
            }
            Change::Runtime => rows.push((setting, name)),
            Change::FileOnly => return Err(SetRefusal::unknown(given)),
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(settings: &mut Settings, pairs: &[(&str, &str)]) -> Result<(), String> {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        settings.set(&pairs).map_err(|refusal| refusal.to_string())
    }

    /// Stands for the protocol's matcher: only a leading or trailing `*`.
    fn simple_glob(pattern: &[u8], text: &[u8], _ignore_case: bool) -> bool {
        let pattern = String::from_utf8_lossy(pattern).to_ascii_lowercase();
        let text = String::from_utf8_lossy(text);
        match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
            (Some(""), _) => true,
            (Some(end), _) => text.ends_with(end),
            (_, Some(start)) => text.starts_with(start),
            _ => text == pattern,
        }
    }

    fn failed(name: &str, why: &str) -> String {
        format!("CONFIG SET failed (possibly related to argument '{name}') - {why}")
    }

    fn refuses(cases: &[(&[(&str, &str)], String)]) {
        for (pairs, text) in cases {
            let mut settings = Settings::default();
            assert_eq!(set(&mut settings, pairs).as_ref(), Err(text));
            assert_eq!(settings, Settings::default(), "{pairs:?} changed something");
        }
    }

    #[test]
    fn error_texts_are_those_of_the_reference_server() {
        let unknown = |name: &str| format!("Unknown option or number of arguments for CONFIG SET - '{name}'");
        let int = "argument couldn't be parsed into an integer";
        let cases: &[(&[(&str, &str)], String)] = &[
            (&[("NoPe", "1"), ("timeout", "5")], unknown("NoPe")),
            (&[("timeout", "x"), ("nope", "1")], unknown("nope")),
            (&[("rename-command", "a b")], unknown("rename-command")),
            (&[("a\nb", "1")], unknown("a b")),
            (&[("databases", "1"), ("nope", "1")], failed("databases", "can't set immutable config")),
            (&[("timeout", "x"), ("DATABASES", "1")], failed("DATABASES", "can't set immutable config")),
            (&[("dir", "/")], failed("dir", "can't set protected config")),
            (&[("dbfilename", "a/b")], failed("dbfilename", "can't set protected config")),
            (&[("appenddirname", "")], failed("appenddirname", "can't set immutable config")),
            (&[("timeout", "1"), ("TIMEOUT", "2")], failed("TIMEOUT", "duplicate parameter")),
            (&[("TIMEOUT", "x")], failed("timeout", int)),
            (&[("slave-priority", "x")], failed("slave-priority", int)),
            (&[("timeout", "-1")], failed("timeout", "argument must be between 0 and 2147483647 inclusive")),
            (&[("maxmemory", "10%")], failed("maxmemory", "argument must be a memory value")),
            (
                &[("proto-max-bulk-len", "1")],
                failed(
                    "proto-max-bulk-len",
                    "argument must be between 1048576 and 9223372036854775807 inclusive",
                ),
            ),
            (&[("latency-tracking", "true")], failed("latency-tracking", "argument must be 'yes' or 'no'")),
            (
                &[("loglevel", "")],
                failed(
                    "loglevel",
                    "argument(s) must be one of the following: debug, verbose, notice, warning, nothing",
                ),
            ),
            (
                &[("client-output-buffer-limit", "NORMAL 0 0 0   pubsub 1 1 1")],
                failed(
                    "client-output-buffer-limit",
                    "Wrong number of arguments in buffer limit configuration.",
                ),
            ),
            (
                &[("maxmemory-clients", "101%")],
                failed("maxmemory-clients", "percentage argument must be less or equal to 100"),
            ),
        ];
        refuses(cases);
    }

    #[test]
    fn values_of_several_words_are_taken_as_the_reference_server_takes_them() {
        refuses(&[
            (&[("save", "900")], failed("save", "Invalid save parameters")),
            (&[("save", " 5  6 ")], failed("save", "Invalid save parameters")),
            (&[("save", "5\t6")], failed("save", "Invalid save parameters")),
            (&[("save", "0 6")], failed("save", "Invalid save parameters")),
            (
                &[("shutdown-on-sigterm", "nosave save")],
                failed(
                    "shutdown-on-sigterm",
                    "shutdown options SAVE and NOSAVE can't be used simultaneously",
                ),
            ),
            (
                &[("shutdown-on-sigint", "save ")],
                failed(
                    "shutdown-on-sigint",
                    "argument(s) must be one of the following: default, save, nosave, now, force",
                ),
            ),
        ]);
    }

    #[test]
    fn all_pairs_or_none() {
        let mut settings = Settings::default();
        let pairs = [("timeout", "3"), ("maxmemory", "1mb"), ("LogLevel", "DEBUG")];
        assert_eq!(set(&mut settings, &pairs), Ok(()));
        assert_eq!((settings.timeout, settings.maxmemory), (3, 1 << 20));
        assert_eq!(settings.get("loglevel").as_deref(), Some("debug"));
        assert!(set(&mut settings, &[("timeout", "4"), ("maxmemory", "x")]).is_err());
        assert_eq!(settings.timeout, 3);
        assert_eq!(set(&mut settings, &[("lua-time-limit", "1"), ("busy-reply-threshold", "2")]), Ok(()));
        assert_eq!(settings.get("lua-time-limit").as_deref(), Some("2"));
    }

    #[test]
    fn values_print_as_those_of_the_reference_server() {
        let mut settings = Settings::default();
        for (name, value, text) in [
            ("save", "+5 06", "5 6"),
            ("save", "1 2 0003 0", "1 2 3 0"),
            ("shutdown-on-sigterm", "force NOW", "now force"),
            ("shutdown-on-sigterm", "default save save", "save"),
            ("shutdown-on-sigterm", "DEFAULT", "default"),
        ] {
            assert_eq!(set(&mut settings, &[(name, value)]), Ok(()), "{name} {value}");
            assert_eq!(settings.get(name).as_deref(), Some(text), "{name} {value}");
        }
    }

    #[test]
    fn missing_features_cannot_be_set() {
        let mut settings = Settings::default();
        for (name, value) in [("cluster-enabled", "yes"), ("tls-port", "1")] {
            assert!(set(&mut settings, &[(name, value)]).is_err(), "{name}");
        }
        assert_eq!(set(&mut settings, &[("min-slaves-to-write", "2"), ("save", "")]), Ok(()));
        assert_eq!(settings.min_replicas_to_write, 2);
        assert_eq!(settings.get("save").as_deref(), Some(""));
    }

    #[test]
    fn get_takes_several_patterns_and_aliases() {
        let settings = Settings::default();
        let get = |globs: &[&str]| {
            let globs: Vec<_> = globs.iter().map(|glob| glob.as_bytes()).collect();
            let found = settings.matching(&globs, simple_glob);
            found.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
        };
        assert_eq!(get(&["TIMEOUT", "timeout", "time*"]), ["TIMEOUT=0"]);
        assert_eq!(get(&["*-priority"]), ["replica-priority=100", "slave-priority=100"]);
        assert_eq!(get(&["slave-pri*", "nope", "include"]), ["slave-priority=100"]);
        assert_eq!(get(&["maxmemory", "port"]), ["maxmemory=0", "port=6379"]);
        assert!(get(&["*"]).len() > 200);
    }
}
