//! INFO: every core tells its numbers, the coordinating one writes the sections of `info_sections` from them.

use std::collections::BTreeMap;

use super::info_sections::{SECTIONS, Section};
use super::parts::{bulk, integer};
use super::{Args, Categories, ClientFlags, Command, Core, Ctx, Flags, Group, Lock, Merge, Run};
use crate::resp::{Refusal, Reply, elements};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};

pub const COMMANDS: &[Command] = &[Command {
    name: "info",
    full_name: "info",
    arity: -1,
    flags: Flags::LOADING.union(Flags::STALE),
    run: Run::EveryCore { lock: Lock::None, part: tell, merge: Merge::Custom(write) },
    extra_categories: Categories::DANGEROUS,
    group: Group::Server,
    since: "1.0.0",
    summary: "Returns facts and statistics about the server.",
    syntax: "[section [section ...]]",
    tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
    ..Command::BASE
}];

/// What one core counts and holds.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    pub connections_received: i64,
    pub rejected_connections: i64,
    pub commands_processed: i64,
    pub net_input_bytes: i64,
    pub net_output_bytes: i64,
    pub error_replies: i64,
    pub output_limit_disconnections: i64,
    pub query_limit_disconnections: i64,
    pub transaction_retries: i64,
    /// Per second, of late.
    pub commands_rate: i64,
    pub net_input_rate: i64,
    pub net_output_rate: i64,
    pub hits: i64,
    pub misses: i64,
    pub expired: i64,
    pub clients: i64,
    pub watching_clients: i64,
    pub blocked_clients: i64,
    pub watched_keys: i64,
    /// Bytes.
    pub clients_memory: i64,
    pub used_memory: i64,
    pub keys: i64,
}

impl Numbers {
    /// The fields in the order in which they travel.
    fn fields(&mut self) -> [&mut i64; 22] {
        [
            &mut self.connections_received,
            &mut self.rejected_connections,
            &mut self.commands_processed,
            &mut self.net_input_bytes,
            &mut self.net_output_bytes,
            &mut self.error_replies,
            &mut self.output_limit_disconnections,
            &mut self.query_limit_disconnections,
            &mut self.transaction_retries,
            &mut self.commands_rate,
            &mut self.net_input_rate,
            &mut self.net_output_rate,
            &mut self.hits,
            &mut self.misses,
            &mut self.expired,
            &mut self.clients,
            &mut self.watching_clients,
            &mut self.blocked_clients,
            &mut self.watched_keys,
            &mut self.clients_memory,
            &mut self.used_memory,
            &mut self.keys,
        ]
    }

    fn of(core: &Core, ctx: &Ctx) -> Numbers {
        let (stats, data) = (&core.stats, &*ctx.data);
        let clients = || core.connections();
        Numbers {
            connections_received: stats.connections_received as i64,
            rejected_connections: stats.rejected_connections as i64,
            commands_processed: stats.commands_processed as i64,
            net_input_bytes: stats.net_input_bytes as i64,
            net_output_bytes: stats.net_output_bytes as i64,
            error_replies: stats.error_replies as i64,
            output_limit_disconnections: stats.output_limit_disconnections as i64,
            query_limit_disconnections: stats.query_limit_disconnections as i64,
            transaction_retries: stats.transaction_retries as i64,
            commands_rate: stats.rates.commands as i64,
            net_input_rate: stats.rates.net_input as i64,
            net_output_rate: stats.rates.net_output as i64,
            hits: data.hits as i64,
            misses: data.misses as i64,
            expired: data.expired as i64,
            clients: clients().filter(|client| !client.is(ClientFlags::KILLED)).count() as i64,
            watching_clients: clients().filter(|client| client.watching > 0).count() as i64,
            blocked_clients: clients().filter(|client| client.is(ClientFlags::BLOCKED)).count() as i64,
            watched_keys: data.watches.len() as i64,
            clients_memory: clients().map(|client| client.memory() as i64).sum(),
            used_memory: data.keyspace.used_memory() as i64,
            keys: (0..data.keyspace.databases()).map(|db| data.keyspace.len(db) as i64).sum(),
        }
    }

    fn add(&mut self, raw: &[u8]) {
        self.fields().into_iter().zip(elements(raw)).for_each(|(sum, raw)| *sum += integer(raw));
    }
}

/// Keys of one database.
#[derive(Clone, Copy, Debug, Default)]
pub struct Database {
    pub keys: i64,
    pub volatile: i64,
    /// Mean time to live of the volatile keys, ms.
    pub average_ttl: i64,
}

/// Calls of one command, on all cores.
#[derive(Debug, Default)]
pub struct Calls {
    pub calls: i64,
    pub nanos: i64,
    pub rejected: i64,
    pub failed: i64,
    pub latency: Option<Histogram<u64>>,
}

/// What all cores told.
#[derive(Debug, Default)]
pub struct Whole {
    pub sum: Numbers,
    pub shards: Vec<Numbers>,
    pub databases: Vec<Database>,
    /// By row number.
    pub calls: BTreeMap<usize, Calls>,
    /// By first word of the reply.
    pub errors: BTreeMap<String, i64>,
}

/// The sections that are asked for, in their fixed order. Unknown names mean nothing.
fn asked(args: &mut Args) -> Result<Vec<&'static Section>, Refusal> {
    if args.is_empty() {
        return Ok(SECTIONS.iter().filter(|section| section.default).collect());
    }
    let mut wanted = vec![false; SECTIONS.len()];
    while !args.is_empty() {
        let name = args.take()?.to_ascii_lowercase();
        for (section, wanted) in SECTIONS.iter().zip(&mut wanted) {
            *wanted |= match name.as_slice() {
                b"all" => section.name != "modules",
                b"everything" => true,
                b"default" => section.default,
                name => name == section.name.as_bytes(),
            };
        }
    }
    Ok(SECTIONS.iter().zip(wanted).filter(|(_, wanted)| *wanted).map(|(section, _)| section).collect())
}

/// Answers four arrays: numbers, databases, calls by row, errors by kind.
fn tell(core: &mut Core, ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    let asked = asked(args)?;
    let calls = asked.iter().any(|section| section.calls);
    let mut numbers = Numbers::of(core, ctx);
    let reply = &mut ctx.reply;
    reply.array(4);
    let fields = numbers.fields();
    reply.array(fields.len());
    fields.into_iter().for_each(|field| reply.int(*field));
    let keyspace = &ctx.data.keyspace;
    reply.array(keyspace.databases());
    for db in 0..keyspace.databases() {
        reply.array(3);
        reply.int(keyspace.len(db) as i64);
        reply.int(keyspace.volatile(db) as i64);
        reply.int(keyspace.average_ttl(db, ctx.now));
    }
    tell_calls(core, calls, reply);
    reply.array(core.stats.errors.len());
    for (kind, count) in &core.stats.errors {
        reply.array(2);
        reply.bulk(kind.as_bytes());
        reply.int(*count as i64);
    }
    Ok(())
}

fn tell_calls(core: &Core, asked: bool, reply: &mut Reply) {
    let used = core.command_stats.iter().enumerate().filter(|(_, row)| asked && row.is_used());
    let used: Vec<_> = used.collect();
    reply.array(used.len());
    for (number, row) in used {
        reply.array(6);
        reply.int(number as i64);
        for count in [row.calls, row.nanos, row.rejected, row.failed] {
            reply.int(count as i64);
        }
        let mut bytes = Vec::new();
        if let Some(latency) = &row.latency {
            V2Serializer::new().serialize(latency, &mut bytes).expect("writing to a Vec cannot fail");
        }
        reply.bulk(&bytes);
    }
}

impl Whole {
    fn of(parts: &[&[u8]]) -> Whole {
        let mut whole = Whole::default();
        for part in parts {
            let mut arrays = elements(part);
            let mut next = || arrays.next().unwrap_or_default();
            let mut shard = Numbers::default();
            let numbers = next();
            shard.add(numbers);
            whole.sum.add(numbers);
            whole.shards.push(shard);
            whole.add_databases(next());
            elements(next()).for_each(|raw| whole.add_calls(raw));
            for raw in elements(next()) {
                let mut pair = elements(raw);
                let kind = String::from_utf8_lossy(bulk(pair.next().unwrap_or_default())).into_owned();
                *whole.errors.entry(kind).or_default() += integer(pair.next().unwrap_or_default());
            }
        }
        whole
    }

    fn add_databases(&mut self, raw: &[u8]) {
        for (index, raw) in elements(raw).enumerate() {
            let mut numbers = elements(raw).map(integer);
            let mut next = || numbers.next().unwrap_or_default();
            let (keys, volatile, ttl) = (next(), next(), next());
            if self.databases.len() <= index {
                self.databases.push(Database::default());
            }
            let sum = &mut self.databases[index];
            let total = sum.average_ttl * sum.volatile + ttl * volatile;
            sum.keys += keys;
            sum.volatile += volatile;
            sum.average_ttl = total / sum.volatile.max(1);
        }
    }

    fn add_calls(&mut self, raw: &[u8]) {
        let raw: Vec<&[u8]> = elements(raw).collect();
        let [row, calls, nanos, rejected, failed, latency] = raw.as_slice() else { return };
        let sum = self.calls.entry(integer(row) as usize).or_default();
        sum.calls += integer(calls);
        sum.nanos += integer(nanos);
        sum.rejected += integer(rejected);
        sum.failed += integer(failed);
        let Ok(latency) = Deserializer::new().deserialize(&mut bulk(latency)) else { return };
        match &mut sum.latency {
            Some(sum) => sum.add(&latency).expect("all cores use the same bounds"),
            none => *none = Some(latency),
        }
    }
}

fn write(parts: &[&[u8]], core: &Core, args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    let whole = Whole::of(parts);
    let mut text = String::new();
    for section in asked(args)? {
        if !text.is_empty() {
            text += "\r\n";
        }
        text += &format!("# {}\r\n", section.title);
        (section.write)(&whole, core, &mut text);
    }
    reply.verbatim("txt", text.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::shell::Shell;
    use super::super::table;

    /// The value of one field of a section.
    fn field(shell: &mut Shell, section: &str, name: &str) -> String {
        let text = shell.run(&format!("INFO {section}"));
        let found = text.split('|').find_map(|line| line.strip_prefix(&format!("{name}:")));
        found.unwrap_or_else(|| panic!("{name} in {text}")).to_owned()
    }

    #[test]
    fn sections_are_chosen_by_name() {
        let mut shell = Shell::new(2);
        assert_eq!(shell.run("INFO nosuch"), "$0||");
        let two = shell.run("INFO keyspace CPU");
        assert!(two.contains("|# CPU|used_cpu_sys:") && two.ends_with("||# Keyspace||"), "{two}");
        let titles = |text: String| text.matches("# ").count();
        let default = titles(shell.run("INFO"));
        assert_eq!(default, titles(shell.run("INFO default")));
        assert_eq!(titles(shell.run("INFO everything")), default + 2);
        assert_eq!(titles(shell.run("INFO all")), default + 1);
        shell.run("HELLO 3");
        assert!(shell.run("INFO modules").starts_with("=15|txt:# Modules||"));
    }

    #[test]
    fn numbers_of_all_cores_are_summed() {
        let mut shell = Shell::new(3);
        shell.cores.iter_mut().for_each(|core| core.stats.commands_processed = 5);
        shell.data.iter_mut().for_each(|data| data.hits = 7);
        shell.cores[1].stats.errors.insert("WRONGTYPE".to_owned(), 2);
        shell.cores[2].stats.errors.insert("WRONGTYPE".to_owned(), 1);
        assert_eq!(field(&mut shell, "stats", "total_commands_processed"), "15");
        assert_eq!(field(&mut shell, "stats", "keyspace_hits"), "21");
        assert_eq!(field(&mut shell, "clients", "connected_clients"), "3");
        assert_eq!(field(&mut shell, "errorstats", "errorstat_WRONGTYPE"), "count=3");
        assert_eq!(field(&mut shell, "replication", "role"), "master");
    }

    #[test]
    fn keys_are_counted_by_database_and_shard() {
        let mut shell = Shell::new(2);
        let now = shell.cores[0].now;
        (0..10).for_each(|key| shell.set(0, &format!("key{key}"), b"x", None));
        (0..4).for_each(|key| shell.set(3, &format!("key{key}"), b"x", Some(now + 60_000)));
        assert_eq!(field(&mut shell, "keyspace", "db0"), "keys=10,expires=0,avg_ttl=0");
        let third = field(&mut shell, "keyspace", "db3");
        assert!(third.starts_with("keys=4,expires=4,avg_ttl="), "{third}");
        let shards: i64 = (0..2)
            .map(|shard| {
                let line = field(&mut shell, "torc", &format!("torc_shard{shard}"));
                let keys =
                    line.split(',').find_map(|field| field.strip_prefix("keys=")).expect("keys are told");
                keys.parse::<i64>().expect("keys are a number")
            })
            .sum();
        assert_eq!(shards, 14);
    }

    #[test]
    fn calls_and_their_latencies_are_merged() {
        let mut shell = Shell::new(2);
        let row = table().find(b"ping").expect("the row exists") as usize;
        shell.cores[0].command_stats[row].record(10_000, true);
        shell.cores[1].command_stats[row].record(30_000, true);
        shell.cores[1].command_stats[row].rejected = 3;
        let calls = field(&mut shell, "commandstats", "cmdstat_ping");
        assert_eq!(calls, "calls=2,usec=40,usec_per_call=20.00,rejected_calls=3,failed_calls=0");
        let latency = field(&mut shell, "latencystats", "latency_percentiles_usec_ping");
        assert_eq!(latency, "p50=10.047,p99=30.079,p99.9=30.079");
    }
}
