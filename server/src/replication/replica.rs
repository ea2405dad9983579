//! The replica's end of a link: asks for the history of a primary, takes a snapshot if it must, and gives out the stream.
//!
//! [`Replica`] is told of its connection (`connected`, `received`, `disconnected`) and of time (`tick`), and
//! [`Replica::next_action`] says what to do, until it says nothing more. It is the same one over many connections: it knows where the
//! stream was left, and asks for what follows there.

use std::collections::VecDeque;

use memchr::memmem;

use crate::commands::{Link, refuse_replicated};
use crate::limits::{PRIMARY_LINE, REPLICATED_UNIT};
use crate::log::Scanner;

/// From the end of one attempt to the next.
const RETRY_MS: u64 = 1000;

/// Between two signs of life.
const TELL_MS: u64 = 1000;

/// Bytes of a replication ID, and of the mark behind a snapshot of unknown size.
const ID: usize = 40;

/// Bytes of a primary's answer that are worth a place in the log.
const QUOTED: usize = 256;

/// How primaries ask for an acknowledgement. The same bytes within a value ask for one too many, which does no harm.
const GETACK: &[u8] = b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n";

/// What a replica tells of itself, and how long it waits. From the settings.
#[derive(Clone, PartialEq, Eq)]
pub struct Manners {
    /// May be empty, like the password.
    pub user: String,
    pub password: String,
    pub listening_port: u16,
    pub announce_ip: Option<String>,
    pub timeout_ms: u64,
}

/// A history and how far it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    pub replid: String,
    /// Bytes of the stream that are known; on the wire it is the next one that is named.
    pub offset: u64,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a connection; ends in `connected` or `disconnected`.
    Connect,
    Send(Vec<u8>),
    /// Close the connection if there is one; `why` is for the log. The replica tries again by itself.
    Disconnect {
        why: String,
    },
    /// The primary sends everything: the state at `position`. What was known before holds if the link ends before
    /// `EndFull`, and whoever has given it up by then begins anew.
    BeginFull {
        position: Position,
        size: Option<u64>,
    },
    /// The next bytes of the snapshot.
    Snapshot(Vec<u8>),
    EndFull,
    /// The primary goes on where we are; its history may have got a new name there.
    Continue {
        replid: Option<String>,
    },
    /// The one that was to be our primary will not be it.
    Declined {
        why: String,
    },
    /// More of the stream: whole commands and whole transactions, byte for byte.
    Stream(Vec<u8>),
}

pub struct Replica {
    manners: Manners,
    phase: Phase,
    actions: VecDeque<Action>,
    /// The beginning of a line.
    line: Vec<u8>,
    /// `None` while a snapshot is coming in, too.
    position: Option<Position>,
    /// What the snapshot is to replace, in case no more of it comes, or it is not taken in.
    earlier: Option<Position>,
    /// `position` is that of a snapshot which is here and has not been taken in.
    untaken: bool,
    /// Whether the primary is one only once it has been asked to be.
    promotion: Option<Promotion>,
    /// Up to where the stream has been applied; `None` until the snapshot is in.
    applied: Option<u64>,
    /// Up to where it is on our disk, if it is kept there.
    flushed: Option<u64>,
    /// First and last offset that, once applied, shall be acknowledged at once: those behind the questions, so that who waits
    /// for a stream that ends with one hears of all of it.
    asked: Option<(u64, u64)>,
    /// The time at the latest call that told it.
    now_ms: u64,
    /// When the link came about.
    linked_ms: u64,
    /// From here on the silence counts.
    silent_ms: Option<u64>,
    /// Why what came last cannot be used here, until something can.
    refusal: Option<String>,
    /// Of the latest sign of life.
    told_ms: u64,
    last_io_ms: Option<u64>,
    sync_read: u64,
    sync_total: i64,
    largest_unit: u64,
}

enum Phase {
    Waiting {
        until_ms: u64,
    },
    /// Until `connected`.
    Opening,
    /// Answers yet to come.
    Handshake(VecDeque<Question>),
    /// The primary has announced a snapshot.
    Announced(Position),
    Snapshot(Position, Rest),
    Stream(Scanner),
}

/// A replica of ours that is to be our primary (PSYNC ... FAILOVER).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Promotion {
    Asks,
    /// It was asked, and the link went before the answer came: it may have heeded.
    AsksAgain,
    /// It does not heed now. If it did before, it is a primary, and answers as one.
    Doubts,
}

/// What is yet to come of a snapshot.
enum Rest {
    Bytes(u64),
    /// All before the mark. What is held may be the beginning of it.
    Mark {
        finder: Box<memmem::Finder<'static>>,
        held: Vec<u8>,
    },
}

impl Rest {
    fn until(mark: &[u8]) -> Rest {
        Rest::Mark { finder: Box::new(memmem::Finder::new(mark).into_owned()), held: Vec::new() }
    }
}

#[derive(Clone, Copy)]
enum Question {
    Ping,
    Auth,
    /// A REPLCONF: what the primary does not know it may refuse.
    Tell,
    Psync,
}

impl Replica {
    /// Connects at once. `position`: what is known already.
    pub fn new(manners: Manners, position: Option<Position>) -> Replica {
        Replica {
            manners,
            phase: Phase::Opening,
            actions: VecDeque::from([Action::Connect]),
            line: Vec::new(),
            applied: position.as_ref().map(|position| position.offset),
            position,
            promotion: None,
            earlier: None,
            untaken: false,
            flushed: None,
            asked: None,
            now_ms: 0,
            linked_ms: 0,
            silent_ms: None,
            refusal: None,
            told_ms: 0,
            last_io_ms: None,
            sync_read: 0,
            sync_total: -1,
            largest_unit: REPLICATED_UNIT,
        }
    }

    /// The primary is a replica of ours that is to become one.
    pub fn promote(&mut self) {
        self.promotion = Some(Promotion::Asks);
    }

    /// The settings have changed. What has been told of us stays so until the next connection.
    pub fn set_manners(&mut self, manners: Manners) {
        self.manners = manners;
    }

    pub fn connected(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        if !matches!(self.phase, Phase::Opening) {
            return;
        }
        (self.linked_ms, self.silent_ms) = (now_ms, Some(now_ms));
        self.phase = Phase::Handshake(VecDeque::from([Question::Ping]));
        self.send(command(&[b"PING"]));
    }

    /// The connection could not be opened, or has ended.
    pub fn disconnected(&mut self, _why: &str, now_ms: u64) {
        self.now_ms = now_ms;
        self.lose_link();
    }

    pub fn received(&mut self, mut bytes: &[u8], now_ms: u64) {
        self.now_ms = now_ms;
        if matches!(self.phase, Phase::Waiting { .. } | Phase::Opening) {
            return;
        }
        self.silent_ms = Some(now_ms);
        self.last_io_ms = Some(now_ms);
        while !bytes.is_empty() {
            let taken = match &self.phase {
                Phase::Waiting { .. } | Phase::Opening => return,
                Phase::Handshake(_) | Phase::Announced(_) => self.take_line(bytes),
                Phase::Snapshot(..) => Ok(self.take_snapshot(bytes)),
                Phase::Stream(_) => self.take_stream(bytes),
            };
            match taken {
                Ok(taken) => bytes = &bytes[taken..],
                Err(why) => self.hang_up(why),
            }
        }
    }

    /// Call a few times a second.
    pub fn tick(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        if let Phase::Waiting { until_ms } = self.phase {
            if now_ms >= until_ms {
                self.phase = Phase::Opening;
                self.actions.push_back(Action::Connect);
            }
            return;
        }
        if self.is_behind() {
            // Whoever cannot follow need not read: the silence may be our own.
            self.silent_ms = Some(now_ms);
        }
        let silent_ms = *self.silent_ms.get_or_insert(now_ms);
        if now_ms.saturating_sub(silent_ms) > self.manners.timeout_ms {
            return self.hang_up(format!("silent for more than {} ms", self.manners.timeout_ms));
        }
        let speaks = matches!(self.phase, Phase::Snapshot(..) | Phase::Stream(_));
        if speaks && now_ms.saturating_sub(self.told_ms) >= TELL_MS {
            self.tell();
        }
    }

    /// The stream has been applied up to here, which is what the primary is told. After `EndFull` the first call means that
    /// the snapshot is in, and lets the first acknowledgement leave.
    pub fn applied(&mut self, offset: u64) {
        let Some(position) = &self.position else { return };
        let is_first = self.applied.is_none();
        if std::mem::take(&mut self.untaken) {
            self.earlier = None;
        }
        self.applied = Some(offset.min(position.offset));
        if !matches!(self.phase, Phase::Stream(_)) {
            return;
        }
        if is_first {
            self.refusal = None;
            self.tell();
        } else {
            self.answer();
        }
    }

    /// Up to where the stream is on the disk, for those who wait for that; `None`: it is not kept there.
    pub fn flushed(&mut self, offset: Option<u64>) {
        self.flushed = offset;
    }

    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    pub fn link(&self) -> Link {
        match self.phase {
            Phase::Waiting { .. } => Link::Connect,
            Phase::Opening | Phase::Handshake(_) => Link::Connecting,
            Phase::Stream(_) if self.applied.is_some() => Link::Connected,
            Phase::Announced(_) | Phase::Snapshot(..) | Phase::Stream(_) => Link::Sync,
        }
    }

    /// The end of what was given out of the stream; `None` if there is no state it could follow.
    pub fn position(&self) -> Option<&Position> {
        self.position.as_ref()
    }

    pub fn last_io_ms(&self) -> Option<u64> {
        self.last_io_ms
    }

    /// Bytes that have come of the latest snapshot.
    pub fn sync_read(&self) -> u64 {
        self.sync_read
    }

    /// Its size; -1 if that was not told.
    pub fn sync_total(&self) -> i64 {
        self.sync_total
    }

    /// What [`Replica::refuse`] was told.
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// What the primary sent cannot be used here, and whatever else it has sent goes.
    pub fn refuse(&mut self, why: String) {
        self.actions.clear();
        self.give_up(why);
    }

    /// What was known before the snapshot that is coming in is worth nothing.
    pub fn forget(&mut self) {
        self.earlier = None;
    }

    /// Whether all of a snapshot has come that has not been taken in.
    pub fn has_snapshot(&self) -> bool {
        self.untaken
    }

    /// The snapshot that began last will not be taken in, nor what has come behind it; what was known before holds. The link
    /// has to have ended.
    pub fn decline_snapshot(&mut self) {
        let is_of_it =
            |action: &Action| matches!(action, Action::Snapshot(_) | Action::EndFull | Action::Stream(_));
        self.actions.retain(|action| !is_of_it(action));
        if std::mem::take(&mut self.untaken) {
            self.position = self.earlier.take();
        }
    }

    /// To go on from where we are would bring the same again, and so may a snapshot: one is asked for, and not before
    /// the timeout has passed.
    fn give_up(&mut self, why: String) {
        self.lose_link();
        self.phase = Phase::Waiting { until_ms: self.now_ms.saturating_add(self.manners.timeout_ms) };
        (self.position, self.earlier, self.untaken, self.refusal) = (None, None, false, Some(why.clone()));
        self.actions.push_back(Action::Disconnect { why });
    }

    /// Whether something received is yet to be applied.
    fn is_behind(&self) -> bool {
        let end = self.position.as_ref().map(|position| position.offset);
        matches!(self.phase, Phase::Stream(_)) && self.applied < end
    }

    fn send(&mut self, bytes: Vec<u8>) {
        self.actions.push_back(Action::Send(bytes));
    }

    fn hang_up(&mut self, why: String) {
        self.lose_link();
        self.actions.push_back(Action::Disconnect { why });
    }

    /// What has not been sent yet must not reach the next connection. The rest holds: it is part of the position.
    fn lose_link(&mut self) {
        if matches!(self.phase, Phase::Waiting { .. }) {
            return;
        }
        self.actions.retain(|action| !matches!(action, Action::Send(_) | Action::Connect));
        if let (Phase::Handshake(questions), Some(promotion)) = (&self.phase, &mut self.promotion)
            && matches!(questions.front(), Some(Question::Psync))
        {
            *promotion = Promotion::AsksAgain;
        }
        if let Phase::Snapshot(..) = self.phase {
            self.position = self.earlier.take();
        }
        // One that has held is missed at once: meanwhile the primary's backlog runs on.
        let held = matches!(self.phase, Phase::Stream(_)) && self.now_ms >= self.linked_ms + RETRY_MS;
        let pause_ms = if held { 0 } else { RETRY_MS };
        self.phase = Phase::Waiting { until_ms: self.now_ms.saturating_add(pause_ms) };
        self.line = Vec::new();
        self.asked = None;
        self.silent_ms = None;
    }

    /// A sign of life: the offset, once there is one; a newline until then.
    fn tell(&mut self) {
        self.told_ms = self.now_ms;
        match self.applied {
            Some(offset) if matches!(self.phase, Phase::Stream(_)) => {
                let (applied, flushed) = (offset.to_string(), self.flushed.map(|offset| offset.to_string()));
                let mut words = vec![&b"REPLCONF"[..], b"ACK", applied.as_bytes()];
                words.extend(flushed.iter().flat_map(|flushed| [&b"FACK"[..], flushed.as_bytes()]));
                self.send(command(&words));
                self.answered(offset);
            }
            _ => self.send(b"\n".to_vec()),
        }
    }

    /// Acknowledges if that has been asked for and all before the question is applied: the primary wants to know of what it
    /// wrote before, and would learn of it a second later otherwise.
    fn answer(&mut self) {
        if let (Some((first, _)), Some(applied)) = (self.asked, self.applied)
            && applied >= first
        {
            self.tell();
        }
    }

    fn answered(&mut self, offset: u64) {
        self.asked =
            self.asked.filter(|(_, last)| *last > offset).map(|(first, last)| (first.max(offset + 1), last));
    }

    /// Takes one line, or its beginning. Empty ones keep the connection alive.
    fn take_line(&mut self, bytes: &[u8]) -> Result<usize, String> {
        let end = memchr::memchr(b'\n', bytes);
        let part = &bytes[..end.unwrap_or(bytes.len())];
        if self.line.len() + part.len() > PRIMARY_LINE {
            return Err("an answer without an end".to_owned());
        }
        self.line.extend_from_slice(part);
        let Some(end) = end else { return Ok(bytes.len()) };
        let line = std::mem::take(&mut self.line);
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        if line.is_empty() {
            return Ok(end + 1);
        }
        let question = match &mut self.phase {
            Phase::Handshake(questions) => questions.pop_front(),
            _ => None,
        };
        match question {
            Some(question) => self.take_answer(question, line)?,
            None => self.begin_snapshot(line)?,
        }
        Ok(end + 1)
    }

    fn take_answer(&mut self, question: Question, line: &[u8]) -> Result<(), String> {
        let is_ok = line.starts_with(b"+");
        match question {
            Question::Ping => {
                let refusals: [&[u8]; 3] = [b"-NOAUTH", b"-NOPERM", b"-ERR operation not permitted"];
                if !is_ok && !refusals.iter().any(|text| line.starts_with(text)) {
                    return Err(format!("PING was answered by {}", quote(line)));
                }
                self.introduce();
            }
            Question::Auth if is_ok => {}
            Question::Auth => return Err(format!("AUTH was answered by {}", quote(line))),
            Question::Tell if is_ok || line.starts_with(b"-") => {}
            Question::Tell => return Err(format!("REPLCONF was answered by {}", quote(line))),
            Question::Psync => return self.take_verdict(line),
        }
        if matches!(&self.phase, Phase::Handshake(questions) if questions.is_empty()) {
            self.ask();
        }
        Ok(())
    }

    /// Who we are, all at once.
    fn introduce(&mut self) {
        let mut questions = VecDeque::new();
        let mut bytes = Vec::new();
        let Manners { user, password, listening_port, announce_ip, .. } = &self.manners;
        if !password.is_empty() {
            let mut words: Vec<&[u8]> = vec![b"AUTH", user.as_bytes(), password.as_bytes()];
            words.retain(|word| !word.is_empty());
            bytes.extend(command(&words));
            questions.push_back(Question::Auth);
        }
        let port = listening_port.to_string();
        bytes.extend(command(&[b"REPLCONF", b"listening-port", port.as_bytes()]));
        questions.push_back(Question::Tell);
        if let Some(ip) = announce_ip {
            bytes.extend(command(&[b"REPLCONF", b"ip-address", ip.as_bytes()]));
            questions.push_back(Question::Tell);
        }
        bytes.extend(command(&[b"REPLCONF", b"capa", b"eof", b"capa", b"psync2"]));
        questions.push_back(Question::Tell);
        self.phase = Phase::Handshake(questions);
        self.send(bytes);
    }

    fn ask(&mut self) {
        let bytes = match &self.position {
            Some(Position { replid, offset }) => {
                let next = (offset + 1).to_string();
                let mut words = vec![&b"PSYNC"[..], replid.as_bytes(), next.as_bytes()];
                if matches!(self.promotion, Some(Promotion::Asks | Promotion::AsksAgain)) {
                    words.push(b"FAILOVER");
                }
                command(&words)
            }
            None => command(&[b"PSYNC", b"?", b"-1"]),
        };
        self.phase = Phase::Handshake(VecDeque::from([Question::Psync]));
        self.send(bytes);
    }

    /// What the primary makes of PSYNC.
    fn take_verdict(&mut self, line: &[u8]) -> Result<(), String> {
        if let Some(position) = line.strip_prefix(b"+FULLRESYNC ") {
            let position = read_position(position)
                .ok_or_else(|| format!("no position that could be followed: {}", quote(line)))?;
            self.promotion = None;
            self.phase = Phase::Announced(position);
            return Ok(());
        }
        let Some(name) = line.strip_prefix(b"+CONTINUE") else {
            return self.take_refusal(format!("PSYNC was answered by {}", quote(line)));
        };
        let name = match name.strip_prefix(b" ") {
            Some(name) => Some(read_id(name).ok_or_else(|| format!("no replication ID: {}", quote(line)))?),
            None if name.is_empty() => None,
            None => return Err(format!("PSYNC was answered by {}", quote(line))),
        };
        let Some(position) = &mut self.position else {
            return Err("the primary continues what it was not asked for".to_owned());
        };
        let replid = name.filter(|name| *name != position.replid);
        if let Some(replid) = &replid {
            position.replid.clone_from(replid);
        }
        self.promotion = None;
        self.phase = Phase::Stream(Scanner::of_stream(position.offset, refuse_replicated));
        self.actions.push_back(Action::Continue { replid });
        if self.applied.is_some() {
            self.tell();
        }
        Ok(())
    }

    /// Neither goes the stream on, nor begins it anew.
    fn take_refusal(&mut self, why: String) -> Result<(), String> {
        match self.promotion {
            Some(Promotion::AsksAgain) => {
                self.promotion = Some(Promotion::Doubts);
                self.ask();
                return Ok(());
            }
            Some(_) => self.actions.push_back(Action::Declined { why: why.clone() }),
            None => {}
        }
        Err(why)
    }

    /// `$<length>`, or `$EOF:<mark>`.
    fn begin_snapshot(&mut self, line: &[u8]) -> Result<(), String> {
        let Phase::Announced(position) = &self.phase else { return Ok(()) };
        let mark = line.strip_prefix(b"$EOF:").filter(|mark| mark.len() == ID);
        let size = line.strip_prefix(b"$").and_then(read_number);
        let rest = match (mark, size) {
            (Some(mark), _) => Rest::until(mark),
            (None, Some(size)) => Rest::Bytes(size),
            (None, None) => return Err(format!("{} instead of a snapshot", quote(line))),
        };
        let position = position.clone();
        let known = self.position.take();
        if !std::mem::take(&mut self.untaken) {
            self.earlier = known;
        }
        self.applied = None;
        (self.sync_read, self.sync_total) = (0, size.map_or(-1, |size| size as i64));
        self.told_ms = self.now_ms;
        self.phase = Phase::Snapshot(position.clone(), rest);
        self.actions.push_back(Action::BeginFull { position, size });
        if size == Some(0) {
            self.end_snapshot();
        }
        Ok(())
    }

    fn take_snapshot(&mut self, bytes: &[u8]) -> usize {
        let Phase::Snapshot(_, rest) = &mut self.phase else { return bytes.len() };
        let (chunk, taken, is_end) = match rest {
            Rest::Bytes(left) => {
                let taken = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= taken as u64;
                (bytes[..taken].to_vec(), taken, *left == 0)
            }
            Rest::Mark { finder, held } => take_until(finder, held, bytes),
        };
        self.sync_read += chunk.len() as u64;
        if !chunk.is_empty() {
            self.actions.push_back(Action::Snapshot(chunk));
        }
        if is_end {
            self.end_snapshot();
        }
        taken
    }

    fn end_snapshot(&mut self) {
        let Phase::Snapshot(position, _) = &self.phase else { return };
        let (position, scanner) = (position.clone(), Scanner::of_stream(position.offset, refuse_replicated));
        self.position = Some(position);
        self.untaken = true;
        self.phase = Phase::Stream(scanner);
        self.actions.push_back(Action::EndFull);
    }

    fn take_stream(&mut self, bytes: &[u8]) -> Result<usize, String> {
        let (Phase::Stream(scanner), Some(position)) = (&mut self.phase, &mut self.position) else {
            return Ok(bytes.len());
        };
        let mut out = Vec::new();
        let scanned = scanner.scan(bytes, &mut out);
        let start = position.offset;
        position.offset = scanner.good();
        let (held, is_refused) = (scanner.held(), scanner.is_refused());
        if !out.is_empty() {
            self.note_questions(&out, start);
            self.actions.push_back(Action::Stream(out));
            self.answer();
        }
        match scanned {
            Ok(()) => {}
            Err(refusal) if is_refused => {
                self.give_up(refusal.to_string());
                return Ok(bytes.len());
            }
            Err(damage) => return Err(format!("the stream is damaged: {damage}")),
        }
        if held > self.largest_unit {
            return Err(format!("a command or transaction of more than {} bytes", self.largest_unit));
        }
        Ok(bytes.len())
    }

    fn note_questions(&mut self, out: &[u8], start: u64) {
        let Some(first) = memmem::find(out, GETACK) else { return };
        let last = memmem::rfind(out, GETACK).unwrap_or(first);
        let behind = |question: usize| start + (question + GETACK.len()) as u64;
        let (first, last) = (behind(first), behind(last));
        self.asked = Some((self.asked.map_or(first, |(first, _)| first), last));
    }
}

/// What precedes the mark in what was held and has come now, how much of the latter is taken, and whether the mark came.
///
/// The mark is random, so that it is found nowhere else. The reference server looks for it at the end of what it has received, as
/// primaries send no more until they are told that the snapshot has arrived; we need not rely on that.
fn take_until(finder: &memmem::Finder<'_>, held: &mut Vec<u8>, bytes: &[u8]) -> (Vec<u8>, usize, bool) {
    let before = held.len();
    let mut chunk = std::mem::take(held);
    chunk.extend_from_slice(bytes);
    if let Some(at) = finder.find(&chunk) {
        // The mark was not whole before: it ends in what has come now.
        chunk.truncate(at);
        return (chunk, at + ID - before, true);
    }
    *held = chunk.split_off(chunk.len().saturating_sub(ID - 1));
    (chunk, bytes.len(), false)
}

/// A command as the protocol writes it.
fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

fn quote(line: &[u8]) -> String {
    line[..line.len().min(QUOTED)].escape_ascii().to_string()
}

/// A stream that began further on would soon be beyond what INFO and its peers can count.
const MOST_OFFSET: u64 = i64::MAX as u64 / 2;

fn read_position(text: &[u8]) -> Option<Position> {
    let (id, offset) = text.split_at_checked(ID)?;
    let offset = read_number(offset.strip_prefix(b" ")?).filter(|offset| *offset <= MOST_OFFSET)?;
    Some(Position { replid: read_id(id)?, offset })
}

fn read_id(text: &[u8]) -> Option<String> {
    let is_id = text.len() == ID && text.iter().all(u8::is_ascii_alphanumeric);
    String::from_utf8(text.to_vec()).ok().filter(|_| is_id)
}

/// Digits only. Offsets and sizes count within an `i64`, so that adding to them overflows nothing.
fn read_number(digits: &[u8]) -> Option<u64> {
    let number: i64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    u64::try_from(number).ok().filter(|_| digits.iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
#[path = "replica_tests.rs"]
mod tests;
