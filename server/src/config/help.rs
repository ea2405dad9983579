//! `--help` and `--version`, generated from the table, and the guess what a mistyped directive meant.

use super::table::{Change, GROUPS, Setting, Verdict, settings};
use clap::{Arg, ArgAction, Command};

/// What `--help` prints.
pub fn help() -> String {
    let about = "A RESP server in which every CPU core owns a part of the keys; a drop-in for Redis.";
    let mut command = Command::new("torc-server")
        .about(about)
        .override_usage("torc-server [FILE | -] [--DIRECTIVE VALUE ...]")
        .next_line_help(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .arg(
            Arg::new("file").value_name("FILE").help("configuration in redis.conf syntax; -: standard input"),
        )
        .arg(flag("help", 'h', "print this"))
        .arg(flag("version", 'v', "print the version"))
        .after_help("Directives of the command line override those of the file. Bytes take k kb m mb g gb.");
    for group in GROUPS {
        let rows = group.rows.iter().filter(|setting| setting.change != Change::FileOnly);
        command = command.args(rows.map(|setting| argument(setting).help_heading(group.title)));
    }
    command.render_help().to_string()
}

/// What `--version` prints.
pub fn version() -> String {
    Command::new("torc-server").version(env!("CARGO_PKG_VERSION")).render_version()
}

fn flag(name: &'static str, short: char, text: &'static str) -> Arg {
    Arg::new(name).long(name).short(short).action(ArgAction::SetTrue).help(text)
}

fn argument(setting: &'static Setting) -> Arg {
    let mut text = setting.doc.to_owned();
    if !setting.default.is_empty() {
        text.push_str(&format!(" [default: {}]", setting.default));
    }
    match setting.missing.map(|missing| missing.verdict) {
        Some(Verdict::Refuse) => text.push_str(" [not yet: refused]"),
        Some(Verdict::Warn) => text.push_str(" [not yet: the log says so]"),
        None => {}
    }
    Arg::new(setting.name).long(setting.name).value_name(setting.form.shape()).help(text)
}

/// The directive that `name` most likely meant, if one is close.
pub fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let names = settings().flat_map(|setting| std::iter::once(setting.name).chain(setting.alias));
    let (distance, near) = names.map(|each| (distance(&name, each), each)).min()?;
    (distance <= name.len().div_ceil(3).min(3)).then_some(near)
}

/// Letters to insert, remove or replace to get from one word to the other.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (done, letter) in from.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = done + 1;
        for (at, other) in to.bytes().enumerate() {
            let replaced = diagonal + usize::from(letter != other);
            diagonal = row[at + 1];
            row[at + 1] = replaced.min(row[at] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_shows_every_directive() {
        let help = help();
        for setting in settings().filter(|setting| setting.change != Change::FileOnly) {
            assert!(help.contains(&format!("--{} <", setting.name)), "{}", setting.name);
            assert!(help.contains(setting.doc), "{}", setting.name);
        }
    }

    #[test]
    fn version_names_the_program() {
        assert_eq!(version().trim(), concat!("torc-server ", env!("CARGO_PKG_VERSION")));
    }

    #[test]
    fn typing_errors_find_their_directive() {
        assert_eq!(nearest("max-memory"), Some("maxmemory"));
        assert_eq!(nearest("Time-out"), Some("timeout"));
        assert_eq!(nearest("appendonyl"), Some("appendonly"));
        assert_eq!(nearest("quite-something-else"), None);
    }
}
