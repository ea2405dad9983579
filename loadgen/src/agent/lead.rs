//! The leader's side: gets all agents ready, starts them together, gathers their reports. What goes wrong is told by
//! the agent's name; before the start it ends the run, after it the rest of the agents go on.

use std::{
    net::{TcpStream, ToSocketAddrs},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread,
    time::Duration,
};

use super::{
    Token, VERSION,
    merge::{Part, Underway, merge},
    wire::{Hello, Job, Order, PROTOCOL, REPORT_BYTES, STRANGER_BYTES, Wire, Word},
};
use crate::{
    clock::Clock,
    document::{Document, Interval},
    plan::{Plan, Team},
};

/// How long an agent may take to accept, to read what it is sent, and to answer at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between looks at the stop flag.
const GLANCE: Duration = Duration::from_millis(50);

/// From the word to the start: long enough for it to reach every agent.
const START_IN_NS: u64 = 200_000_000;

/// Round trips of which the shortest tells how long a word travels.
const PINGS: usize = 5;

/// How much longer than its run an agent may take to report.
const REPORT_WITHIN: Duration = Duration::from_secs(30);

struct Follower {
    name: String,
    wire: Wire,
}

/// Runs `plan` on the agents called `names` (`host:port`) and returns their reports as one. `watch` is told of every
/// second that all of them have passed.
pub fn lead(
    plan: &Plan,
    names: &[String],
    token: &Token,
    stop: &AtomicBool,
    watch: &mut dyn FnMut(&Interval),
) -> Result<Document, String> {
    plan.check()?;
    let mut followers = of_all(names.iter().map(|name| greet(name, token)))?;
    for (index, follower) in followers.iter_mut().enumerate() {
        // The leader judges the sum by the objectives; an agent sees only its part.
        let team = Team { member: index, members: names.len() };
        let plan = Plan { team, objectives: Vec::new(), ..plan.clone() };
        follower.send(&Order::Prepare(Box::new(Job { plan })))?;
    }
    of_all(followers.iter_mut().map(|follower| follower.await_ready(stop)))?;
    let trips = of_all(followers.iter_mut().map(Follower::round_trip))?;
    let clock = Clock::start();
    for (follower, trip) in followers.iter_mut().zip(trips) {
        let in_ns = START_IN_NS.saturating_sub(clock.ns()).saturating_sub(trip / 2);
        follower.send(&Order::Start { in_ns })?;
    }
    gather(plan, followers, stop, watch)
}

/// All results, or all problems in one line.
fn of_all<T>(results: impl Iterator<Item = Result<T, String>>) -> Result<Vec<T>, String> {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(value) => good.push(value),
            Err(problem) => bad.push(problem),
        }
    }
    if bad.is_empty() { Ok(good) } else { Err(bad.join("; ")) }
}

fn greet(name: &str, token: &Token) -> Result<Follower, String> {
    let fault = |problem: String| format!("agent {name}: {problem}");
    let mut problem = "the name has no address".to_owned();
    for at in name.to_socket_addrs().map_err(|error| fault(error.to_string()))? {
        match TcpStream::connect_timeout(&at, PATIENCE) {
            Ok(stream) => {
                let wire = Wire::new(stream, PATIENCE).map_err(|error| fault(error.to_string()))?;
                let mut follower = Follower { name: name.into(), wire };
                let (version, token) = (VERSION.to_owned(), token.0.clone());
                let hello = Hello { protocol: PROTOCOL, version, token };
                follower.wire.send(&hello).map_err(|error| fault(error.to_string()))?;
                return match follower.hear(STRANGER_BYTES)? {
                    Word::Welcome => Ok(follower),
                    _ => Err(fault("it answers out of turn: not an agent".into())),
                };
            }
            Err(error) => problem = format!("cannot connect: {error}"),
        }
    }
    Err(fault(problem))
}

impl Follower {
    fn fault(&self, problem: impl std::fmt::Display) -> String {
        format!("agent {}: {problem}", self.name)
    }

    fn send(&mut self, order: &Order) -> Result<(), String> {
        self.wire.send(order).map_err(|error| self.fault(error))
    }

    /// Its next word; a refusal is a fault.
    fn hear(&mut self, limit: u32) -> Result<Word, String> {
        match self.wire.receive(limit) {
            Ok(Word::Refused(why)) => Err(self.fault(line(&why))),
            Ok(word) => Ok(word),
            Err(problem) => Err(self.fault(problem)),
        }
    }

    /// Waits, as long as it takes to fill and connect.
    fn await_ready(&mut self, stop: &AtomicBool) -> Result<(), String> {
        while !self.wire.arrives(GLANCE).map_err(|error| self.fault(error))? {
            if stop.load(Ordering::Relaxed) {
                return Err(self.fault("not ready when the run was stopped"));
            }
        }
        match self.hear(STRANGER_BYTES)? {
            Word::Ready => Ok(()),
            _ => Err(self.fault("it answers out of turn")),
        }
    }

    /// The shortest of some round trips, ns.
    fn round_trip(&mut self) -> Result<u64, String> {
        let clock = Clock::start();
        let mut shortest = u64::MAX;
        for _ in 0..PINGS {
            let sent = clock.ns();
            self.send(&Order::Ping)?;
            match self.hear(STRANGER_BYTES)? {
                Word::Pong => shortest = shortest.min(clock.ns() - sent),
                _ => return Err(self.fault("it answers out of turn")),
            }
        }
        Ok(shortest)
    }
}

/// What an agent said, by its index.
type News = (usize, Result<Word, String>);

/// Takes the agents' words until each has reported or failed.
fn gather(
    plan: &Plan,
    followers: Vec<Follower>,
    stop: &AtomicBool,
    watch: &mut dyn FnMut(&Interval),
) -> Result<Document, String> {
    let mut underway = Underway::new(followers.len(), plan.mix.len());
    let patience = plan.silence() + REPORT_WITHIN;
    let mut parts: Vec<Part> = followers.iter().map(|follower| Part::of(&follower.name)).collect();
    let mut wires = Vec::new();
    for follower in &followers {
        wires.push(follower.wire.twin().map_err(|error| follower.fault(error))?);
    }
    thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        for (index, follower) in followers.into_iter().enumerate() {
            let tell = tell.clone();
            scope.spawn(move || listen(index, follower, patience, &tell));
        }
        drop(tell);
        let mut stopped = false;
        loop {
            if stop.load(Ordering::Relaxed) && !stopped {
                stopped = true;
                for wire in &mut wires {
                    // Who is gone needs no telling.
                    let _ = wire.send(&Order::Stop);
                }
            }
            match told.recv_timeout(GLANCE) {
                Ok((index, Ok(Word::Second(news)))) => {
                    let second = underway.told(news.0.clone());
                    parts[index].so_far(*news);
                    second.iter().for_each(&mut *watch);
                }
                Ok((index, last)) => {
                    underway.ended();
                    match last {
                        Ok(Word::Done(document)) => parts[index].done(*document),
                        Ok(_) => parts[index].lose("it answers out of turn".into()),
                        Err(problem) => parts[index].lose(problem),
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        for wire in &wires {
            wire.close();
        }
    });
    merge(plan, parts)
}

fn listen(index: usize, mut follower: Follower, patience: Duration, tell: &Sender<News>) {
    let clock = Clock::start();
    let mut heard = 0;
    loop {
        let word = match follower.wire.arrives(GLANCE) {
            Ok(false) if clock.ns() - heard < patience.as_nanos() as u64 => continue,
            Ok(false) => Err("it stopped answering".into()),
            Ok(true) => match follower.wire.receive(REPORT_BYTES) {
                Ok(Word::Refused(why)) => Err(line(&why)),
                other => other,
            },
            Err(error) => Err(error.to_string()),
        };
        heard = clock.ns();
        let last = !matches!(word, Ok(Word::Second(_)));
        if tell.send((index, word)).is_err() || last {
            return;
        }
    }
}

/// An agent's reason, fit for a line.
fn line(text: &str) -> String {
    text.chars().take(400).map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}
