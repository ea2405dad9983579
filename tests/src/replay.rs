//! Plays a sequence of commands on a server from a known state, and compares what two servers made of it.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::time::Duration;

use crate::allow;
use crate::client::{self, Client};
use crate::generate::{Args, BRIEF_MS, DATABASES, KEYS, Step};
use crate::process::Server;
use crate::reply::Reply;

/// What every sequence starts from. Active expiry is off so that only the sequence's own commands remove keys.
const START: &[&str] = &[
    "CONFIG SET maxmemory 0",
    "FLUSHALL",
    "DEBUG SET-ACTIVE-EXPIRE 0",
    "CONFIG SET slowlog-max-len 128",
    "CONFIG SET slowlog-log-slower-than 10000",
    "CONFIG SET hz 10",
    "CONFIG SET lfu-decay-time 1",
    "CONFIG SET lfu-log-factor 10",
    "CONFIG SET loglevel notice",
    "CONFIG SET latency-tracking yes",
    "CONFIG SET maxmemory-policy noeviction",
    "CONFIG SET timeout 0",
];

/// More pages than any scan of a test's few keys can have.
const SCAN_PAGES: usize = 20_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Resp2,
    Resp3,
}

pub struct Outcome {
    /// One a step; a pause has none of its own and repeats nothing.
    replies: Vec<Reply>,
    /// The keyspace afterwards, as questions and answers.
    state: Vec<(Args, Reply)>,
}

/// The first thing two servers disagree about.
#[derive(Clone, Debug)]
pub struct Mismatch {
    /// The step, or `None` when only the state afterwards differs.
    pub step: Option<usize>,
    pub args: Args,
    pub theirs: Reply,
    pub ours: Reply,
}

impl Mismatch {
    /// Whether the server did not answer at all.
    pub fn is_silence(&self) -> bool {
        self.step.is_none() && matches!(self.ours, Reply::Closed(_))
    }

    /// What mismatches of one cause have in common: the command and the kinds of the replies.
    pub fn cause(&self) -> String {
        let words = self.args.iter().take(if self.step.is_none() { 2 } else { 1 });
        let command =
            words.map(|word| word.to_ascii_uppercase().escape_ascii().to_string()).collect::<Vec<_>>();
        let kind = |reply: &Reply| match reply {
            Reply::Error(_) => reply.to_string(),
            other => format!("{other}").chars().take(1).collect(),
        };
        format!("{} {} {}", command.join(" "), kind(&self.theirs), kind(&self.ours))
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.step.is_none() { " (afterwards)" } else { "" };
        write!(f, "  {}{place}\n    peer: {}\n    torc: {}", show(&self.args), self.theirs, self.ours)
    }
}

/// Arguments longer than this are shown by their beginning.
const LONG: usize = 64;

/// A command as one line of text.
pub fn show(args: &Args) -> String {
    let words = args.iter().map(|arg| {
        let mut text = arg[..arg.len().min(LONG)].escape_ascii().to_string();
        if arg.len() > LONG {
            text.push_str(&format!("…({} bytes)", arg.len()));
        }
        if text.is_empty() || text.contains(' ') { format!("\"{text}\"") } else { text }
    });
    words.collect::<Vec<_>>().join(" ")
}

pub fn show_step(step: &Step) -> String {
    match step {
        Step::Call { connection, args } => format!("{connection}> {}", show(args)),
        Step::Scan { connection, args } => format!("{connection}> [whole scan] SCAN 0 {}", show(args)),
        Step::Pause => format!("   [{} ms pass]", PAUSE.as_millis()),
    }
}

/// Longer than the briefest expiry by more than the grain of the servers' clocks.
const PAUSE: Duration = Duration::from_millis(BRIEF_MS as u64 + 3);

/// One connection of a sequence; opened again after the server closed it.
struct Session<'a> {
    server: &'a Server,
    protocol: Protocol,
    client: Option<Client>,
}

impl Session<'_> {
    fn client(&mut self) -> io::Result<&mut Client> {
        if self.client.is_none() {
            let mut client = Client::connect(self.server.port)?;
            if self.protocol == Protocol::Resp3 {
                client.raw(&["HELLO", "3"])?;
            }
            self.client = Some(client);
        }
        Ok(self.client.as_mut().expect("just connected"))
    }

    /// Sends the commands in one piece and reads one reply each; behind a closed connection all are `Closed`.
    fn pipeline(&mut self, commands: &[&Args], replies: &mut Vec<Reply>) -> io::Result<()> {
        let client = self.client()?;
        let bytes: Vec<u8> = commands.iter().flat_map(|args| client::encode(args)).collect();
        let mut lost = client.send(&bytes).err();
        for _ in commands {
            let reply = match &lost {
                Some(error) => Err(io::Error::new(error.kind(), error.to_string())),
                None => client.read(),
            };
            replies.push(reply.unwrap_or_else(|error| {
                let closed = Reply::Closed(format!("{:?}", error.kind()));
                lost = Some(error);
                closed
            }));
        }
        match lost {
            Some(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Err(error)
            }
            Some(_) => {
                self.client = None;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// All pages of a scan; the reply itself if it is no page.
    fn scan(&mut self, args: &Args) -> io::Result<Reply> {
        let mut keys = Vec::new();
        let mut cursor = b"0".to_vec();
        for _ in 0..SCAN_PAGES {
            let mut call = vec![b"SCAN".to_vec(), cursor];
            call.extend(args.iter().cloned());
            let mut replies = Vec::new();
            self.pipeline(&[&call], &mut replies)?;
            let reply = replies.pop().expect("one reply a command");
            let [next, page] = reply.elements() else { return Ok(reply) };
            keys.extend_from_slice(page.elements());
            cursor = next.bytes().unwrap_or(b"0").to_vec();
            if cursor == b"0" {
                keys.sort();
                keys.dedup();
                return Ok(Reply::Set(keys));
            }
        }
        Ok(Reply::Closed("the scan does not end".to_owned()))
    }
}

/// Plays `steps` from an empty keyspace on fresh connections, then asks for the state. An error means that the server
/// cannot be reached any more or does not answer.
pub fn play(server: &Server, protocol: Protocol, steps: &[Step]) -> io::Result<Outcome> {
    let mut admin = Session { server, protocol: Protocol::Resp2, client: None };
    let start: Vec<Args> = START.iter().map(|line| split(line)).collect();
    let mut ignored = Vec::new();
    admin.pipeline(&start.iter().collect::<Vec<_>>(), &mut ignored)?;

    let mut sessions: Vec<Session> = (0..2).map(|_| Session { server, protocol, client: None }).collect();
    let mut replies = Vec::new();
    let mut at = 0;
    while at < steps.len() {
        match &steps[at] {
            Step::Pause => {
                std::thread::sleep(PAUSE);
                replies.push(Reply::Null);
                at += 1;
            }
            Step::Scan { connection, args } => {
                let reply = sessions[*connection].scan(args)?;
                replies.push(reply);
                at += 1;
            }
            Step::Call { connection, .. } => {
                let batch = batch(&steps[at..], *connection);
                sessions[*connection].pipeline(&batch, &mut replies)?;
                at += batch.len();
            }
        }
    }
    let state = state(&mut admin)?;
    Ok(Outcome { replies, state })
}

/// The calls from here on that go over the same connection; QUIT ends a batch because what follows it is lost.
fn batch(steps: &[Step], connection: usize) -> Vec<&Args> {
    let mut batch = Vec::new();
    for step in steps {
        match step {
            Step::Call { connection: other, args } if *other == connection => batch.push(args),
            _ => break,
        }
        if batch.last().and_then(|args| args.first()).is_some_and(|name| name.eq_ignore_ascii_case(b"QUIT")) {
            break;
        }
    }
    batch
}

/// Every key's encoding and digest, every database's size, and the digest of it all. Touching the keys first removes
/// those whose time is over, which a size would count.
fn state(admin: &mut Session) -> io::Result<Vec<(Args, Reply)>> {
    let mut questions: Vec<Args> = Vec::new();
    let with_keys =
        |line: &str| -> Args { split(line).into_iter().chain(KEYS.iter().map(|key| key.to_vec())).collect() };
    for database in 0..DATABASES {
        questions.push(split(&format!("SELECT {database}")));
        questions.push(with_keys("EXISTS"));
        questions.push(split("DBSIZE"));
        questions.push(with_keys("DEBUG DIGEST-VALUE"));
        questions.extend(KEYS.iter().map(|key| [split("OBJECT ENCODING"), vec![key.to_vec()]].concat()));
    }
    questions.push(split("DEBUG DIGEST"));
    let mut replies = Vec::new();
    admin.pipeline(&questions.iter().collect::<Vec<_>>(), &mut replies)?;
    Ok(questions.into_iter().zip(replies).collect())
}

pub fn split(line: &str) -> Args {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

/// Compares two outcomes of the same steps.
pub fn compare(steps: &[Step], theirs: &Outcome, ours: &Outcome) -> Option<Mismatch> {
    let mut judge = Judge::default();
    for (index, step) in steps.iter().enumerate() {
        let (theirs, ours) = (&theirs.replies[index], &ours.replies[index]);
        let (args, agree) = match step {
            Step::Pause => continue,
            // A whole scan compares as the set it is; SCAN's own rule is for single pages.
            Step::Scan { args, .. } => {
                let closed = matches!((theirs, ours), (Reply::Closed(_), Reply::Closed(_)));
                ([split("SCAN 0"), args.clone()].concat(), closed || theirs == ours)
            }
            Step::Call { connection, args } => (args.clone(), judge.agree(*connection, args, theirs, ours)),
        };
        if !agree {
            return Some(Mismatch { step: Some(index), args, theirs: theirs.clone(), ours: ours.clone() });
        }
    }
    let differing = theirs.state.iter().zip(&ours.state).find(|(a, b)| a.1 != b.1);
    differing.map(|(theirs, ours)| Mismatch {
        step: None,
        args: theirs.0.clone(),
        theirs: theirs.1.clone(),
        ours: ours.1.clone(),
    })
}

/// Compares the replies of a conversation one by one. It keeps the queues of open MULTIs, so that the replies inside
/// EXEC's are judged by their own commands.
#[derive(Default)]
pub struct Judge {
    queues: HashMap<usize, Vec<Args>>,
}

impl Judge {
    /// Whether both replies to this command are the same, or may differ as they do.
    pub fn agree(&mut self, connection: usize, args: &Args, theirs: &Reply, ours: &Reply) -> bool {
        let name = args[0].to_ascii_uppercase();
        match (theirs, ours) {
            (Reply::Closed(_), Reply::Closed(_)) => {
                self.queues.remove(&connection);
                true
            }
            (Reply::Array(theirs), Reply::Array(ours)) if name == b"EXEC" => {
                let queue = self.queues.remove(&connection).unwrap_or_default();
                let mut each = theirs.iter().zip(ours).zip(&queue);
                theirs.len() == ours.len() && each.all(|((a, b), args)| allow::agree(args, a, b))
            }
            (theirs, ours) => {
                match theirs {
                    Reply::Simple(text) if name == b"MULTI" && text == b"OK" => {
                        self.queues.insert(connection, Vec::new());
                    }
                    Reply::Simple(text) if text == b"QUEUED" => {
                        self.queues.entry(connection).or_default().push(args.clone());
                    }
                    _ => {}
                }
                allow::agree(args, theirs, ours)
            }
        }
    }
}

/// Compares what a server made of the steps with the peer's outcome. Not to answer any more is a mismatch too.
pub fn judge(steps: &[Step], theirs: &Outcome, ours: io::Result<Outcome>) -> Option<Mismatch> {
    match ours {
        Ok(ours) => compare(steps, theirs, &ours),
        Err(error) => Some(Mismatch {
            step: None,
            args: vec![b"(any)".to_vec()],
            theirs: Reply::Simple(b"answers".to_vec()),
            ours: Reply::Closed(error.to_string()),
        }),
    }
}

/// Plays the steps on both and says where they differ.
pub fn differ(peer: &Server, torc: &Server, protocol: Protocol, steps: &[Step]) -> Option<Mismatch> {
    let theirs = play(peer, protocol, steps).unwrap_or_else(|error| panic!("{}: {error}", peer.name));
    judge(steps, &theirs, play(torc, protocol, steps))
}
