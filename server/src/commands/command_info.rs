//! COMMAND: what the table of commands says of itself. DOCS is in `command_docs`.

use super::command_docs::docs;
use super::help::help_row;
use super::{Args, Categories, Command, Core, Flags, Group, KeyFlags, KeyRef, KeySpec, Run, table};
use crate::resp::{Argv, Refusal, Reply, glob_match};

/// What all rows share.
const ROW: Command = Command {
    flags: Flags::LOADING.union(Flags::STALE),
    extra_categories: Categories::CONNECTION,
    group: Group::Server,
    since: "2.8.13",
    ..Command::BASE
};

const UNORDERED: &[&str] = &["nondeterministic_output_order"];

pub const COMMANDS: &[Command] = &[Command {
    name: "command",
    full_name: "command",
    arity: -1,
    run: Run::Session(all),
    summary: "Describes all commands.",
    complexity: "O(N) with N commands",
    tips: UNORDERED,
    subcommands: SUBCOMMANDS,
    ..ROW
}];

const SUBCOMMANDS: &[Command] = &[
    Command {
        name: "count",
        full_name: "command|count",
        arity: 2,
        run: Run::Session(count),
        summary: "Returns how many commands there are.",
        ..ROW
    },
    Command {
        name: "docs",
        full_name: "command|docs",
        arity: -2,
        run: Run::Session(docs),
        since: "7.0.0",
        summary: "Documents the named commands, or all.",
        complexity: "O(N) with N commands asked for",
        syntax: "[command-name [command-name ...]]",
        tips: UNORDERED,
        ..ROW
    },
    Command {
        name: "getkeys",
        full_name: "command|getkeys",
        arity: -4,
        run: Run::Session(get_keys),
        summary: "Returns which arguments of a command line are keys.",
        complexity: "O(N) with N arguments",
        ..ROW
    },
    Command {
        name: "getkeysandflags",
        full_name: "command|getkeysandflags",
        arity: -4,
        run: Run::Session(get_keys_and_flags),
        since: "7.0.0",
        summary: "Returns the keys of a command line and what happens to each.",
        complexity: "O(N) with N arguments",
        ..ROW
    },
    Command { extra_categories: Categories::CONNECTION, ..help_row("command|help", Group::Server, "5.0.0") },
    Command {
        name: "info",
        full_name: "command|info",
        arity: -2,
        run: Run::Session(info),
        summary: "Describes the named commands, or all.",
        complexity: "O(N) with N commands asked for",
        syntax: "[command-name [command-name ...]]",
        tips: UNORDERED,
        ..ROW
    },
    Command {
        name: "list",
        full_name: "command|list",
        arity: -2,
        run: Run::Session(list),
        since: "7.0.0",
        summary: "Returns the names of the commands.",
        complexity: "O(N) with N commands",
        syntax: "[FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]",
        tips: UNORDERED,
        ..ROW
    },
];

/// The rows that are commands of their own, in table order.
pub fn top_level() -> impl Iterator<Item = &'static Command> {
    super::FAMILIES.iter().copied().flatten()
}

/// The row called `name`: a command, or `container|sub`.
pub fn by_full_name(name: &[u8]) -> Option<&'static Command> {
    let Some(bar) = memchr::memchr(b'|', name) else {
        return table().find(name).map(|row| table().row(row));
    };
    let container = table().find(&name[..bar])?;
    let sub = table().row(table().find_sub(container, &name[bar + 1..])?);
    (!sub.flags.contains(Flags::UNLISTED)).then_some(sub)
}

fn all(_core: &mut Core, _client: usize, _args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    reply.array(top_level().count());
    top_level().for_each(|row| describe(row, reply));
    Ok(())
}

fn count(_core: &mut Core, _client: usize, _args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    reply.int(top_level().count() as i64);
    Ok(())
}

fn info(core: &mut Core, client: usize, args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    if args.is_empty() {
        return all(core, client, args, reply);
    }
    reply.array(args.remaining());
    while let Some(name) = args.peek() {
        args.take()?;
        match by_full_name(name) {
            Some(row) => describe(row, reply),
            None => reply.null(),
        }
    }
    Ok(())
}

/// The ten fields of COMMAND INFO.
fn describe(row: &Command, reply: &mut Reply) {
    reply.array(10);
    reply.bulk(row.full_name.as_bytes());
    reply.int(i64::from(row.arity));
    names(row.flags.difference(Flags::INTERNAL).iter_names().map(|(name, _)| lower(name)), reply);
    for position in legacy_range(row.keys) {
        reply.int(position as i64);
    }
    names(row.categories().iter_names().map(|(name, _)| format!("@{}", lower(name))), reply);
    reply.set(row.tips.len());
    row.tips.iter().for_each(|tip| reply.bulk(tip.as_bytes()));
    reply.set(row.keys.len());
    row.keys.iter().for_each(|spec| describe_spec(spec, reply));
    let listed = row.subcommands.iter().filter(|sub| !sub.flags.contains(Flags::UNLISTED));
    match listed.clone().count() {
        0 => reply.set(0),
        count => reply.array(count),
    }
    listed.for_each(|sub| describe(sub, reply));
}

fn lower(name: &str) -> String {
    name.to_ascii_lowercase()
}

fn names(names: impl Iterator<Item = String>, reply: &mut Reply) {
    let names: Vec<String> = names.collect();
    reply.set(names.len());
    names.iter().for_each(|name| reply.simple(name));
}

/// Access (RO, RW, OW, RM) is printed in capitals, the rest in small letters.
fn key_flags(flags: KeyFlags, reply: &mut Reply) {
    let name = |name: &str| if name.len() == 2 { name.to_owned() } else { lower(name) };
    names(flags.iter_names().map(|(flag, _)| name(flag)), reply);
}

/// First key, last key and step, as clients expected them before there were key specifications. Several
/// specifications make one range as long as each begins where the one before ended.
fn legacy_range(specs: &[KeySpec]) -> [isize; 3] {
    let Some(head) = specs.first() else { return [0; 3] };
    let mut last = head.last;
    for spec in &specs[1..] {
        if spec.first as isize == last + 1 {
            last = spec.last;
        }
    }
    [head.first as isize, last, head.step as isize]
}

fn describe_spec(spec: &KeySpec, reply: &mut Reply) {
    reply.map(if spec.notes.is_empty() { 3 } else { 4 });
    if !spec.notes.is_empty() {
        reply.bulk(b"notes");
        reply.bulk(spec.notes.as_bytes());
    }
    reply.bulk(b"flags");
    key_flags(spec.flags, reply);
    reply.bulk(b"begin_search");
    typed_map("index", &[("index", spec.first as i64)], reply);
    reply.bulk(b"find_keys");
    // A last key counted from the end stays as it is; one counted from the start becomes relative to the first.
    let last = if spec.last < 0 { spec.last } else { spec.last - spec.first as isize };
    typed_map("range", &[("lastkey", last as i64), ("keystep", spec.step as i64), ("limit", 0)], reply);
}

fn typed_map(kind: &str, fields: &[(&str, i64)], reply: &mut Reply) {
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(kind.as_bytes());
    reply.bulk(b"spec");
    reply.map(fields.len());
    for (name, value) in fields {
        reply.bulk(name.as_bytes());
        reply.int(*value);
    }
}

fn list(_core: &mut Core, _client: usize, args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    let mut rows: Vec<&Command> = Vec::new();
    for row in top_level() {
        rows.push(row);
        rows.extend(row.subcommands.iter().filter(|sub| !sub.flags.contains(Flags::UNLISTED)));
    }
    if !args.is_empty() {
        if args.remaining() != 3 || !args.option("FILTERBY") {
            return Err(Refusal::Syntax);
        }
        if args.option("MODULE") {
            rows.clear();
        } else if args.option("ACLCAT") {
            let category = String::from_utf8_lossy(args.take()?).to_ascii_uppercase();
            let category = Categories::from_name(&category).unwrap_or(Categories::empty());
            rows.retain(|row| row.categories().intersects(category));
        } else if args.option("PATTERN") {
            let pattern = args.take()?;
            rows.retain(|row| glob_match(pattern, row.full_name.as_bytes(), true));
        } else {
            return Err(Refusal::Syntax);
        }
    }
    reply.array(rows.len());
    rows.iter().for_each(|row| reply.bulk(row.full_name.as_bytes()));
    Ok(())
}

/// The keys of the command line that follows the subcommand's name.
fn keys_of<'a>(args: &Args<'a>) -> Result<(Argv<'a>, Vec<KeyRef>), Refusal> {
    let argv = args.argv().skip(2);
    let row = table().resolve(argv.get(0), (argv.len() > 1).then(|| argv.get(1)));
    let row = table().row(row.ok_or(Refusal::err("Invalid command specified"))?);
    if row.keys.is_empty() {
        return Err(Refusal::err("The command has no key arguments"));
    }
    if !row.accepts(argv.len()) {
        return Err(Refusal::err("Invalid number of arguments specified for command"));
    }
    let mut keys: Vec<KeyRef> = row.key_refs(argv).collect();
    if let Some(flags) = row.key_flags {
        keys.iter_mut().for_each(|key| key.flags = flags(argv));
    }
    Ok((argv, keys))
}

fn get_keys(_core: &mut Core, _client: usize, args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    let (argv, keys) = keys_of(args)?;
    reply.array(keys.len());
    keys.iter().for_each(|key| reply.bulk(argv.get(key.index)));
    Ok(())
}

fn get_keys_and_flags(
    _core: &mut Core,
    _client: usize,
    args: &mut Args,
    reply: &mut Reply,
) -> Result<(), Refusal> {
    let (argv, keys) = keys_of(args)?;
    reply.array(keys.len());
    for key in keys {
        reply.array(2);
        reply.bulk(argv.get(key.index));
        key_flags(key.flags, reply);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::shell::Shell;
    use super::{KeyFlags, KeySpec, legacy_range};

    #[test]
    fn rows_are_described_as_the_reference_server_does() {
        let mut shell = Shell::new(1);
        let watch = "*1|*10|$5|watch|:-2|*5|+noscript|+loading|+stale|+fast|+allow_busy|:1|:-1|:1|*2|+@fast|\
                     +@transaction|*0|*1|*6|$5|flags|*1|+RO|$12|begin_search|*4|$4|type|$5|index|$4|spec|*2|\
                     $5|index|:1|$9|find_keys|*4|$4|type|$5|range|$4|spec|*6|$7|lastkey|:-1|$7|keystep|:1|\
                     $5|limit|:0|*0|";
        assert_eq!(shell.run("COMMAND INFO WATCH"), watch);
        let get = "*1|*10|$10|config|get|:-3|*4|+admin|+noscript|+loading|+stale|:0|:0|:0|*3|+@admin|+@slow|\
                   +@dangerous|*0|*0|*0|";
        assert_eq!(shell.run("COMMAND INFO config|get"), get);
        assert_eq!(shell.run("COMMAND INFO nosuch"), "*1|$-1|");
        assert!(shell.run("HELLO 3").starts_with('%'));
        assert_eq!(
            shell.run("COMMAND INFO PING"),
            "*1|*10|$4|ping|:-1|~1|+fast|:0|:0|:0|~2|+@fast|+@connection|\
             ~2|$25|request_policy:all_shards|$29|response_policy:all_succeeded|~0|~0|"
        );
    }

    #[test]
    fn names_are_listed_and_filtered() {
        let mut shell = Shell::new(1);
        let pattern = "*6|$7|command|$13|command|count|$12|command|docs|$15|command|getkeys|";
        let listed = shell.run("COMMAND LIST FILTERBY PATTERN COMMAND*");
        assert!(listed.starts_with("*8|$7|command|$13|command|count|"), "{listed} {pattern}");
        assert_eq!(shell.run("COMMAND LIST FILTERBY MODULE x"), "*0|");
        assert_eq!(shell.run("COMMAND LIST FILTERBY ACLCAT nosuch"), "*0|");
        let transaction = shell.run("COMMAND LIST FILTERBY ACLCAT Transaction");
        assert_eq!(transaction, "*5|$5|multi|$4|exec|$7|discard|$5|watch|$7|unwatch|");
        assert_eq!(shell.run("COMMAND LIST x"), "-ERR syntax error|");
        let count = shell.run("COMMAND COUNT");
        let bare = shell.run("COMMAND");
        assert_eq!(count[1..], bare[1..count.len()], "bare COMMAND has one element a command");
    }

    #[test]
    fn keys_are_extracted() {
        let mut shell = Shell::new(1);
        assert_eq!(shell.run("COMMAND GETKEYS WATCH a b"), "*2|$1|a|$1|b|");
        assert_eq!(shell.run("COMMAND GETKEYSANDFLAGS WATCH a"), "*1|*2|$1|a|*1|+RO|");
        assert_eq!(shell.run("COMMAND GETKEYS nosuch a"), "-ERR Invalid command specified|");
        assert_eq!(shell.run("COMMAND GETKEYS PING a"), "-ERR The command has no key arguments|");
    }

    #[test]
    fn key_specs_make_one_range_where_they_can() {
        let at = |index| KeySpec::at(index, KeyFlags::RW);
        assert_eq!(legacy_range(&[]), [0, 0, 0]);
        assert_eq!(legacy_range(&[at(1), at(2)]), [1, 2, 1]);
        assert_eq!(legacy_range(&[at(1), at(3)]), [1, 1, 1]);
        assert_eq!(legacy_range(&[KeySpec::every(1, 2, KeyFlags::OW)]), [1, -1, 2]);
    }
}
