//! The agent's side: waits for a leader, carries out its part of one plan at a time.

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use super::{
    Hooks, Runner, Token, VERSION,
    wire::{Hello, Job, Order, PLAN_BYTES, PROTOCOL, STRANGER_BYTES, Wire, Word},
};
use crate::clock::Clock;

/// How long a leader may be silent while the agent waits for its next word.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between looks at the stop flag.
const GLANCE: Duration = Duration::from_millis(50);

/// Conversations at once; further strangers are turned away.
const CONVERSATIONS: usize = 16;

/// How long all agents of a run may take to get ready: the others may have much to fill.
const READY_WITHIN_NS: u64 = 3_600_000_000_000;

pub struct Agent<'a> {
    listener: TcpListener,
    token: Token,
    run: &'a Runner<'a>,
    /// A plan is being carried out.
    busy: AtomicBool,
    conversations: AtomicUsize,
}

impl<'a> Agent<'a> {
    pub fn bind(listen: &str, token: Token, run: &'a Runner<'a>) -> Result<Self, String> {
        let fault = |error| format!("cannot listen on {listen}: {error}");
        let listener = TcpListener::bind(listen).map_err(fault)?;
        listener.set_nonblocking(true).map_err(fault)?;
        Ok(Self { listener, token, run, busy: AtomicBool::new(false), conversations: AtomicUsize::new(0) })
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("it is bound")
    }

    /// Serves leaders until `stop` turns true; `log` takes a line for everything that happens.
    pub fn serve(&self, stop: &AtomicBool, log: &(dyn Fn(String) + Sync)) {
        thread::scope(|scope| {
            while !stop.load(Ordering::Relaxed) {
                match self.listener.accept() {
                    Ok((stream, from)) if self.conversations.load(Ordering::Relaxed) < CONVERSATIONS => {
                        self.conversations.fetch_add(1, Ordering::Relaxed);
                        scope.spawn(move || {
                            let end = self.converse(stream, stop, log);
                            self.conversations.fetch_sub(1, Ordering::Relaxed);
                            if let Err(problem) = end {
                                log(format!("{from}: {problem}"));
                            }
                        });
                    }
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(GLANCE),
                    Err(error) => {
                        log(format!("accepting: {error}"));
                        thread::sleep(GLANCE);
                    }
                }
            }
        });
    }

    fn converse(&self, stream: TcpStream, stop: &AtomicBool, log: &dyn Fn(String)) -> Result<(), String> {
        let words = |error: std::io::Error| error.to_string();
        stream.set_nonblocking(false).map_err(words)?;
        let from = stream.peer_addr().map_err(words)?;
        let mut wire = Wire::new(stream, PATIENCE).map_err(words)?;
        let hello: Hello = wire.receive(STRANGER_BYTES)?;
        let refusal = if !self.token.admits(&hello.token) {
            Some("wrong token".to_owned())
        } else if (hello.protocol, hello.version.as_str()) != (PROTOCOL, VERSION) {
            Some(format!("the agent is version {VERSION}, the leader version {}", short(&hello.version)))
        } else if self.busy.swap(true, Ordering::Relaxed) {
            Some("busy with another run".to_owned())
        } else {
            None
        };
        if let Some(refusal) = refusal {
            wire.send(&Word::Refused(refusal.clone())).map_err(words)?;
            return Err(refusal);
        }
        log(format!("{from}: a run begins"));
        let end = self.work(&mut wire, stop);
        self.busy.store(false, Ordering::Relaxed);
        if let Err(problem) = &end {
            // The leader may be gone; then this goes nowhere.
            let _ = wire.send(&Word::Refused(problem.clone()));
        }
        wire.close();
        log(format!("{from}: the run ended"));
        end
    }

    fn work(&self, wire: &mut Wire, stop: &AtomicBool) -> Result<(), String> {
        let words = |error: std::io::Error| error.to_string();
        wire.send(&Word::Welcome).map_err(words)?;
        let Order::Prepare(job) = wire.receive(PLAN_BYTES)? else {
            return Err("a run begins with Prepare".into());
        };
        let Job { plan } = *job;
        plan.check()?;
        let (own_stop, over) = (AtomicBool::new(false), AtomicBool::new(false));
        let (mut reports, control) = (wire.twin().map_err(words)?, wire.twin().map_err(words)?);
        thread::scope(|scope| {
            // The gate hears the leader until the start, this thread after it.
            let (started, start) = std::sync::mpsc::channel();
            let (own, ended) = (&own_stop, &over);
            scope.spawn(move || {
                if start.recv().is_ok() {
                    heed(control, stop, own, ended);
                }
            });
            let mut gate = || {
                await_start(wire, stop)?;
                started.send(()).map_err(|_| "the control thread ended".to_owned())
            };
            let mut watch = |second, document| {
                // A leader that is gone is noticed by the control thread.
                let _ = reports.send(&Word::Second(Box::new((second, document))));
            };
            let document = (self.run)(&plan, Hooks { stop: &own_stop, gate: &mut gate, watch: &mut watch });
            let sent =
                document.and_then(|document| reports.send(&Word::Done(Box::new(document))).map_err(words));
            over.store(true, Ordering::Relaxed);
            drop(started);
            sent
        })
    }
}

/// Reports readiness and waits for the start.
fn await_start(wire: &mut Wire, stop: &AtomicBool) -> Result<(), String> {
    let words = |error: std::io::Error| error.to_string();
    wire.send(&Word::Ready).map_err(words)?;
    let clock = Clock::start();
    loop {
        if stop.load(Ordering::Relaxed) || clock.ns() > READY_WITHIN_NS {
            return Err("the start never came".into());
        }
        if !wire.arrives(GLANCE).map_err(words)? {
            continue;
        }
        match wire.receive(STRANGER_BYTES)? {
            Order::Ping => wire.send(&Word::Pong).map_err(words)?,
            Order::Start { in_ns } => {
                thread::sleep(Duration::from_nanos(in_ns.min(LONGEST_WAIT_NS)));
                return Ok(());
            }
            Order::Stop => return Err("stopped before the start".into()),
            Order::Prepare(_) => return Err("a second plan".into()),
        }
    }
}

/// Longest time from the word to the start.
const LONGEST_WAIT_NS: u64 = 10_000_000_000;

/// Ends the run when the leader says so or is gone, or when the agent itself is told to end; returns once the leader
/// has taken the report.
fn heed(mut wire: Wire, stop: &AtomicBool, own_stop: &AtomicBool, over: &AtomicBool) {
    let clock = Clock::start();
    let mut over_since = None;
    loop {
        if over.load(Ordering::Relaxed) {
            let since = *over_since.get_or_insert_with(|| clock.ns());
            if clock.ns() - since > PATIENCE.as_nanos() as u64 {
                return;
            }
        }
        if stop.load(Ordering::Relaxed) {
            own_stop.store(true, Ordering::Relaxed);
        }
        match wire.arrives(GLANCE) {
            Ok(false) => {}
            Ok(true) => match wire.receive(STRANGER_BYTES) {
                Ok(Order::Stop) => own_stop.store(true, Ordering::Relaxed),
                Ok(_) => {}
                Err(_) => return own_stop.store(true, Ordering::Relaxed),
            },
            Err(_) => return own_stop.store(true, Ordering::Relaxed),
        }
    }
}

/// What a stranger calls its version, fit for a line.
fn short(text: &str) -> String {
    text.chars().take(40).collect::<String>().escape_debug().to_string()
}
