//! The command table and the sections of INFO against the reference's own: what clients and proxies rely on.

use std::collections::{BTreeMap, BTreeSet};

use torc_tests::client::Client;
use torc_tests::peer::Peer;
use torc_tests::process::Server;
use torc_tests::reply::Reply;
use torc_tests::torc;

/// The comparable part of one COMMAND INFO entry.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    arity: Option<i64>,
    flags: BTreeSet<String>,
    keys: [Option<i64>; 3],
    categories: BTreeSet<String>,
    specs: BTreeSet<String>,
}

fn texts(reply: &Reply) -> BTreeSet<String> {
    reply.elements().iter().map(Reply::text).collect()
}

/// Collects the entries of a COMMAND INFO reply, subcommands too, by name.
fn collect(entries: &Reply, table: &mut BTreeMap<String, Entry>) {
    for entry in entries.elements() {
        let [name, arity, flags, first, last, step, categories, _tips, specs, subcommands] = entry.elements()
        else {
            continue;
        };
        let specs = specs.elements().iter().map(spec).collect();
        let keys = [first.int(), last.int(), step.int()];
        let (flags, categories) = (texts(flags), texts(categories));
        table.insert(name.text(), Entry { arity: arity.int(), flags, keys, categories, specs });
        collect(subcommands, table);
    }
}

/// One key specification: its flags as a set, notes left out, the rest as it is.
fn spec(spec: &Reply) -> String {
    let pairs = spec.elements().chunks(2).filter(|pair| pair[0].text() != "notes");
    let pairs = pairs.map(|pair| match pair[0].text().as_str() {
        "flags" => format!("flags {:?}", texts(&pair[1])),
        name => format!("{name} {}", pair[1]),
    });
    pairs.collect::<BTreeSet<String>>().into_iter().collect::<Vec<_>>().join(" ")
}

fn listed(server: &Server) -> Vec<String> {
    let mut names: Vec<String> =
        server.client().line("COMMAND LIST").elements().iter().map(Reply::text).collect();
    names.sort();
    names
}

fn table(server: &Server, resp3: bool) -> BTreeMap<String, Entry> {
    let mut client = server.client();
    if resp3 {
        client.line("HELLO 3");
    }
    let mut table = BTreeMap::new();
    collect(&client.line("COMMAND"), &mut table);
    table
}

#[test]
fn rows_say_what_the_reference_says() {
    let (redis, valkey, torc) = (Peer::Redis.start(&[]), Peer::Valkey.start(&[]), torc::start(2, &[]));
    for resp3 in [false, true] {
        let (redis, valkey, ours) = (table(&redis, resp3), table(&valkey, resp3), table(&torc, resp3));
        assert!(ours.len() > 40, "COMMAND answers {} entries", ours.len());
        let mut wrong = Vec::new();
        for (name, entry) in &ours {
            match redis.get(name).or_else(|| valkey.get(name)) {
                Some(theirs) if theirs == entry => {}
                Some(theirs) => wrong.push(format!("{name}\n    peer: {theirs:?}\n    torc: {entry:?}")),
                None => wrong.push(format!("{name}: no peer has it")),
            }
        }
        assert!(wrong.is_empty(), "{} rows differ\n{}", wrong.len(), wrong.join("\n"));
    }
}

#[test]
fn command_info_and_list_agree_with_command() {
    let torc = torc::start(1, &[]);
    let all = table(&torc, false);
    let mut client = torc.client();
    assert_eq!(client.line("COMMAND COUNT").int(), Some(client.line("COMMAND").elements().len() as i64));
    assert_eq!(listed(&torc), all.keys().cloned().collect::<Vec<_>>());
    let words: Vec<&str> = ["COMMAND", "INFO"].into_iter().chain(all.keys().map(String::as_str)).collect();
    let infos = client.call(&words);
    assert_eq!(infos.elements().len(), all.len());
    for ((name, entry), info) in all.iter().zip(infos.elements()) {
        let mut single = BTreeMap::new();
        collect(&Reply::Array(vec![info.clone()]), &mut single);
        assert_eq!(single.get(name), Some(entry), "COMMAND INFO {name}");
    }
}

#[test]
fn filters_of_command_list_agree_with_the_reference() {
    let (peer, torc) = (Peer::Redis.start(&[]), torc::start(1, &[]));
    let own: BTreeSet<String> = listed(&torc).into_iter().collect();
    for filter in [
        "ACLCAT string",
        "ACLCAT @read",
        "ACLCAT keyspace",
        "ACLCAT dangerous",
        "PATTERN *get*",
        "PATTERN client*",
    ] {
        let line = format!("COMMAND LIST FILTERBY {filter}");
        let theirs: BTreeSet<String> =
            texts(&peer.client().line(&line)).intersection(&own).cloned().collect();
        let later = ["client|no-touch", "client|setinfo"];
        let mut ours = texts(&torc.client().line(&line));
        ours.retain(|name| !later.contains(&name.as_str()));
        assert_eq!(ours, theirs, "{line}");
    }
}

/// Name, since and group of every COMMAND DOCS entry; what it says in words is ours.
fn docs(server: &Server, resp3: bool) -> BTreeMap<String, [String; 2]> {
    let mut client = server.client();
    if resp3 {
        client.line("HELLO 3");
    }
    let mut found = BTreeMap::new();
    for pair in client.line("COMMAND DOCS").elements().chunks(2) {
        let mut entry = [String::new(), String::new()];
        for field in pair[1].elements().chunks(2) {
            match field[0].text().as_str() {
                "since" => entry[0] = field[1].text(),
                "group" => entry[1] = field[1].text(),
                _ => {}
            }
        }
        found.insert(pair[0].text(), entry);
    }
    found
}

#[test]
fn docs_name_group_and_version() {
    let (redis, valkey, torc) = (Peer::Redis.start(&[]), Peer::Valkey.start(&[]), torc::start(1, &[]));
    for resp3 in [false, true] {
        let (theirs, later, ours) = (docs(&redis, resp3), docs(&valkey, resp3), docs(&torc, resp3));
        assert!(ours.len() > 40, "COMMAND DOCS answers {} entries", ours.len());
        for (name, entry) in &ours {
            assert_eq!(theirs.get(name).or_else(|| later.get(name)), Some(entry), "COMMAND DOCS {name}");
        }
    }
}

/// Fields of INFO that tools read and that make sense here, by section.
const INFO: &[(&str, &[&str])] = &[
    (
        "server",
        &[
            "redis_version",
            "redis_mode",
            "os",
            "arch_bits",
            "process_id",
            "run_id",
            "tcp_port",
            "server_time_usec",
            "uptime_in_seconds",
            "uptime_in_days",
            "hz",
            "executable",
            "config_file",
        ],
    ),
    ("clients", &["connected_clients", "maxclients", "blocked_clients"]),
    (
        "memory",
        &[
            "used_memory",
            "used_memory_human",
            "used_memory_rss",
            "used_memory_peak",
            "maxmemory",
            "maxmemory_human",
            "maxmemory_policy",
            "mem_fragmentation_ratio",
        ],
    ),
    (
        "stats",
        &[
            "total_connections_received",
            "total_commands_processed",
            "instantaneous_ops_per_sec",
            "rejected_connections",
            "expired_keys",
            "evicted_keys",
            "keyspace_hits",
            "keyspace_misses",
            "total_net_input_bytes",
            "total_net_output_bytes",
            "total_error_replies",
        ],
    ),
    ("replication", &["role", "connected_slaves"]),
    ("cpu", &["used_cpu_sys", "used_cpu_user"]),
    ("cluster", &["cluster_enabled"]),
    ("keyspace", &["db0"]),
    ("commandstats", &["cmdstat_set"]),
    ("errorstats", &["errorstat_ERR"]),
    ("latencystats", &["latency_percentiles_usec_set"]),
];

#[test]
fn info() {
    let (peer, torc) = (Peer::Redis.start(&[]), torc::start(2, &[]));
    for server in [&peer, &torc] {
        let mut client = server.client();
        client.line("SET a 1");
        client.line("SET a");
        let field = |text: &str, name: &str| text.lines().any(|line| line.split(':').next() == Some(name));
        let mut missing = Vec::new();
        for (section, fields) in INFO {
            let text = client.line(&format!("INFO {section}")).text();
            let title = text.lines().next().unwrap_or_default();
            if !title.eq_ignore_ascii_case(&format!("# {section}")) {
                missing.push(format!("the title of {section}"));
            }
            missing.extend(
                fields.iter().filter(|name| !field(&text, name)).map(|name| format!("{section}: {name}")),
            );
        }
        assert!(missing.is_empty(), "INFO of {} lacks {missing:?}", server.name);
        let mut sections = |line: &str| client.line(line).text().matches("\r\n# ").count() + 1;
        let (plain, all, two) = (sections("INFO"), sections("INFO everything"), sections("INFO cpu memory"));
        assert!(all > plain && two == 2, "{plain} {all} {two} sections");
        assert_eq!(client.line("INFO nosuchsection").text(), "");
    }
}

#[test]
fn info_counts_what_happened() {
    let torc = torc::start(2, &[]);
    let mut client = torc.client();
    (0..50).for_each(|key| drop(client.line(&format!("SET key:{key} 1"))));
    (0..30).for_each(|key| drop(client.line(&format!("GET key:{key}"))));
    (0..7).for_each(|key| drop(client.line(&format!("GET missing:{key}"))));
    client.line("EXPIRE key:1 1000");
    let info = |client: &mut Client, section: &str, name: &str| {
        let text = client.line(&format!("INFO {section}")).text();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}:")).map(str::to_owned));
        line.unwrap_or_else(|| panic!("no {name} in {text}"))
    };
    assert_eq!(info(&mut client, "stats", "keyspace_hits"), "30");
    assert_eq!(info(&mut client, "stats", "keyspace_misses"), "7");
    assert!(info(&mut client, "keyspace", "db0").starts_with("keys=50,expires=1,avg_ttl="));
    assert!(info(&mut client, "commandstats", "cmdstat_set").starts_with("calls=50,"));
    assert_eq!(client.line("CONFIG RESETSTAT").text(), "OK");
    assert_eq!(info(&mut client, "stats", "keyspace_hits"), "0");
}

#[test]
fn memory_reports_say_what_is_held() {
    let torc = torc::start(2, &[]);
    let mut client = torc.client();
    (0..50).for_each(|key| drop(client.line(&format!("SET key:{key} 1"))));
    let stats = client.line("MEMORY STATS");
    let count = stats.elements().chunks(2).find(|pair| pair[0].text() == "keys.count");
    assert_eq!(count.and_then(|pair| pair[1].int()), Some(50), "{stats:?}");
    for report in ["MEMORY DOCTOR", "MEMORY MALLOC-STATS"] {
        let reply = client.line(report);
        assert!(reply.bytes().is_some_and(|text| !text.is_empty()), "{report}: {reply:?}");
    }
    assert_eq!(client.line("MEMORY PURGE").text(), "OK");
    assert_eq!(client.line("DBSIZE").int(), Some(50));
}
