//! The README against the program: both name the same options.

use std::collections::BTreeSet;

use clap::{Command, CommandFactory};
use torc_loadgen::cli::Cli;

const README: &str = include_str!("../README.md");

/// `--long` and `-s` of a command and of its subcommands.
fn options(command: &Command, names: &mut BTreeSet<String>) {
    for argument in command.get_arguments() {
        names.extend(argument.get_long().map(|long| format!("--{long}")));
        names.extend(argument.get_short().map(|short| format!("-{short}")));
    }
    command.get_subcommands().for_each(|job| options(job, names));
}

/// Whatever stands in backquotes and begins with a dash, in the section on options.
fn documented() -> BTreeSet<String> {
    let (_, section) = README.split_once("\n## Options\n").expect("a section on options");
    let section = section.split("\n## ").next().expect("its text");
    let quoted = section.split('`').skip(1).step_by(2);
    let options = quoted.filter(|text| text.starts_with('-')).filter_map(|text| text.split(' ').next());
    options.map(String::from).collect()
}

#[test]
fn the_readme_and_the_help_name_the_same_options() {
    let mut command = Cli::command();
    command.build();
    let mut known = BTreeSet::new();
    options(&command, &mut known);
    // clap's own, of the program as a whole.
    known.remove("-V");
    let documented = documented();
    let missing: Vec<&String> = known.difference(&documented).collect();
    let invented: Vec<&String> = documented.difference(&known).collect();
    assert!(missing.is_empty(), "options that the README does not explain: {missing:?}");
    assert!(invented.is_empty(), "options of the README that do not exist: {invented:?}");
}

#[test]
fn every_job_is_in_the_readme() {
    for job in Cli::command().get_subcommands() {
        assert!(README.contains(&format!("`{}", job.get_name())), "{} is not in the README", job.get_name());
    }
}

#[test]
fn every_option_says_what_it_is_and_every_job_its_version() {
    let mut command = Cli::command();
    command.build();
    for job in command.get_subcommands().filter(|job| job.get_name() != "help") {
        for argument in job.get_arguments() {
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(!help.is_empty() && !help.starts_with('['), "{} {}", job.get_name(), argument.get_id());
        }
        assert!(job.get_version().is_some(), "{}", job.get_name());
    }
}
