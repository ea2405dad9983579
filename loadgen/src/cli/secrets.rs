//! The command line as a report may show it: without passwords. Which letters take a value is asked of the command
//! line's own description, so that bundled letters (`-qasecret`) are read here as they are read there.

use clap::CommandFactory;

use super::Cli;

const HIDDEN: &str = "***";

/// What the value of an option gives away.
#[derive(Clone, Copy, PartialEq)]
enum Secret {
    /// All of it.
    Password,
    /// What stands before its `@`.
    Login,
    Nothing,
}

impl Secret {
    fn of(option: &str) -> Self {
        match option {
            "a" | "auth" | "authenticate" => Self::Password,
            "u" | "uri" => Self::Login,
            _ => Self::Nothing,
        }
    }

    fn hide(self, value: &str) -> String {
        match self {
            Self::Password => HIDDEN.into(),
            // Where a URI stands that nobody expects, it is no less secret.
            Self::Nothing if !value.contains("://") => value.into(),
            Self::Login | Self::Nothing => without_login(value),
        }
    }
}

/// `argv` as a report may show it.
pub fn without_secrets(argv: &[String]) -> Vec<String> {
    let valued = letters_with_values();
    let mut pending = Secret::Nothing;
    let mut shown = Vec::with_capacity(argv.len());
    for word in argv {
        let secret = std::mem::replace(&mut pending, Secret::Nothing);
        if secret != Secret::Nothing {
            shown.push(secret.hide(word));
        } else if let Some(long) = word.strip_prefix("--") {
            shown.push(match long.split_once('=') {
                Some((name, value)) => format!("--{name}={}", Secret::of(name).hide(value)),
                None => {
                    pending = Secret::of(long);
                    Secret::Nothing.hide(word)
                }
            });
        } else if let Some(letters) = word.strip_prefix('-') {
            let value = letters.find(|letter| valued.contains(&letter)).map_or(letters.len(), |at| at + 1);
            let (options, value) = letters.split_at(value);
            let last =
                options.chars().next_back().map_or(Secret::Nothing, |letter| Secret::of(&letter.to_string()));
            if value.is_empty() {
                pending = last;
                shown.push(word.clone());
            } else {
                shown.push(format!("-{options}{}", last.hide(value)));
            }
        } else {
            shown.push(Secret::Nothing.hide(word));
        }
    }
    shown
}

/// The short options, of any job, that take what follows them in their word.
fn letters_with_values() -> Vec<char> {
    let cli = Cli::command();
    let arguments = cli.get_subcommands().flat_map(clap::Command::get_arguments);
    let valued = arguments.filter(|argument| argument.get_action().takes_values());
    valued.filter_map(clap::Arg::get_short).collect()
}

/// A URI, or `NAME=URI` with or without its scheme, without its login.
fn without_login(text: &str) -> String {
    let Some((before, place)) = text.rsplit_once('@') else { return text.into() };
    let kept = match (before.split_once("://"), before.split_once('=')) {
        (Some((scheme, _)), _) => format!("{scheme}://"),
        (None, Some((name, _))) => format!("{name}="),
        (None, None) => String::new(),
    };
    format!("{kept}{HIDDEN}@{place}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> String {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        without_secrets(&words).join(" ")
    }

    #[test]
    fn no_password_is_shown() {
        let line = "x run -a s3 --auth s3 --auth=s3 -as3 -u redis://me:s3@h/1 --uri=rediss://:s3@h -n 5 --agents a,b";
        let expected =
            "x run -a *** --auth *** --auth=*** -a*** -u redis://***@h/1 --uri=rediss://***@h -n 5";
        assert_eq!(shown(line), format!("{expected} --agents a,b"));
        assert_eq!(
            shown("x sweep -u a=redis://:s3@h -u b=:s3@h:1 -uc=:s3@h -u unix:///tmp/s"),
            "x sweep -u a=redis://***@h -u b=***@h:1 -uc=***@h -u unix:///tmp/s"
        );
    }

    #[test]
    fn no_password_is_shown_behind_letters_in_the_same_word() {
        assert_eq!(shown("x run -qas3 -3as3 -q3Ra s3 -n5"), "x run -qa*** -3a*** -q3Ra *** -n5");
        assert_eq!(shown("x run -qa=s3 -qu redis://:s3@h"), "x run -qa*** -qu redis://***@h");
        // The letters behind one that takes a value are that value.
        assert_eq!(shown("x run -hlocal -n 5a 7 -sa/b"), "x run -hlocal -n 5a 7 -sa/b");
        assert_eq!(
            shown("x run --compat memtier --authenticate me:s3"),
            "x run --compat memtier --authenticate ***"
        );
    }
}
