//! COMMAND DOCS: the documentation of rows, their arguments read from `syntax`.

use super::command_info::{by_full_name, top_level};
use super::syntax::{Argument, arguments};
use super::{Args, Command, Core, Flags, Group};
use crate::resp::{Refusal, Reply};

impl Group {
    /// The group's name in the documentation.
    pub fn name(self) -> &'static str {
        match self {
            Group::Generic => "generic",
            Group::String => "string",
            Group::Connection => "connection",
            Group::Server => "server",
            Group::Transactions => "transactions",
        }
    }
}

/// Documents the named commands; names that mean nothing are left out.
pub fn docs(_core: &mut Core, _client: usize, args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    let mut rows: Vec<&Command> = Vec::new();
    if args.is_empty() {
        rows.extend(top_level());
    }
    while let Some(name) = args.peek() {
        args.take()?;
        rows.extend(by_full_name(name));
    }
    reply.map(rows.len());
    for row in rows {
        document(row, reply);
    }
    Ok(())
}

fn field(name: &str, value: &str, reply: &mut Reply) {
    reply.bulk(name.as_bytes());
    reply.bulk(value.as_bytes());
}

/// The name and the map of one row, and within it those of its subcommands.
fn document(row: &Command, reply: &mut Reply) {
    let unlisted = row.flags.contains(Flags::UNLISTED);
    let subcommands = if unlisted { &[] } else { row.subcommands };
    let arguments = arguments(row);
    reply.bulk(row.full_name.as_bytes());
    let deprecated = row.deprecated.is_some();
    let optional =
        [unlisted || deprecated, deprecated, deprecated, !arguments.is_empty(), !subcommands.is_empty()];
    reply.map(4 + optional.iter().filter(|there| **there).count());
    field("summary", row.summary, reply);
    field("since", row.since, reply);
    field("group", row.group.name(), reply);
    field("complexity", row.complexity, reply);
    let flags: Vec<&str> = [(deprecated, "deprecated"), (unlisted, "syscmd")]
        .into_iter()
        .filter_map(|(set, name)| set.then_some(name))
        .collect();
    if !flags.is_empty() {
        reply.bulk(b"doc_flags");
        reply.set(flags.len());
        flags.iter().for_each(|flag| reply.simple(flag));
    }
    if let Some((since, instead)) = row.deprecated {
        field("deprecated_since", since, reply);
        field("replaced_by", instead, reply);
    }
    if !arguments.is_empty() {
        reply.bulk(b"arguments");
        document_arguments(&arguments, reply);
    }
    if !subcommands.is_empty() {
        reply.bulk(b"subcommands");
        reply.map(subcommands.len());
        subcommands.iter().for_each(|sub| document(sub, reply));
    }
}

fn document_arguments(arguments: &[Argument], reply: &mut Reply) {
    reply.array(arguments.len());
    for argument in arguments {
        document_argument(argument, reply);
    }
}

fn document_argument(argument: &Argument, reply: &mut Reply) {
    let flags: Vec<&str> = [
        (argument.optional, "optional"),
        (argument.multiple, "multiple"),
        (argument.multiple_token, "multiple_token"),
    ]
    .iter()
    .filter_map(|(set, name)| set.then_some(*name))
    .collect();
    let optional = [
        argument.key_spec.is_some(),
        argument.token.is_some(),
        !flags.is_empty(),
        !argument.children.is_empty(),
    ];
    reply.map(2 + optional.iter().filter(|there| **there).count());
    field("name", &argument.name, reply);
    field("type", argument.kind, reply);
    if let Some(spec) = argument.key_spec {
        reply.bulk(b"key_spec_index");
        reply.int(spec as i64);
    }
    if let Some(token) = &argument.token {
        field("token", token, reply);
    }
    if !flags.is_empty() {
        reply.bulk(b"flags");
        reply.set(flags.len());
        flags.iter().for_each(|flag| reply.simple(flag));
    }
    if !argument.children.is_empty() {
        reply.bulk(b"arguments");
        document_arguments(&argument.children, reply);
    }
}

#[cfg(test)]
mod tests {
    use super::super::shell::Shell;
    use super::super::table;
    use crate::resp::element_len;

    #[test]
    fn one_command_is_documented() {
        let mut shell = Shell::new(1);
        assert_eq!(
            shell.run("COMMAND DOCS WATCH nosuch"),
            "*2|$5|watch|*10|$7|summary|$61|Makes the next EXEC depend on these keys staying as they are.|$5|since|\
             $5|2.2.0|$5|group|$12|transactions|$10|complexity|$17|O(1) for each key|$9|arguments|*1|*8|$4|name|\
             $3|key|$4|type|$3|key|$14|key_spec_index|:0|$5|flags|*1|+multiple|"
        );
        assert!(shell.run("COMMAND DOCS client|id").starts_with("*2|$9|client|id|*8|$7|summary|"));
        assert_eq!(shell.run("COMMAND DOCS nosuch"), "*0|");
    }

    #[test]
    fn all_documentation_is_well_formed_in_both_protocols() {
        let mut shell = Shell::new(1);
        for protocol in ["HELLO 2", "HELLO 3"] {
            shell.run(protocol);
            for command in ["COMMAND DOCS", "COMMAND", "COMMAND INFO", "COMMAND LIST"] {
                let raw = shell.raw(command);
                assert_eq!(element_len(&raw), Some(raw.len()), "{command}");
            }
        }
    }

    #[test]
    fn every_row_is_documented() {
        for row in table().rows() {
            assert!(!row.summary.is_empty() && !row.complexity.is_empty(), "{}", row.full_name);
            assert!(row.summary.ends_with('.'), "{}: summaries are sentences", row.full_name);
            assert!(row.full_name.ends_with(row.name), "{}", row.full_name);
        }
    }
}
