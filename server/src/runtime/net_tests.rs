//! The sockets of a core against real ones, over loopback. Every wait has a deadline.

use super::*;
use clock::monotonic_us;
use socket2::SockRef;
use std::{
    collections::HashMap,
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

const DEADLINE: Duration = Duration::from_secs(30);

/// A small ring: its queues overflow and its buffers run out in every busy test.
fn cramped() -> NetOptions {
    NetOptions { entries: 8, buffers: 4, buffer_size: 4096, ..NetOptions::default() }
}

fn any_port() -> Listener {
    listen::tcp(&["127.0.0.1".to_owned()], 0, 511, 300).unwrap().pop().unwrap()
}

fn bell() -> Bell {
    Bell::new().unwrap()
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Bytes that differ by position and by seed.
fn pattern(len: usize, seed: u32) -> Vec<u8> {
    (0..len as u32).map(|at| (at.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 13) as u8).collect()
}

// ---- an echo server on a thread of its own ----

#[derive(Default)]
struct Session {
    out: Vec<u8>,
    sending: bool,
    paused: bool,
    ended: bool,
    closed: bool,
}

/// Echo over a `Net`: it pauses a client that has more than `HOLD` bytes coming.
struct Echo {
    net: Net,
    sessions: HashMap<ConnId, Session>,
    free: Vec<ConnId>,
    used: ConnId,
}

const HOLD: usize = 1 << 20;

impl Echo {
    fn new(net: Net) -> Self {
        Echo { net, sessions: HashMap::new(), free: Vec::new(), used: 0 }
    }

    fn turn(&mut self, wait: Wait) {
        let mut touched = Vec::new();
        let mut accepted = Vec::new();
        let sessions = &mut self.sessions;
        self.net.turn(wait, &(), |event| {
            let conn = match event {
                Event::File(_) => unreachable!("no file was written"),
                Event::Detached { .. } => unreachable!("none was detached"),
                Event::Accepted { socket, .. } => return accepted.push(socket),
                Event::AcceptPaused { .. } => return,
                Event::Received { conn, bytes } => {
                    sessions.get_mut(&conn).unwrap().out.extend_from_slice(bytes);
                    conn
                }
                Event::Sent { conn, .. } => {
                    sessions.get_mut(&conn).unwrap().sending = false;
                    conn
                }
                Event::Ended { conn } => {
                    sessions.get_mut(&conn).unwrap().ended = true;
                    conn
                }
                Event::Failed { conn, .. } => {
                    *sessions.get_mut(&conn).unwrap() = Session { ended: true, ..Session::default() };
                    conn
                }
                Event::Released { conn } => {
                    assert!(sessions.remove(&conn).unwrap().closed, "released, never closed");
                    return self.free.push(conn);
                }
            };
            touched.push(conn);
        });
        for socket in accepted {
            let conn = self.free.pop().unwrap_or_else(|| {
                self.used += 1;
                self.used - 1
            });
            self.sessions.insert(conn, Session::default());
            self.net.adopt(socket, conn);
        }
        touched.into_iter().for_each(|conn| self.settle(conn));
    }

    fn settle(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        if !session.sending && !session.out.is_empty() {
            session.sending = true;
            self.net.send(conn, std::mem::take(&mut session.out));
        }
        let full = session.out.len() > HOLD;
        if full != session.paused {
            session.paused = full;
            if full { self.net.pause(conn) } else { self.net.resume(conn) }
        }
        if session.ended && !session.sending && session.out.is_empty() && !session.closed {
            session.closed = true;
            self.net.close(conn);
        }
    }
}

struct Server {
    port: u16,
    stop: Arc<AtomicBool>,
    bell: Bell,
    thread: JoinHandle<usize>,
}

impl Server {
    fn start(options: NetOptions) -> Server {
        let (listener, bell, stop) = (any_port(), bell(), Arc::new(AtomicBool::new(false)));
        let port = listener.port().unwrap();
        let (stopped, rung) = (Arc::clone(&stop), bell.clone());
        let thread = thread::spawn(move || {
            let mut echo = Echo::new(Net::new(options, rung).unwrap());
            echo.net.listen(listener);
            while !stopped.load(Ordering::Acquire) {
                echo.turn(Wait::Forever);
            }
            let start = monotonic_us();
            while echo.net.connections() > 0 && monotonic_us() - start < 5_000_000 {
                echo.turn(Wait::AtMost(10));
            }
            echo.net.connections()
        });
        Server { port, stop, bell, thread }
    }

    /// Stops the server; connections it could not get rid of.
    fn stop(self) -> usize {
        self.stop.store(true, Ordering::Release);
        self.bell.ring();
        self.thread.join().unwrap()
    }
}

/// Writes `data` from a second thread while reading as much back.
fn round_trip(mut stream: TcpStream, data: &[u8]) -> Vec<u8> {
    let mut writer = stream.try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || writer.write_all(data).unwrap());
        let mut back = vec![0; data.len()];
        stream.read_exact(&mut back).unwrap();
        back
    })
}

#[test]
fn every_size_comes_back_whole() {
    for options in [NetOptions::default(), cramped()] {
        let server = Server::start(options);
        for len in [1, 2, 4095, 4096, 4097, 16384, 16385, 300_000, 1 << 20, 32 << 20] {
            let data = pattern(len, len as u32);
            assert!(round_trip(connect(server.port), &data) == data, "{len} bytes");
        }
        assert_eq!(server.stop(), 0);
    }
}

#[test]
fn two_hundred_clients_at_once() {
    for options in [NetOptions::default(), cramped()] {
        let server = Server::start(options);
        let mut clients: Vec<TcpStream> = (0..200).map(|_| connect(server.port)).collect();
        for round in 0..20 {
            let data = |client: usize| pattern(1 + client * 37, round + client as u32);
            for (index, client) in clients.iter_mut().enumerate() {
                client.write_all(&data(index)).unwrap();
            }
            for (index, client) in clients.iter_mut().enumerate() {
                let mut back = vec![0; data(index).len()];
                client.read_exact(&mut back).unwrap();
                assert!(back == data(index), "round {round}, client {index}");
            }
        }
        drop(clients);
        assert_eq!(server.stop(), 0);
    }
}

#[test]
fn abrupt_ends_harm_nobody_else() {
    let server = Server::start(cramped());
    let mut steady = connect(server.port);
    for round in 0..100 {
        let mut client = connect(server.port);
        let data = pattern(1 + (round * 7919) % 200_000, round as u32);
        // May fail when the echo that nobody reads fills both buffers: that is the point.
        client.set_write_timeout(Some(Duration::from_millis(5))).unwrap();
        let _ = client.write(&data);
        if round % 2 == 0 {
            // A reset instead of an orderly end.
            SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(client);
        steady.write_all(&[round as u8]).unwrap();
        let mut back = [0];
        steady.read_exact(&mut back).unwrap();
        assert_eq!(back, [round as u8]);
    }
    drop(steady);
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_half_closed_client_gets_its_answer() {
    let server = Server::start(NetOptions::default());
    let mut client = connect(server.port);
    let data = pattern(100_000, 5);
    client.write_all(&data).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut back = Vec::new();
    client.read_to_end(&mut back).unwrap();
    assert!(back == data);
    assert_eq!(server.stop(), 0);
}

#[test]
fn unix_sockets_echo_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("echo.sock");
    let mut echo = Echo::new(Net::new(NetOptions::default(), bell()).unwrap());
    echo.net.listen(listen::unix(&path, Some(0o600), 16).unwrap());
    let mut client = std::os::unix::net::UnixStream::connect(&path).unwrap();
    client.write_all(b"hello").unwrap();
    client.set_nonblocking(true).unwrap();
    let mut back = Vec::new();
    until("the echo", || {
        echo.turn(Wait::AtMost(5));
        let _ = client.read_to_end(&mut back);
        back == b"hello"
    });
}

// ---- a net driven step by step ----

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = monotonic_us();
    while !done() {
        assert!(monotonic_us() - start < DEADLINE.as_micros() as u64, "no sign of {what}");
    }
}

/// A net with one adopted connection, number 7, and its client.
fn pair(options: NetOptions) -> (Net, TcpStream) {
    let mut net = Net::new(options, bell()).unwrap();
    let listener = any_port();
    let client = connect(listener.port().unwrap());
    net.listen(listener);
    let mut accepted = None;
    until("the client", || {
        net.turn(Wait::AtMost(10), &(), |event| {
            if let Event::Accepted { socket, .. } = event {
                accepted = Some(socket);
            }
        });
        accepted.is_some()
    });
    net.adopt(accepted.unwrap(), 7);
    (net, client)
}

/// Turns until an event is what we look for; bytes received on the way are counted.
fn wait_for(net: &mut Net, what: &str, mut is_it: impl FnMut(&Event<'_>) -> bool) -> usize {
    let (mut found, mut received) = (false, 0);
    until(what, || {
        net.turn(Wait::AtMost(10), &(), |event| {
            if let Event::Received { bytes, .. } = event {
                received += bytes.len();
            }
            found |= is_it(&event);
        });
        found
    });
    received
}

#[test]
fn accepted_sockets_inherit_their_options() {
    let mut net = Net::new(NetOptions::default(), bell()).unwrap();
    let listener = any_port();
    let _client = connect(listener.port().unwrap());
    net.listen(listener);
    wait_for(&mut net, "the client", |event| {
        let Event::Accepted { socket, listener: 0 } = event else { return false };
        let socket = SockRef::from(socket);
        assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(300));
        true
    });
}

#[test]
fn a_paused_connection_is_not_read() {
    let (mut net, mut client) = pair(NetOptions::default());
    client.write_all(b"before").unwrap();
    assert_eq!(wait_for(&mut net, "input", |event| matches!(event, Event::Received { .. })), 6);
    net.pause(7);
    net.pause(7);
    // The cancellation is through once a later operation has come back.
    net.send(7, b"marker".to_vec());
    wait_for(&mut net, "the marker", |event| matches!(event, Event::Sent { .. }));
    client.set_nonblocking(true).unwrap();
    let chunk = pattern(64 << 10, 1);
    let mut written = 0;
    loop {
        match client.write(&chunk) {
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
        net.turn(Wait::Poll, &(), |event| panic!("{event:?} while paused"));
        assert!(written < 256 << 20, "somebody reads");
    }
    net.resume(7);
    net.resume(7);
    let mut received = 0;
    until("the rest", || {
        net.turn(Wait::AtMost(10), &(), |event| match event {
            Event::Received { bytes, .. } => received += bytes.len(),
            other => panic!("{other:?}"),
        });
        received == written
    });
}

#[test]
fn pausing_and_resuming_in_one_turn_loses_nothing() {
    let (mut net, mut client) = pair(cramped());
    let mut received = 0;
    for round in 0..500 {
        client.write_all(&[1; 100]).unwrap();
        for _ in 0..round % 4 {
            net.pause(7);
            net.resume(7);
        }
        net.pause(7);
        net.turn(Wait::Poll, &(), |event| {
            if let Event::Received { bytes, .. } = event {
                received += bytes.len();
            }
        });
        net.resume(7);
    }
    if received < 50_000 {
        let mut rest = 50_000 - received;
        wait_for(&mut net, "all bytes", |event| {
            if let Event::Received { bytes, .. } = event {
                rest -= bytes.len();
            }
            rest == 0
        });
    }
}

#[test]
fn closing_cuts_off_a_client_that_never_reads() {
    let (mut net, client) = pair(NetOptions::default());
    net.send(7, pattern(64 << 20, 3));
    for _ in 0..20 {
        net.turn(Wait::AtMost(5), &(), |event| panic!("{event:?}: nobody reads"));
    }
    net.close(7);
    net.close(7);
    net.send(7, b"too late".to_vec());
    wait_for(&mut net, "the release", |event| matches!(event, Event::Released { conn: 7 }));
    assert_eq!(net.connections(), 0);
    drop(client);
}

#[test]
fn a_released_number_serves_the_next_client() {
    let (mut net, first) = pair(cramped());
    let listener = any_port();
    let port = listener.port().unwrap();
    net.listen(listener);
    drop(first);
    wait_for(&mut net, "the end", |event| matches!(event, Event::Ended { conn: 7 }));
    net.close(7);
    wait_for(&mut net, "the release", |event| matches!(event, Event::Released { conn: 7 }));
    for round in 0u8..50 {
        let mut client = connect(port);
        let mut socket = None;
        until("the client", || {
            net.turn(Wait::AtMost(10), &(), |event| match event {
                Event::Accepted { socket: accepted, .. } => socket = Some(accepted),
                other => panic!("{other:?} of an earlier connection"),
            });
            socket.is_some()
        });
        net.adopt(socket.unwrap(), 7);
        client.write_all(&[round]).unwrap();
        wait_for(&mut net, "input", |event| match event {
            Event::Received { conn: 7, bytes } => *bytes == [round],
            other => panic!("{other:?}"),
        });
        net.close(7);
        wait_for(&mut net, "the release", |event| matches!(event, Event::Released { conn: 7 }));
    }
}

#[test]
fn a_detached_socket_is_anothers_to_use() {
    for (options, closed) in
        [(NetOptions::default(), false), (cramped(), false), (NetOptions::default(), true)]
    {
        let (mut net, client) = pair(options);
        let mut client = Some(client);
        client.as_mut().unwrap().write_all(b"hello").unwrap();
        assert_eq!(wait_for(&mut net, "input", |event| matches!(event, Event::Received { .. })), 5);
        if closed {
            client = None;
            wait_for(&mut net, "the end", |event| matches!(event, Event::Ended { conn: 7 }));
        }
        net.detach(7);
        net.detach(7);
        net.send(7, b"too late".to_vec());
        let mut detached = None;
        until("the socket", || {
            net.turn(Wait::AtMost(10), &(), |event| match event {
                Event::Detached { conn: 7, socket } => detached = Some(socket),
                other => panic!("{other:?} after the connection was detached"),
            });
            detached.is_some()
        });
        assert_eq!(net.connections(), 0);
        let socket = detached.unwrap();
        let Some(mut client) = client else { continue };
        // Another net takes it in, and the number serves another connection here.
        let mut other = Net::new(NetOptions::default(), bell()).unwrap();
        other.adopt(socket, 1);
        client.write_all(b"more").unwrap();
        assert_eq!(wait_for(&mut other, "input", |event| matches!(event, Event::Received { .. })), 4);
        other.send(1, b"answer".to_vec());
        let mut answer = [0; 6];
        wait_for(&mut other, "the answer's end", |event| matches!(event, Event::Sent { .. }));
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"answer");
    }
}

#[test]
fn a_paused_connection_can_be_detached() {
    let (mut net, _client) = pair(NetOptions::default());
    net.turn(Wait::Poll, &(), |event| panic!("{event:?}"));
    net.pause(7);
    net.detach(7);
    wait_for(&mut net, "the socket", |event| matches!(event, Event::Detached { conn: 7, .. }));
}

#[test]
fn a_net_waits_as_long_as_told_and_sleeps_meanwhile() {
    let mut net = Net::new(NetOptions { spin_us: 50, ..NetOptions::default() }, bell()).unwrap();
    net.turn(Wait::Poll, &(), |event| panic!("{event:?}"));
    let (start, cpu) = (monotonic_us(), process::cpu_thread());
    for _ in 0..10 {
        assert_eq!(net.turn(Wait::AtMost(20), &(), |event| panic!("{event:?}")), 0);
    }
    let (took, cpu) = (monotonic_us() - start, process::cpu_thread() - cpu);
    assert!(took >= 200_000, "{took} us");
    assert!(cpu.user + cpu.system < Duration::from_millis(5), "{cpu:?} of CPU for ten sleeps");
}

#[test]
fn stopping_frees_the_port() {
    let mut net = Net::new(NetOptions::default(), bell()).unwrap();
    let listener = any_port();
    let port = listener.port().unwrap();
    net.listen(listener);
    net.turn(Wait::Poll, &(), |event| panic!("{event:?}"));
    net.stop_listening();
    until("the end of listening", || {
        net.turn(Wait::AtMost(5), &(), |event| panic!("{event:?}"));
        net.listening() == 0
    });
    let again = listen::tcp(&["127.0.0.1".to_owned()], port, 16, 0).unwrap();
    assert_eq!(again[0].port(), Some(port));
}

// ---- out of descriptors: a process of its own ----

const CHILD: &str = "TORC_TEST_OUT_OF_FILES";

/// Lowering the limit would fail the tests beside this one, so it runs itself again as a child.
#[test]
fn running_out_of_files_pauses_accepting_and_nothing_else() {
    if std::env::var_os(CHILD).is_some() {
        return out_of_files();
    }
    let name = "running_out_of_files_pauses_accepting_and_nothing_else";
    let path = module_path!().split_once("::").map(|(_, path)| format!("{path}::{name}")).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &path, "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
}

fn out_of_files() {
    let mut net = Net::new(NetOptions::default(), bell()).unwrap();
    let listener = any_port();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, listener.port().unwrap()));
    net.listen(listener);
    let spare = std::fs::File::open("/dev/null").unwrap();
    let mut clients = Vec::new();
    let limit = process::open_files() as u64 + 40;
    let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
    // SAFETY: the pointer is to a live `rlimit`.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
    while let Ok(client) = TcpStream::connect(address) {
        clients.push(client);
    }
    // They wait in the backlog, and no descriptor is left to accept one with.
    let (start, cpu) = (monotonic_us(), process::cpu_thread());
    let mut pauses = 0;
    while monotonic_us() - start < 500_000 {
        net.turn(Wait::AtMost(50), &(), |event| match event {
            Event::AcceptPaused { error, .. } => {
                assert_eq!(error, libc::EMFILE);
                pauses += 1;
            }
            other => panic!("{other:?}"),
        });
    }
    let cpu = process::cpu_thread() - cpu;
    assert!((3..=6).contains(&pauses), "{pauses} pauses of {ACCEPT_PAUSE_MS} ms in 500 ms");
    assert!(cpu.user + cpu.system < Duration::from_millis(50), "{cpu:?} of CPU while out of files");
    // A file is free again: all who waited get in, one after the other.
    drop(spare);
    let mut accepted = 0;
    until("the clients that were kept waiting", || {
        net.turn(Wait::AtMost(50), &(), |event| {
            accepted += usize::from(matches!(event, Event::Accepted { .. }));
        });
        accepted == clients.len()
    });
}
