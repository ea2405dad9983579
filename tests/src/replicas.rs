//! Servers that follow one another, and the wire between them.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use crate::client::Client;
use crate::peer::Peer;
use crate::process::Server;
use crate::random::Random;
use crate::reply::Reply;
use crate::{clock, torc};

/// How long servers may take to do what they were asked.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Who takes part: Torc with so many shards, or a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Torc(usize),
    Other(Peer),
}

impl Who {
    pub fn start(self, options: &[&str]) -> Server {
        let options = [&["--repl-diskless-sync-delay", "0"], options].concat();
        match self {
            Who::Torc(shards) => torc::start(shards, &options),
            Who::Other(peer) => peer.start(&options),
        }
    }
}

pub fn text(reply: &Reply) -> String {
    match reply {
        Reply::Bulk(bytes) | Reply::Simple(bytes) | Reply::Error(bytes) => {
            String::from_utf8_lossy(bytes).into_owned()
        }
        other => format!("{other:?}"),
    }
}

pub fn field(client: &mut Client, section: &str, name: &str) -> String {
    let info = text(&client.line(&format!("INFO {section}")));
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap_or_default().trim().to_owned()
}

pub fn follow(replica: &mut Client, port: u16) {
    assert_eq!(text(&replica.line(&format!("REPLICAOF 127.0.0.1 {port}"))), "OK");
}

/// Waits until the replica has all that the primary has.
pub fn agree(primary: &mut Client, replica: &mut Client, what: &str) {
    let agreed = clock::poll(PATIENCE, || {
        let up = field(replica, "replication", "master_link_status") == "up";
        let end = field(primary, "replication", "master_repl_offset");
        let same = up && field(replica, "replication", "slave_repl_offset") == end;
        (same && primary.line("DEBUG DIGEST") == replica.line("DEBUG DIGEST")).then_some(())
    });
    let facts = |client: &mut Client| text(&client.line("INFO replication"));
    assert!(agreed.is_some(), "{what}\nprimary: {}\nreplica: {}", facts(primary), facts(replica));
}

/// Sets `keys` keys to values of `bytes` bytes.
pub fn populate(client: &mut Client, keys: usize, bytes: usize) {
    const BATCH: usize = 500;
    let value = "x".repeat(bytes);
    for first in (0..keys).step_by(BATCH) {
        let mut line = "MSET".to_owned();
        for key in first..keys.min(first + BATCH) {
            line.push_str(&format!(" filler:{key} {value}"));
        }
        let reply = client.call(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(text(&reply), "OK");
    }
}

/// Writes of every kind that the primary's log has to carry.
pub fn write(client: &mut Client, random: &mut Random, count: usize) {
    for _ in 0..count {
        let key = format!("key:{}", random.below(200));
        let other = format!("other:{}", random.below(200));
        let line = match random.below(16) {
            0 => format!("SELECT {}", random.below(3)),
            1 => format!("APPEND {key} more"),
            2 => format!("INCR count:{}", random.below(50)),
            3 => format!(
                "SET {key} soon PX {}",
                if random.one_in(2) { 20 + random.below(50) } else { 10_000_000 }
            ),
            4 => format!("DEL {key} {other}"),
            5 => format!("RENAME {key} {other}"),
            6 => format!("COPY {key} {other} REPLACE"),
            7 => format!("MSET {key} a {other} b"),
            8 => format!("GETEX {key} EX 1000"),
            9 => format!("PERSIST {key}"),
            10 => format!("MOVE {key} {}", random.below(3)),
            11 if random.one_in(20) => "FLUSHDB".to_owned(),
            12 => {
                client.line("MULTI");
                client.line(&format!("SET {key} 1"));
                client.line(&format!("INCRBYFLOAT float:{} 0.5", random.below(9)));
                client.line(&format!("SET {other} 2 KEEPTTL"));
                "EXEC".to_owned()
            }
            _ => format!("SET {key} {}", random.next()),
        };
        client.line(&line);
    }
}

/// Removes what [`write`] wrote for a moment only: what is left stays for the rest of the test.
pub fn settle(client: &mut Client) {
    client.line("DEBUG SLEEP 0.1");
    for db in 0..3 {
        client.line(&format!("SELECT {db}"));
        for key in 0..200 {
            client.line(&format!("EXISTS key:{key} other:{key}"));
        }
    }
}

/// A connection in between that can be cut.
pub struct Wire {
    pub port: u16,
    open: Arc<AtomicBool>,
    /// Bytes that may yet come from the far end.
    credit: Arc<AtomicI64>,
    /// Both ends of every connection made so far.
    streams: Receiver<TcpStream>,
}

impl Wire {
    pub fn to(port: u16) -> Wire {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let near = listener.local_addr().expect("it is bound").port();
        let open = Arc::new(AtomicBool::new(true));
        let credit = Arc::new(AtomicI64::new(i64::MAX));
        let (sender, streams) = channel();
        let (is_open, left) = (Arc::clone(&open), Arc::clone(&credit));
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                if is_open.load(Ordering::Relaxed)
                    && let Ok(far) = TcpStream::connect(("127.0.0.1", port))
                {
                    join(&near, &far, &sender, &left);
                }
            }
        });
        Wire { port: near, open, credit, streams }
    }

    /// Lets about so many bytes of the far end through, and holds the rest until it is let go.
    pub fn hold(&self, bytes: i64) {
        self.credit.store(bytes, Ordering::Relaxed);
    }

    pub fn let_go(&self) {
        self.hold(i64::MAX);
    }

    pub fn cut(&self) {
        self.open.store(false, Ordering::Relaxed);
        for stream in self.streams.try_iter() {
            // One that has ended already is as good as cut.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub fn mend(&self) {
        self.open.store(true, Ordering::Relaxed);
    }
}

/// Passes on what either end sends, until one closes.
fn join(near: &TcpStream, far: &TcpStream, streams: &Sender<TcpStream>, credit: &Arc<AtomicI64>) {
    let copy = |stream: &TcpStream| stream.try_clone().expect("a socket");
    for (from, to, credit) in [(near, far, None), (far, near, Some(credit))] {
        let credit = credit.cloned();
        // Nobody keeps them once the test is over.
        let _ = streams.send(copy(from));
        let (mut from, mut to) = (copy(from), copy(to));
        std::thread::spawn(move || {
            let mut buffer = [0; 16384];
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                if let Some(credit) = &credit {
                    while credit.load(Ordering::Relaxed) <= 0 {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    credit.fetch_sub(count as i64, Ordering::Relaxed);
                }
                if to.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Both);
        });
    }
}
