//! Every way to a server, with live servers: unix socket, TLS, logins, RESP3, clusters; and what is said of servers
//! that cannot be loaded.

#[path = "reach/agents.rs"]
mod agents;
#[path = "reach/servers.rs"]
mod servers;

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    sync::atomic::AtomicBool,
    thread,
    time::Duration,
};

use servers::{Certificates, Cluster, Server, at, free_port, id, until};
use torc_loadgen::{
    Outcome, Plan,
    keys::{KeyRange, Pattern},
    link::{
        Address, Dialer, Fault, ReadFrom, Role, Target, TlsOptions,
        slots::{SlotMap, slot},
        value::Value,
    },
    plan::{Arrival, End, KeyShape, Load},
    run,
    traffic::{mix::set_get, values::DataPlan},
    verdict::judge,
};

fn reach(target: &Target) -> Result<(), Fault> {
    let mut client = Dialer::new(target)?.client(&target.address, Role::Primary)?;
    client.call(&["DBSIZE"]).map(|_| ())
}

#[track_caller]
fn refusal(target: &Target) -> String {
    let text = reach(target).expect_err("unreachable").to_string();
    assert!(!text.contains('\n'), "{text}");
    text
}

/// Answers every connection with `words` once something came, and closes it.
fn stubborn_server(words: &'static [u8]) -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("accepted");
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(words);
        }
    });
    at(port)
}

#[test]
fn a_unix_socket_and_logins() {
    let options =
        ["--unixsocket", "s.sock", "--requirepass", "secret", "--user", "me", "on", ">mine", "~*", "+@all"];
    let server = Server::start(&options);
    let socket = server.dir.path().join("s.sock");
    let uris = [
        format!("unix://:secret@{}", socket.display()),
        format!("redis://:secret@127.0.0.1:{}/3", server.port),
        format!("redis://me:mine@127.0.0.1:{}?protocol=3&db=2", server.port),
        format!("redis://:secret@127.0.0.1:{}?protocol=3", server.port),
    ];
    for uri in uris {
        reach(&uri.parse().expect("a URI")).expect(&uri);
    }
    let at = format!("127.0.0.1:{}", server.port);
    let cases = [
        (format!("redis://{at}"), "refused PING: NOAUTH"),
        (format!("redis://:wrong@{at}"), "refused AUTH: WRONGPASS"),
        (format!("redis://me:secret@{at}?protocol=3"), "refused HELLO: WRONGPASS"),
        (format!("redis://:secret@{at}/99"), "refused SELECT: ERR DB index is out of range"),
    ];
    for (uri, words) in cases {
        let text = refusal(&uri.parse().expect("a URI"));
        assert!(text.contains(words) && text.contains(&at), "{text}");
    }
}

#[test]
fn servers_that_are_none_are_told_by_what_they_do() {
    let alone = Server::start(&[]);
    let text = alone.client().slots().expect_err("no cluster").to_string();
    assert!(text.contains("refused CLUSTER: ERR This instance has cluster support disabled"), "{text}");
    let http = stubborn_server(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    let cases = [
        (Target::plain(http.clone()), "does not speak RESP: it answered \"HTTP/1.1 400 Bad Request\""),
        (Target { tls: Some(TlsOptions::default()), ..Target::plain(http) }, "the answer is not TLS"),
        (Target::plain(stubborn_server(b"")), "ended the connection during the handshake: it was closed"),
        (
            Target::plain(stubborn_server(b"-ERR max number of clients reached\r\n")),
            "refused PING: ERR max number",
        ),
        (Target::plain(at(free_port())), "cannot connect to 127.0.0.1:"),
        (Target::plain(Address::unix("/nowhere/s.sock")), "cannot connect to /nowhere/s.sock: No such file"),
    ];
    for (target, words) in cases {
        let text = refusal(&target);
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn tls_is_checked_both_ways() {
    let dir = tempfile::tempdir().expect("a directory");
    let made = Certificates::make(dir.path());
    let tls_port = free_port();
    let path = |path: &std::path::Path| path.to_str().expect("UTF-8").to_owned();
    let (port, cert, key) = (tls_port.to_string(), path(&made.server.0), path(&made.server.1));
    let ca = path(&made.ca);
    let options =
        ["--tls-port", &port, "--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-ca-cert-file", &ca];
    let server = Server::start(&options);
    let with = |tls: TlsOptions| Target { tls: Some(tls), ..Target::plain(at(tls_port)) };
    let own = || TlsOptions {
        cacert: Some(made.ca.clone()),
        cert: Some(made.client.0.clone()),
        key: Some(made.client.1.clone()),
        ..TlsOptions::default()
    };
    let good = [
        own(),
        TlsOptions { cacert: None, insecure: true, ..own() },
        TlsOptions { sni: Some("db.example".into()), ..own() },
    ];
    for tls in good {
        reach(&with(tls.clone())).unwrap_or_else(|fault| panic!("{tls:?}: {fault}"));
    }
    let garbled = dir.path().join("garbled.crt");
    fs::write(&garbled, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").expect("written");
    let bad = [
        (TlsOptions { cacert: None, ..own() }, "nobody trusted has signed its certificate"),
        (TlsOptions { cert: None, key: None, ..own() }, "wants a certificate of the client"),
        (TlsOptions { sni: Some("other.example".into()), ..own() }, "certificate not valid for name"),
        (TlsOptions { cacert: Some("/nowhere.crt".into()), ..own() }, "/nowhere.crt: "),
        (TlsOptions { cacert: Some(made.client.1.clone()), ..own() }, "client.key: no certificate in it"),
        (TlsOptions { cert: Some(garbled.clone()), ..own() }, "garbled.crt: "),
        (TlsOptions { key: Some(made.client.0.clone()), ..own() }, "client.crt: "),
        (
            TlsOptions { key: Some(made.server.1.clone()), ..own() },
            "server.key: not the key of the certificate in ",
        ),
    ];
    for (tls, words) in bad {
        let text = refusal(&with(tls));
        assert!(text.contains(words), "{text}");
    }
    let text = refusal(&Target { tls: Some(own()), ..server.target() });
    assert!(text.contains("TLS with 127.0.0.1:") && text.contains("plain port"), "{text}");
    let text = refusal(&Target::plain(at(tls_port)));
    assert!(text.contains("does it want --tls?"), "{text}");
}

fn keys(last: u64) -> KeyRange {
    KeyRange { first: 0, last, pattern: Pattern::Random }
}

fn closed(target: &Target, requests: u64) -> Plan {
    let plan = Plan::closed(target.clone(), keys(999), End::Requests(requests));
    Plan { clients: 6, threads: 2, pipeline: 8, mix: set_get(1, 1), ..plan }
}

#[track_caller]
fn outcome(plan: &Plan) -> Outcome {
    run(plan, &AtomicBool::new(false)).unwrap_or_else(|fault| panic!("{fault}"))
}

/// Nothing failed, and as many requests as planned were answered.
#[track_caller]
fn all_went_well(counted: &Outcome, requests: u64) {
    let counts = counted.counts();
    let told = (&counted.incidents.error_text, &counted.incidents.lost_text);
    assert_eq!((counts.answered(), counts.failed(), counted.incidents.lost), (requests, 0, 0), "{told:?}");
    assert_eq!(counted.total().response.len(), requests);
}

#[test]
fn the_load_is_the_same_over_every_link() {
    let dir = tempfile::tempdir().expect("a directory");
    let made = Certificates::make(dir.path());
    let (tls_port, path) = (free_port(), |path: &std::path::Path| path.to_str().expect("UTF-8").to_owned());
    let (port, cert, key, ca) =
        (tls_port.to_string(), path(&made.server.0), path(&made.server.1), path(&made.ca));
    let tls_options =
        ["--tls-port", &port, "--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-ca-cert-file", &ca];
    let others = ["--tls-auth-clients", "no", "--unixsocket", "s.sock", "--requirepass", "pw"];
    let server = Server::start(&[tls_options.as_slice(), &others].concat());
    let socket = server.dir.path().join("s.sock");
    let tls = TlsOptions { cacert: Some(made.ca.clone()), ..TlsOptions::default() };
    let password = Some("pw".to_owned());
    let tcp = Target { password: password.clone(), db: 1, ..server.target() };
    let targets = [
        Target { resp3: true, ..tcp.clone() },
        Target { password: password.clone(), ..Target::plain(Address::unix(socket)) },
        Target { password, tls: Some(tls), resp3: true, ..Target::plain(at(tls_port)) },
        tcp,
    ];
    for target in targets {
        // Values of 20 kB: reads and writes that one call of the kernel or of TLS does not take.
        for (size, requests) in [(10, 20_000), (20_000, 1_000)] {
            let plan = Plan { data: DataPlan::of(size), ..closed(&target, requests) };
            all_went_well(&outcome(&plan), requests);
        }
        // Connections that are closed and opened again in the midst of it, without a request lost.
        let plan = Plan { reconnect_interval: Some(100), ..closed(&target, 6_000) };
        let counted = outcome(&plan);
        all_went_well(&counted, 6_000);
        // 6,000 requests at 100 a connection are 60 connections; which ones share the last is chance.
        assert!((54..=66).contains(&counted.connects.opened), "{target}: {}", counted.connects.opened);
    }
}

#[test]
fn a_connection_the_server_drops_costs_its_requests_and_comes_back() {
    let server = Server::start(&[]);
    let plan = Plan { reconnect_interval: Some(u64::MAX), ..closed(&server.target(), 0) };
    let plan = Plan { load: Load::Closed(End::Time(Duration::from_millis(1500))), ..plan };
    let counted = thread::scope(|scope| {
        let running = scope.spawn(|| outcome(&plan));
        until("the load runs", || server.info("total_commands_processed") > 1000);
        // Paused at their next SET, every connection has something outstanding when it is dropped.
        server.call("CLIENT PAUSE 60000 WRITE");
        until("all connections wait", || server.info("blocked_clients") == 6);
        server.call("CLIENT KILL TYPE normal");
        server.call("CLIENT UNPAUSE");
        running.join().expect("no panic")
    });
    let counts = counted.counts();
    assert_eq!(counted.incidents.lost, 6);
    assert!((6..=6 * 8).contains(&counts.unanswered), "{}", counts.unanswered);
    assert_eq!(counted.connects.opened, 12);
    let reasons = judge(&plan, &counted).reasons.join("; ");
    assert!(reasons.contains("6 connections lost") && reasons.contains("never answered"), "{reasons}");
}

#[test]
fn a_slot_that_moves_costs_no_request() {
    let cluster = Cluster::start(3);
    let target = cluster.target();
    let [from, to, _] = cluster.nodes.as_slice() else { panic!("three nodes") };
    // All keys in one slot of the first node, so that every request is about the slot that moves.
    let tag =
        (0..).map(|number| format!("{{{number}}}")).find(|tag| slot(tag.as_bytes()) < 5461).expect("a tag");
    let moving = slot(tag.as_bytes());
    let shape = KeyShape { prefix: tag.clone(), width: tag.len() + 4 };
    let rate = Load::Open { rate: 4000.0, arrival: Arrival::Constant, end: End::Requests(8_000) };
    let plan = Plan { key_shape: shape, load: rate, ..closed(&target, 0) };
    let plan = Plan { data: DataPlan { verify: true, ..DataPlan::of(64) }, ..plan };
    let counted = thread::scope(|scope| {
        let running = scope.spawn(|| outcome(&plan));
        until("the load runs", || from.info("cmdstat_get") > 500);
        move_slot(from, to, moving);
        running.join().expect("no panic")
    });
    all_went_well(&counted, 8_000);
    assert_eq!(counted.command("GET").map(|get| get.counts.corrupt), Some(0));
    assert!(
        counted.incidents.asked > 0 && counted.incidents.moved > 0,
        "{} asked, {} moved",
        counted.incidents.asked,
        counted.incidents.moved
    );
    // After the first MOVED of each thread the map is right: only what was under way goes astray.
    assert!(counted.incidents.moved < 500, "{} moved", counted.incidents.moved);
    assert!(to.info("cmdstat_get") > 500);
}

/// Moves `slot` with its keys while it is in use, as `redis-cli --cluster reshard` does.
fn move_slot(from: &Server, to: &Server, slot: u16) {
    to.call(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", id(from)));
    from.call(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", id(to)));
    loop {
        let keys = from.call(&format!("CLUSTER GETKEYSINSLOT {slot} 50"));
        let keys: Vec<&str> = keys.list().expect("keys").iter().filter_map(Value::text).collect();
        if keys.is_empty() {
            break;
        }
        from.call(&format!("MIGRATE 127.0.0.1 {} \"\" 0 5000 KEYS {}", to.port, keys.join(" ")));
    }
    to.call(&format!("CLUSTER SETSLOT {slot} NODE {}", id(to)));
    from.call(&format!("CLUSTER SETSLOT {slot} NODE {}", id(to)));
}

fn the_map_agrees_with(cluster: &Cluster) {
    let map: SlotMap = cluster.nodes[1].client().slots().expect("a map");
    assert_eq!((map.shards().len(), map.uncovered()), (3, None));
    for key in ["a", "key:000000000017", "x{tag}y", "{}", "{a}{b}", "\u{e9}"] {
        let expected = cluster.nodes[0].call(&format!("CLUSTER KEYSLOT {key}")).number();
        assert_eq!(expected, Some(slot(key.as_bytes()).into()), "{key}");
        let owner = &map.shards()[map.owner(slot(key.as_bytes())).expect("covered")].primary;
        let node = cluster.nodes.iter().find(|node| node.address() == *owner).expect("a node");
        node.call(&format!("SET {key} x"));
    }
}

#[test]
fn every_node_of_a_cluster_gets_its_keys_and_replicas_the_reads() {
    let cluster = Cluster::start(6);
    the_map_agrees_with(&cluster);
    cluster.attach_replica(0);
    let target = cluster.target();
    let plan = closed(&target, 6_000);
    all_went_well(&outcome(&plan), 6_000);
    for node in &cluster.nodes[..3] {
        // A third each of 3,000, by 1,000 random keys.
        assert!((800..=1200).contains(&node.info("cmdstat_set")), "{}", node.info("cmdstat_set"));
    }
    let gets = || [0, 1, 2, 3, 4, 5].map(|node: usize| cluster.nodes[node].info("cmdstat_get"));
    let before = gets();
    assert_eq!(before[3..], [0, 0, 0]);
    let replicas = Target { read_from: ReadFrom::Yes, ..target.clone() };
    let replicas = Plan { clients: 12, ..closed(&replicas, 6_000) };
    // Two primaries have no replica yet, and reads of theirs are not to be had from one.
    let lacking = run(&replicas, &AtomicBool::new(false)).err().expect("no replica").to_string();
    assert!(lacking.contains("--rfr yes") && lacking.contains("have none"), "{lacking}");
    let writes = Plan { mix: set_get(1, 0), ..replicas.clone() };
    all_went_well(&outcome(&writes), 6_000);
    cluster.attach_replica(1);
    cluster.attach_replica(2);
    let counted = outcome(&replicas);
    all_went_well(&counted, 6_000);
    assert_eq!((counted.incidents.moved, counted.incidents.strayed), (0, 0));
    let after = gets();
    assert_eq!(after[..3], before[..3]);
    assert!(after[3..].iter().all(|gets| (800..=1200).contains(gets)), "{after:?}");
    let few = run(&Plan { clients: 2, threads: 1, ..closed(&target, 10) }, &AtomicBool::new(false));
    let text = few.err().expect("too few").to_string();
    assert!(text.contains("2 clients are too few"), "{text}");
}
