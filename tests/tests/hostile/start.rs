//! Starting, refusing to start, listening, and ending.

use std::ffi::OsString;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use torc_tests::client::Client;
use torc_tests::process::{Server, free_port};
use torc_tests::{clock, torc};

const LIMIT: Duration = Duration::from_secs(10);

/// Starts Torc with these words behind `--port`, expects it to give up, and returns what it said.
pub fn refusal(words: &[&str]) -> String {
    let arguments = |port: u16, _: &Path| {
        let port: [OsString; 2] = ["--port".into(), port.to_string().into()];
        port.into_iter().chain(words.iter().map(Into::into)).collect()
    };
    refusal_of(Server::spawn("torc", torc::program(), &arguments), &format!("{words:?}"))
}

/// Expects the server to give up, and returns what it said.
pub fn refusal_of(mut server: Server, what: &str) -> String {
    let status = server.wait(LIMIT).unwrap_or_else(|| panic!("started with {what}:\n{}", server.log()));
    assert!(!status.success(), "ended well with {what}");
    server.log()
}

#[test]
fn a_wrong_option_is_named_and_ends_the_start() {
    let cases: &[(&[&str], &str)] = &[
        (&["--no-such-directive", "1"], "no-such-directive"),
        (&["--maxmemory", "10kk"], "maxmemory"),
        (&["--maxclients", "many"], "maxclients"),
        (&["--databases", "0"], "databases"),
        (&["--loglevel", "shouting"], "loglevel"),
        (&["--bind", "203.0.113.1"], "203.0.113.1"),
        (&["--unixsocket", "/nowhere/at/all.sock"], "/nowhere/at/all.sock"),
        (&["/nowhere/at/all.conf"], "/nowhere/at/all.conf"),
    ];
    for (words, named) in cases {
        let log = refusal(words);
        assert!(torc::is_stand_in() || log.contains(named), "{words:?} answered:\n{log}");
        assert!(torc::is_stand_in() || !log.contains("panicked"), "{words:?} answered:\n{log}");
    }
    if !torc::is_stand_in() {
        for words in
            [["--shards", "-1"], ["--shards", "1000000"], ["--server-cpulist", "9999"], ["--spin-us", "-1"]]
        {
            let log = refusal(&words);
            assert!(log.contains(words[0].trim_start_matches('-')), "{words:?} answered:\n{log}");
        }
    }
}

#[test]
fn a_second_server_on_the_same_port_fails() {
    let first = torc::start(2, &[]);
    let arguments = |_: u16, _: &Path| torc::arguments(first.port, 2, &[]);
    let mut second = Server::spawn("second", torc::program(), &arguments);
    let status = second.wait(LIMIT).expect("the second server gives up");
    assert!(!status.success());
    assert!(second.log().contains(&first.port.to_string()), "the line names the port:\n{}", second.log());
    assert_eq!(first.client().line("PING").text(), "PONG");
}

#[test]
fn a_file_its_includes_and_the_command_line_add_up() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (main, extra) = (dir.path().join("torc.conf"), dir.path().join("extra.conf"));
    std::fs::write(&extra, "slowlog-max-len 77\nhz 11\n").expect("a file can be written");
    let text = format!(
        "# a comment\n\nmaxclients 333\nslowlog-max-len 55\ninclude {}\nrequirepass \"two words\"\nHZ 12\n",
        extra.display()
    );
    std::fs::write(&main, text).expect("a file can be written");
    let server = Server::start("torc", torc::program(), |port, _| {
        let mut arguments = vec![main.clone().into_os_string()];
        arguments.extend(torc::arguments(port, 2, &["--maxclients", "222"]));
        arguments
    });
    let mut client = server.client();
    assert_eq!(client.call(&["AUTH", "two words"]).text(), "OK");
    for (name, value) in [("maxclients", "222"), ("slowlog-max-len", "77"), ("hz", "12")] {
        assert_eq!(client.call(&["CONFIG", "GET", name]).elements()[1].text(), value, "{name}");
    }
}

#[test]
fn settings_come_from_standard_input_too() {
    let port = free_port();
    let mut child = Command::new(torc::program())
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the server starts");
    let text = format!("port {port}\nbind 127.0.0.1\nslowlog-max-len 99\n");
    child.stdin.take().expect("its input is ours").write_all(text.as_bytes()).expect("it reads its input");
    let client = clock::poll(LIMIT, || Client::connect(port).ok());
    let reply = client.map(|mut client| client.line("CONFIG GET slowlog-max-len"));
    child.kill().expect("the child is ours");
    child.wait().expect("the child is ours");
    assert_eq!(reply.expect("the server listens").elements()[1].text(), "99");
}

#[test]
fn help_and_version_answer_and_end() {
    let run = |option: &str| {
        let output =
            Command::new(torc::program()).arg(option).stdin(Stdio::null()).output().expect("the server runs");
        assert!(output.status.success(), "{option}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(!run("--version").trim().is_empty());
    if !torc::is_stand_in() {
        let help = run("--help");
        for name in ["port", "bind", "maxmemory", "shards", "spin-us", "slowlog-max-len", "unixsocket"] {
            assert!(help.contains(name), "--help lacks {name}:\n{help}");
        }
    }
}

#[test]
fn it_listens_on_a_unix_socket() {
    let server = Server::start("torc", torc::program(), |port, dir| {
        let path = dir.join("socket");
        torc::arguments(port, 2, &["--unixsocket", &path.to_string_lossy(), "--unixsocketperm", "700"])
    });
    let path = server.dir().join("socket");
    let mode = std::fs::metadata(&path).expect("the socket is a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let mut client = Client::unix(&path).expect("the socket accepts");
    assert_eq!(client.line("SET a 1").text(), "OK");
    assert_eq!(server.client().line("GET a").text(), "1");
    assert!(client.line("CLIENT LIST").text().contains("socket:0"), "{}", client.line("CLIENT LIST"));
}

#[test]
fn it_listens_on_several_addresses_of_both_families() {
    let options = ["--bind", "127.0.0.1", "127.0.0.2", "::1"];
    let server = torc::start(2, &options);
    for address in ["127.0.0.1", "127.0.0.2", "::1"] {
        let stream =
            TcpStream::connect((address, server.port)).unwrap_or_else(|error| panic!("{address}: {error}"));
        let mut client = Client::tcp(stream).expect("a socket has timeouts");
        assert_eq!(client.line("PING").text(), "PONG", "{address}");
        let info = client.line("CLIENT INFO").text();
        assert!(
            info.contains(&format!("laddr={}", if address == "::1" { "[::1]:" } else { address })),
            "{info}"
        );
    }
    assert!(TcpStream::connect(("127.0.0.3", server.port)).is_err(), "nobody asked for 127.0.0.3");
}

#[test]
fn signals_and_shutdown_end_it_with_zero() {
    for shards in torc::shard_counts() {
        for signal in [Some(Signal::TERM), Some(Signal::INT), None] {
            let mut server = torc::start(shards, &[]);
            let mut idle: Vec<Client> = (0..20).map(|_| server.client()).collect();
            (0..100).for_each(|key| drop(idle[key % 20].line(&format!("SET key:{key} 1"))));
            match signal {
                Some(signal) => server.signal(signal),
                None => drop(idle[0].line("SHUTDOWN NOSAVE")),
            }
            let status =
                server.wait(LIMIT).unwrap_or_else(|| panic!("{signal:?} does not end it:\n{}", server.log()));
            assert_eq!(status.code(), Some(0), "{signal:?}:\n{}", server.log());
            // The next one may follow at once; the kernel needs a moment to take a ring's sockets apart.
            let free = || TcpListener::bind(("127.0.0.1", server.port)).ok();
            assert!(clock::poll(Duration::from_millis(300), free).is_some(), "the port is still taken");
        }
    }
}
