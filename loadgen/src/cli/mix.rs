//! Which commands, in what proportion.

use std::path::PathBuf;

use clap::Args;

use super::data::{Patterns, pattern};
use crate::{
    keys::Pattern,
    plan::{End, Preparation},
    traffic::{
        mix::{self, CommandPlan},
        named,
    },
};

#[derive(Args, Debug)]
pub struct Mix {
    /// SET:GET; whoever's turn it is, each has its share to within one request
    #[arg(long, default_value = "1:10", value_parser = ratio)]
    ratio: (u32, u32),
    /// A command with placeholders __key__ __data__ __rand_int__ __seq__ __score__ __expiry__; may be repeated
    #[arg(long, conflicts_with = "ratio")]
    command: Vec<String>,
    /// Weights of the --commands, in their order; they take turns as SET and GET do
    #[arg(long, requires = "command")]
    command_ratio: Vec<u32>,
    /// Key patterns of the --commands, in their order
    #[arg(long, requires = "command", value_parser = pattern)]
    command_key_pattern: Vec<Pattern>,
    /// A file of commands, one a line
    #[arg(long, conflicts_with_all = ["ratio", "command"])]
    command_file: Option<PathBuf>,
    /// Tests of redis-benchmark by name, in equal parts, e.g. set,get,lpush; before lrange ones mylist is filled
    #[arg(long, value_delimiter = ',', conflicts_with_all = ["ratio", "command", "command_file"])]
    tests: Vec<String>,
}

fn ratio(text: &str) -> Result<(u32, u32), String> {
    let parts = text.split_once(':').and_then(|(set, get)| Some((set.parse().ok()?, get.parse().ok()?)));
    parts.ok_or_else(|| "wanted SET:GET, as in 1:10".into())
}

impl Mix {
    /// The commands; SETs without a pattern of their own follow `patterns.sets`.
    pub fn commands(&self, patterns: Patterns) -> Result<Vec<CommandPlan>, String> {
        let mut commands = if !self.tests.is_empty() {
            self.tests.iter().map(|name| named::command(name)).collect::<Result<_, _>>()?
        } else if let Some(path) = &self.command_file {
            let text =
                std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            lines.map(CommandPlan::parse).collect::<Result<_, _>>()?
        } else if self.command.is_empty() {
            mix::set_get(self.ratio.0, self.ratio.1)
        } else {
            self.given()?
        };
        for command in commands.iter_mut().filter(|command| command.name == "SET") {
            command.pattern = command.pattern.or(Some(patterns.sets));
        }
        Ok(apart(commands))
    }

    /// What the tests need to find on the server, in a run that ends with `end`.
    pub fn preparation(&self, end: End) -> Option<Preparation> {
        let requests = match end {
            End::Requests(requests) => Some(requests),
            End::Time(_) => None,
        };
        named::preparation(&self.tests, requests)
    }

    fn given(&self) -> Result<Vec<CommandPlan>, String> {
        let count = self.command.len();
        for (option, given) in [
            ("command-ratio", self.command_ratio.len()),
            ("command-key-pattern", self.command_key_pattern.len()),
        ] {
            if given > 0 && given != count {
                return Err(format!("{given} --{option} for {count} --command: give one for each or none"));
            }
        }
        let command = |(index, line): (usize, &String)| {
            Ok(CommandPlan {
                weight: self.command_ratio.get(index).copied().unwrap_or(1),
                pattern: self.command_key_pattern.get(index).copied(),
                ..CommandPlan::parse(line)?
            })
        };
        self.command.iter().enumerate().map(command).collect()
    }
}

/// Commands of one name are numbered, so that a report keeps them apart.
fn apart(mut commands: Vec<CommandPlan>) -> Vec<CommandPlan> {
    let names: Vec<String> = commands.iter().map(|command| command.name.clone()).collect();
    for (index, command) in commands.iter_mut().enumerate() {
        let same = |name: &&String| **name == names[index];
        if names.iter().filter(same).count() > 1 {
            command.name = format!("{}#{}", names[index], names[..=index].iter().filter(same).count());
        }
    }
    commands
}
