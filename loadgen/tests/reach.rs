//! Every way to a server, with live servers: unix socket, TLS, logins, RESP3, clusters; and what is said of servers
//! that cannot be loaded.

#[path = "reach/servers.rs"]
mod servers;

use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
};

use servers::{Certificates, Cluster, Server, at, free_port};
use torc_loadgen::link::{
    Address, Dialer, Fault, Role, Target, TlsOptions,
    slots::{SlotMap, slot},
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
    let bad = [
        (TlsOptions { cacert: None, ..own() }, "nobody trusted has signed its certificate"),
        (TlsOptions { cert: None, key: None, ..own() }, "wants a certificate of the client"),
        (TlsOptions { sni: Some("other.example".into()), ..own() }, "certificate not valid for name"),
        (TlsOptions { cacert: Some("/nowhere.crt".into()), ..own() }, "/nowhere.crt: "),
        (TlsOptions { cacert: Some(made.client.1.clone()), ..own() }, "client.key: no certificate in it"),
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

#[test]
fn the_map_of_a_cluster_agrees_with_the_cluster() {
    let cluster = Cluster::start(3);
    let map: SlotMap = cluster.nodes[1].client().slots().expect("a map");
    assert_eq!((map.shards().len(), map.uncovered()), (3, None));
    for key in ["a", "key:000000000017", "x{tag}y", "{}", "{a}{b}", "\u{e9}"] {
        let expected = cluster.nodes[0].call(&format!("CLUSTER KEYSLOT {key}")).number();
        assert_eq!(expected, Some(slot(key.as_bytes()).into()), "{key}");
        let owner = &map.shards()[map.owner(slot(key.as_bytes())).expect("covered")].primary;
        let node = cluster.nodes.iter().find(|node| node.address() == *owner).expect("a node");
        node.call(&format!("SET {key} x"));
    }
    let alone = Server::start(&[]);
    let text = alone.client().slots().expect_err("no cluster").to_string();
    assert!(text.contains("refused CLUSTER: ERR This instance has cluster support disabled"), "{text}");
}
