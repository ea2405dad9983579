//! What a server costs that has nothing to do.

use std::net::TcpStream;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use torc_tests::client::Client;
use torc_tests::process::Server;
use torc_tests::{clock, torc};

use crate::info;

/// Share of one core used over `seconds`.
fn load(server: &Server, seconds: u64) -> f64 {
    let (cpu, start) = (server.cpu_seconds(), clock::now());
    std::thread::sleep(Duration::from_secs(seconds));
    (server.cpu_seconds() - cpu) / start.elapsed().as_secs_f64()
}

#[test]
fn an_idle_server_sleeps() {
    let default = Server::start("torc by default", torc::program(), |port, _| {
        ["--port".to_owned(), port.to_string()].map(Into::into).into()
    });
    let shards = torc::start(5, &[]);
    for server in [&default, &shards] {
        let clients: Vec<Client> = (0..100).map(|_| server.client()).collect();
        server.client().line("SET a 1");
        // Start-up work, the first expiry rounds and the spin after the last command belong to nobody's idleness.
        std::thread::sleep(Duration::from_secs(1));
        let load = load(server, 8);
        eprintln!("{}: {:.2} % of a core at rest", server.name, load * 100.0);
        assert!(
            torc::is_stand_in() || load < 0.005,
            "{}: {:.2} % of a core at rest",
            server.name,
            load * 100.0
        );
        drop(clients);
    }
}

#[test]
fn ten_thousand_idle_connections_cost_little() {
    const COUNT: usize = 10_000;
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .expect("a soft limit may rise");
    let may = limit.maximum.unwrap_or(u64::MAX);
    assert!(may > COUNT as u64 + 200, "raise the hard limit of open files ({may}) over {COUNT}: ulimit -Hn");
    let server = torc::start(2, &["--maxclients", "11000"]);
    let warm: Vec<TcpStream> = connections(&server, 500);
    let before = server.resident();
    let idle = connections(&server, COUNT - warm.len());
    let connected = || (info(&server, "clients", "connected_clients").parse() == Ok(COUNT + 1)).then_some(());
    clock::poll(Duration::from_secs(20), connected).expect("all of them are accepted");
    // A core gives back what it freed once it rests, the tables outgrown on the way among it.
    let each = || server.resident().saturating_sub(before) / idle.len();
    let small = || (torc::is_stand_in() || each() <= 2048).then_some(());
    let settled = clock::poll(Duration::from_secs(10), small);
    eprintln!("{} bytes of resident memory per idle connection", each());
    settled.unwrap_or_else(|| panic!("{} bytes per idle connection", each()));

    let load = load(&server, 3);
    assert!(load < 0.05, "{:.1} % of a core for idle connections", load * 100.0);
    drop((warm, idle));
    let gone = || (info(&server, "clients", "connected_clients") == "1").then_some(());
    clock::poll(Duration::from_secs(20), gone).expect("all of them are forgotten");
}

/// Connections that each have spoken once and then fall silent, as a pool's do.
fn connections(server: &Server, count: usize) -> Vec<TcpStream> {
    let connect = || {
        let stream = TcpStream::connect(("127.0.0.1", server.port)).expect("the server accepts");
        let mut client =
            Client::tcp(stream.try_clone().expect("a descriptor is left")).expect("a socket has timeouts");
        assert_eq!(client.line("PING").text(), "PONG");
        stream
    };
    (0..count).map(|_| connect()).collect()
}
