//! The echo floor: the server's own sockets with a fixed reply, to tell what the network path costs.
//!
//! Answers `+OK` to every complete RESP array of bulk strings on one pinned core; whatever a command
//! asks. A reply that is cheaper than this is not possible over this runtime.

use clap::Parser;
use std::collections::HashMap;
use torc_server::runtime::{
    ConnId, Event, Fault, Mesh, Net, NetOptions, Stats, Wait, clock, listen, placement, preflight, process,
    signals::Signals,
};

#[derive(Parser)]
struct Options {
    #[arg(long, default_value_t = 7130)]
    port: u16,
    /// CPU to run on.
    #[arg(long, default_value_t = 0)]
    cpu: usize,
    /// Longest spin before a sleep in microseconds.
    #[arg(long, default_value_t = 0)]
    spin_us: u64,
    /// Longest sleep in milliseconds; 0 = no limit.
    #[arg(long, default_value_t = 100)]
    sleep_ms: u64,
    /// Print the counters of the ring every second.
    #[arg(long)]
    stats: bool,
}

fn main() -> Result<(), Fault> {
    let options = Options::parse();
    let mut signals = Signals::install()?;
    preflight::check(1, 10_000)?;
    let listeners = listen::tcp(&["127.0.0.1".to_owned()], options.port, 511, 300)?;
    let port = Mesh::<()>::new(1)?.pop().expect("one core has one port");
    placement::spawn("echo", Some(options.cpu), move || async move {
        let net_options = NetOptions { spin_us: options.spin_us, ..NetOptions::default() };
        let mut net = Net::new(net_options, port.bell()).expect("preflight passed");
        for listener in listeners {
            net.listen(listener);
        }
        let mut echo = Echo { net, sessions: HashMap::default(), free: Vec::new() };
        let wait = if options.sleep_ms == 0 { Wait::Forever } else { Wait::AtMost(options.sleep_ms) };
        let mut report = Report::default();
        loop {
            echo.turn(wait);
            if options.stats {
                report.every_second(echo.net.stats());
            }
        }
    })?;
    signals.wait();
    Ok(())
}

/// Prints what changed since the last second.
#[derive(Default)]
struct Report {
    last: Stats,
    at_us: u64,
}

impl Report {
    fn every_second(&mut self, now: Stats) {
        let now_us = clock::monotonic_us();
        if now_us - self.at_us < 1_000_000 {
            return;
        }
        let (enters, sleeps) = (now.enters - self.last.enters, now.sleeps - self.last.sleeps);
        let (spins, hits) = (now.spins - self.last.spins, now.spin_hits - self.last.spin_hits);
        eprintln!(
            "enters {enters} sleeps {sleeps} spins {spins} hits {hits} rss {} KiB",
            process::rss() / 1024
        );
        (self.last, self.at_us) = (now, now_us);
    }
}

struct Echo {
    net: Net,
    sessions: HashMap<ConnId, Session, ahash::RandomState>,
    free: Vec<ConnId>,
}

#[derive(Default)]
struct Session {
    /// The beginning of a command whose rest has not arrived.
    partial: Vec<u8>,
    out: Vec<u8>,
    sending: bool,
}

impl Echo {
    fn turn(&mut self, wait: Wait) {
        let (mut accepted, mut dirty, mut ended) = (Vec::new(), Vec::new(), Vec::new());
        let Echo { net, sessions, free } = self;
        net.turn(wait, &(), |event| match event {
            Event::File(_) => unreachable!("no file is written here"),
            Event::Detached { .. } => unreachable!("none is detached here"),
            Event::Accepted { socket, .. } => accepted.push(socket),
            Event::AcceptPaused { error, .. } => eprintln!("accept: error {error}"),
            Event::Received { conn, bytes } => {
                let session = sessions.get_mut(&conn).expect("only live sessions receive");
                answer(session, bytes);
                dirty.push(conn);
            }
            Event::Sent { conn, mut buf } => {
                let session = sessions.get_mut(&conn).expect("only live sessions send");
                session.sending = false;
                buf.clear();
                if session.out.is_empty() {
                    session.out = buf;
                } else {
                    dirty.push(conn);
                }
            }
            Event::Ended { conn } | Event::Failed { conn, .. } => ended.push(conn),
            Event::Released { conn } => {
                sessions.remove(&conn);
                free.push(conn);
            }
        });
        for conn in dirty {
            let Some(session) = self.sessions.get_mut(&conn) else { continue };
            if !session.sending && !session.out.is_empty() {
                session.sending = true;
                self.net.send(conn, std::mem::take(&mut session.out));
            }
        }
        for conn in ended {
            self.net.close(conn);
        }
        for socket in accepted {
            let conn = self.free.pop().unwrap_or(self.sessions.len() as ConnId);
            self.sessions.insert(conn, Session::default());
            self.net.adopt(socket, conn);
        }
    }
}

fn answer(session: &mut Session, bytes: &[u8]) {
    if session.partial.is_empty() {
        let used = answer_whole(bytes, &mut session.out);
        session.partial.extend_from_slice(&bytes[used..]);
    } else {
        session.partial.extend_from_slice(bytes);
        let used = answer_whole(&session.partial, &mut session.out);
        session.partial.drain(..used);
    }
}

/// Answers every whole command; returns the bytes they took.
fn answer_whole(bytes: &[u8], out: &mut Vec<u8>) -> usize {
    let mut used = 0;
    while let Some(len) = command_len(&bytes[used..]) {
        used += len;
        out.extend_from_slice(b"+OK\r\n");
    }
    used
}

/// Bytes of the first command, if it is whole.
fn command_len(bytes: &[u8]) -> Option<usize> {
    let (count, mut at) = header(bytes, b'*')?;
    for _ in 0..count {
        let (len, used) = header(bytes.get(at..)?, b'$')?;
        at += used + len + 2;
    }
    (at <= bytes.len()).then_some(at)
}

/// A line of `mark` and a number: the number, and the bytes of the line.
fn header(bytes: &[u8], mark: u8) -> Option<(usize, usize)> {
    if *bytes.first()? != mark {
        return None;
    }
    let end = memchr::memchr(b'\n', bytes)?;
    let number =
        bytes[1..end - 1].iter().fold(0usize, |number, digit| number * 10 + usize::from(digit - b'0'));
    Some((number, end + 1))
}
