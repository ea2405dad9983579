//! The sockets of one core: events come out, sends go in, one system call per turn.
//!
//! It never knows what the bytes mean. A turn submits what the last one queued, waits as told, and
//! hands out what completed. Each connection has at most one receive and one send in the kernel's
//! hands; both must have come back before its number is free again ([`Event::Released`]).
//!
//! Waiting happens here for sockets and mail alike, in this order, each step only if the one before
//! brought nothing: submit, perhaps wait briefly for company, and look; perhaps spin on memory; announce
//! the sleep, look at the mail once more, sleep in the ring. `pace.rs` decides both perhapses. Other cores end the sleep with a message into this ring, threads
//! without a ring through an eventfd that this ring reads (see `bell.rs`).

use super::{
    Bell, Fault, Listener,
    buffers::{self, Buffers},
    clock,
    files::{FileDone, FileOp, Files},
    pace::{Gather, Pace},
    preflight,
    ring::Ring,
    sockets::{GENERATION_MASK, Sockets},
};
use io_uring::{cqueue, opcode, squeue::Flags, types};
use std::{
    fs::File,
    mem,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    rc::Rc,
    time::Duration,
};

pub use super::sockets::ConnId;

/// How to build a [`Net`].
#[derive(Clone, Debug)]
pub struct NetOptions {
    /// Longest spin before a sleep in microseconds; 0 = never. See `pace.rs` for when it spins.
    pub spin_us: u64,
    /// Submission entries of the ring, a power of two; completions have four times the room.
    pub entries: u32,
    /// Receive buffers that all connections share, a power of two.
    pub buffers: u16,
    /// Bytes of one receive buffer.
    pub buffer_size: usize,
}

impl Default for NetOptions {
    fn default() -> Self {
        NetOptions { spin_us: 0, entries: 1024, buffers: 128, buffer_size: 16 * 1024 }
    }
}

/// How long a turn may wait when nothing is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all: there is other work to do.
    Poll,
    /// Spin if that pays, then sleep until something happens, at most this many milliseconds.
    AtMost(u64),
    /// As above, without an end.
    Forever,
}

/// What happened. Borrowed bytes are valid until the next event is asked for.
#[derive(Debug)]
pub enum Event<'a> {
    /// A client connected. Whoever should serve it calls [`Net::adopt`], on this core or another.
    Accepted { listener: usize, socket: OwnedFd },
    /// Accepting paused for [`ACCEPT_PAUSE_MS`] because the machine is out of something (most often
    /// file descriptors; `error` is the code). Connections that exist are served meanwhile.
    AcceptPaused { listener: usize, error: i32 },
    /// Bytes arrived.
    Received { conn: ConnId, bytes: &'a [u8] },
    /// What [`Net::send`] took has left whole; the buffer comes back as it was, for reuse.
    Sent { conn: ConnId, buf: Vec<u8> },
    /// The peer sends no more. It may still read: answer what it asked, then [`Net::close`].
    Ended { conn: ConnId },
    /// The connection broke (`error` is the code): nothing can be sent. Call [`Net::close`].
    Failed { conn: ConnId, error: i32 },
    /// A closed connection is gone from the kernel as well; its number may be used again.
    Released { conn: ConnId },
    /// A detached connection is gone from the kernel's hands and its number may be used again; here is its socket.
    Detached { conn: ConnId, socket: OwnedFd },
    /// A write or a flush has ended.
    File(FileDone),
}

/// The mail of a core as its `Net` must see it to sleep safely.
pub trait Inbox {
    /// Whether messages wait to be received.
    fn has_mail(&self) -> bool;
    /// Whether messages wait to be sent because a neighbour's ring is full. Such a core does not sleep
    /// longer than a millisecond: the neighbour does not tell when there is room.
    fn is_backlogged(&self) -> bool;
}

/// No mail: for a core that is alone.
impl Inbox for () {
    fn has_mail(&self) -> bool {
        false
    }

    fn is_backlogged(&self) -> bool {
        false
    }
}

/// What a `Net` has done so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// System calls made to submit or wait.
    pub enters: u64,
    /// Those of them that slept.
    pub sleeps: u64,
    /// Those of them that waited for company.
    pub gathers: u64,
    /// Spins begun, and those that ended with work.
    pub spins: u64,
    pub spin_hits: u64,
    /// Sleeping cores woken.
    pub wakes: u64,
}

/// How long accepting pauses when it fails for want of resources.
pub const ACCEPT_PAUSE_MS: u64 = 100;

/// The kernel reads it when the pause is submitted, hence static.
static ACCEPT_PAUSE: types::Timespec = types::Timespec::new().nsec(ACCEPT_PAUSE_MS as u32 * 1_000_000);

/// Bytes of one send operation. The kernel copies a ready operation in one go, on this core; bounding
/// it lets other connections in between the pieces of a 100 MiB reply.
const SEND_PIECE: usize = 512 * 1024;

/// Longest sleep of a core that could not deliver all its mail.
const BACKLOG_NAP: Duration = Duration::from_millis(1);

/// Turns of the spin loop between two looks at the clock (which costs as much as a few dozen turns).
const SPINS_PER_LOOK: usize = 32;

/// What a completion is about; travels in the top byte of `user_data`, above generation and number.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Accept = 1,
    AcceptPause = 2,
    Receive = 3,
    Send = 4,
    /// A neighbour's message, or the answer to a cancellation: it came, that is all.
    Nothing = 5,
    /// The eventfd of our own bell.
    Rung = 6,
    /// A message to the neighbour of that number failed.
    WakeFailed = 7,
    /// A write to a file, or a flush.
    File = 8,
}

impl Done {
    #[inline]
    fn new(entry: &cqueue::Entry) -> Self {
        let (tag, flags) = (entry.user_data(), entry.flags());
        Done {
            kind: (tag >> 56) as u8,
            generation: (tag >> 32) as u32 & GENERATION_MASK,
            number: tag as u32,
            result: entry.result(),
            more: cqueue::more(flags),
            buffer: cqueue::buffer_select(flags),
        }
    }
}

/// `kind:8 | generation:24 | number:32`
fn tag(kind: Kind, generation: u32, number: u32) -> u64 {
    (kind as u64) << 56 | u64::from(generation & GENERATION_MASK) << 32 | u64::from(number)
}

/// A completion taken apart.
#[derive(Clone, Copy)]
struct Done {
    kind: u8,
    generation: u32,
    number: u32,
    result: i32,
    more: bool,
    buffer: Option<u16>,
}

/// An event before its bytes are borrowed.
enum Happened {
    Event(Event<'static>),
    Received { conn: ConnId, buffer: u16, len: usize },
}

/// A listener is dropped, and its port free, once the kernel has let go of it.
struct Listening {
    listener: Option<Listener>,
    stopping: bool,
}

/// The sockets of the core that built it.
pub struct Net {
    ring: Ring,
    /// After `ring`: the kernel writes into them.
    buffers: Buffers,
    sockets: Sockets,
    /// After `ring` too: the kernel reads from their bytes.
    files: Files,
    listeners: Vec<Listening>,
    bell: Bell,
    /// The kernel reads the eventfd into it. Boxed: the `Net` may move meanwhile.
    rung: Box<u64>,
    /// The bells of the cores we woke so far, by core.
    neighbours: Vec<Option<Bell>>,
    /// Closed connections not yet reported.
    released: Vec<ConnId>,
    /// Detached ones not yet reported.
    detached: Vec<(ConnId, OwnedFd)>,
    /// The buffer behind the last event.
    lent: Option<u16>,
    /// Completions that this turn still hands out.
    due: usize,
    pace: Pace,
    /// The pace's window in which mail was last counted.
    mail_mark: u32,
    stats: Stats,
}

impl Net {
    /// A ring for the calling thread, which must be the one that uses it. `bell` is that core's own.
    pub fn new(options: NetOptions, bell: Bell) -> Result<Self, Fault> {
        let ring = Ring::new(options.entries).map_err(|error| preflight::ring_fault(&error))?;
        let buffers = Buffers::new(&ring, options.buffers, options.buffer_size)
            .map_err(|error| Fault::io("cannot register receive buffers with io_uring", &error))?;
        bell.set_ring(Some(ring.as_raw_fd()));
        let mut net = Net {
            ring,
            buffers,
            sockets: Sockets::default(),
            files: Files::default(),
            listeners: Vec::new(),
            bell,
            rung: Box::new(0),
            neighbours: Vec::new(),
            released: Vec::new(),
            detached: Vec::new(),
            lent: None,
            due: 0,
            pace: Pace::new(options.spin_us),
            mail_mark: 0,
            stats: Stats::default(),
        };
        net.read_bell();
        Ok(net)
    }

    /// Connections in the kernel's hands, those being closed included.
    pub fn connections(&self) -> usize {
        self.sockets.len()
    }

    pub fn stats(&self) -> Stats {
        Stats { enters: self.ring.enters, ..self.stats }
    }

    /// Submits, waits as told, then hands every event to `on_event`; returns how many there were.
    /// Events are those present when the wait ended, so one turn is bounded.
    pub fn turn(&mut self, wait: Wait, inbox: &impl Inbox, mut on_event: impl FnMut(Event<'_>)) -> usize {
        self.gather(wait, inbox);
        let mut events = 0;
        while let Some(event) = self.next_event() {
            on_event(event);
            events += 1;
        }
        events
    }

    /// The first half of a turn: submits and waits. [`Net::next_event`] then hands out what came.
    pub fn gather(&mut self, wait: Wait, inbox: &impl Inbox) {
        self.take_back();
        self.submit(wait);
        self.due = self.ring.ready();
        if inbox.has_mail() {
            self.pace.count(&mut self.mail_mark);
        } else if self.due == 0 && self.has_none_to_report() && wait != Wait::Poll {
            self.wait(wait, inbox);
            self.due = self.ring.ready();
        }
        self.pace.begin_turn(clock::monotonic_us());
    }

    /// Up to so many connections will be silent until replies that are held back have left: nobody is to wait for them.
    pub fn set_waiting(&mut self, connections: usize) {
        self.pace.set_waiting(connections);
    }

    fn has_none_to_report(&self) -> bool {
        self.released.is_empty() && self.detached.is_empty()
    }

    /// Has the kernel's workers for this ring's files run on any of these CPUs, not where the calling thread is pinned.
    pub fn spread_workers(&self, cpus: &[usize]) {
        self.ring.spread_workers(cpus);
    }

    /// Submits what is queued, before this thread does something that takes its time.
    pub fn submit_queued(&mut self) {
        self.take_back();
        self.submit(Wait::Poll);
    }

    /// Submits what is queued, and waits for company if that pays. The sleep is not announced: it is shorter than
    /// waking us would be worth, so mail waits as well, and gathers too.
    fn submit(&mut self, wait: Wait) {
        let gather = match wait {
            Wait::Poll => None,
            Wait::AtMost(_) | Wait::Forever => self.pace.gather(clock::monotonic_us()),
        };
        if let Some(Gather { more, for_us }) = gather {
            self.stats.gathers += 1;
            self.ring.submit_and_gather(more, Duration::from_micros(for_us));
        } else if self.ring.has_submissions() || self.ring.has_deferred() {
            self.ring.submit();
        }
    }

    /// Nothing is ready: spins if that pays, then sleeps.
    fn wait(&mut self, wait: Wait, inbox: &impl Inbox) {
        if !inbox.is_backlogged() && self.spin(inbox) {
            return;
        }
        self.bell.announce_sleep();
        if !inbox.has_mail() {
            self.stats.sleeps += 1;
            let patience = match wait {
                _ if inbox.is_backlogged() => Some(BACKLOG_NAP),
                Wait::AtMost(ms) => Some(Duration::from_millis(ms)),
                Wait::Poll | Wait::Forever => None,
            };
            self.ring.sleep(patience);
        }
        self.bell.announce_awake();
    }

    /// Whether work came while spinning.
    fn spin(&mut self, inbox: &impl Inbox) -> bool {
        let start = clock::monotonic_us();
        let budget = self.pace.spin_us(start);
        if budget == 0 {
            return false;
        }
        self.stats.spins += 1;
        loop {
            for _ in 0..SPINS_PER_LOOK {
                if self.ring.has_deferred() {
                    self.ring.submit();
                    // Deferred work may turn out to be nothing for us (a stale cancellation).
                    if self.ring.ready() > 0 {
                        self.stats.spin_hits += 1;
                        self.pace.hit();
                        return true;
                    }
                }
                if inbox.has_mail() {
                    self.stats.spin_hits += 1;
                    self.pace.hit();
                    return true;
                }
                std::hint::spin_loop();
            }
            if clock::monotonic_us() - start >= budget {
                self.pace.miss();
                return false;
            }
        }
    }

    /// The next event of this turn. Asking for it ends the loan of the bytes of the one before.
    #[inline]
    pub fn next_event(&mut self) -> Option<Event<'_>> {
        self.take_back();
        let happened = loop {
            if let Some(conn) = self.released.pop() {
                break Happened::Event(Event::Released { conn });
            }
            if let Some((conn, socket)) = self.detached.pop() {
                break Happened::Event(Event::Detached { conn, socket });
            }
            if self.due == 0 {
                return None;
            }
            self.due -= 1;
            let done = Done::new(&self.ring.pop()?);
            if let Some(happened) = self.complete(done) {
                break happened;
            }
        };
        Some(match happened {
            Happened::Event(event) => event,
            Happened::Received { conn, buffer, len } => {
                self.lent = Some(buffer);
                Event::Received { conn, bytes: self.buffers.bytes(buffer, len) }
            }
        })
    }

    /// Ends the loan of the last event's bytes.
    #[inline]
    fn take_back(&mut self) {
        if let Some(buffer) = self.lent.take() {
            self.buffers.give_back(buffer);
        }
    }

    #[inline]
    fn complete(&mut self, done: Done) -> Option<Happened> {
        const RECEIVE: u8 = Kind::Receive as u8;
        const SEND: u8 = Kind::Send as u8;
        const ACCEPT: u8 = Kind::Accept as u8;
        const ACCEPT_PAUSE: u8 = Kind::AcceptPause as u8;
        const RUNG: u8 = Kind::Rung as u8;
        const WAKE_FAILED: u8 = Kind::WakeFailed as u8;
        const FILE: u8 = Kind::File as u8;
        match done.kind {
            RECEIVE => self.received(done),
            SEND => self.sent(done).map(Happened::Event),
            ACCEPT => self.accepted(done).map(Happened::Event),
            FILE => self.file_done(done).map(Happened::Event),
            ACCEPT_PAUSE => {
                self.accept(done.number as usize);
                None
            }
            RUNG => {
                self.read_bell();
                None
            }
            WAKE_FAILED => {
                let bell = self.neighbours.get(done.number as usize).and_then(Option::as_ref);
                bell.inspect(|bell| bell.ring());
                None
            }
            _ => None,
        }
    }
}

// ---- connections ----

impl Net {
    /// Takes in a connection under number `conn`, which no live connection has (see
    /// [`Event::Released`]); its bytes arrive from the next turn on.
    pub fn adopt(&mut self, socket: OwnedFd, conn: ConnId) {
        self.sockets.insert(conn, socket);
        self.receive(conn);
    }

    /// Whether small pieces leave at once. Best effort: at worst they leave later.
    pub fn set_nodelay(&mut self, conn: ConnId, nodelay: bool) {
        if let Some(socket) = self.sockets.get(conn) {
            let _ = socket2::SockRef::from(&socket.fd).set_tcp_nodelay(nodelay);
        }
    }

    /// Sends `buf`, which is not empty. One send at a time: the next only after [`Event::Sent`].
    /// On a connection that failed or is being closed the buffer is dropped and nothing reported.
    pub fn send(&mut self, conn: ConnId, buf: Vec<u8>) {
        assert!(!buf.is_empty(), "nothing to send");
        let Some(socket) = self.sockets.get(conn) else { return };
        if socket.closing {
            return;
        }
        assert!(!socket.sending, "connection {conn} is still sending");
        socket.buf = buf;
        socket.sent = 0;
        self.send_piece(conn);
    }

    /// Stops reading from a connection. What the kernel already took from the socket still arrives: at
    /// most the shared buffers.
    pub fn pause(&mut self, conn: ConnId) {
        let Some(socket) = self.sockets.get(conn) else { return };
        if mem::replace(&mut socket.paused, true) || !socket.receiving {
            return;
        }
        let target = tag(Kind::Receive, socket.generation, conn);
        self.cancel(target);
    }

    /// Reads again after [`Net::pause`]. If the cancellation is still under way, the receive is armed
    /// again when it ends.
    pub fn resume(&mut self, conn: ConnId) {
        let Some(socket) = self.sockets.get(conn) else { return };
        socket.paused = false;
        if !socket.receiving && socket.wants_input() {
            self.receive(conn);
        }
    }

    /// Ends a connection now: nothing more is reported of it but [`Event::Released`]. What was sent
    /// whole still reaches the peer; a send in flight is cut off.
    pub fn close(&mut self, conn: ConnId) {
        let Some(socket) = self.sockets.get(conn) else { return };
        if mem::replace(&mut socket.closing, true) {
            return;
        }
        if socket.is_quiet() {
            self.release(conn);
            return;
        }
        let (receive, send) =
            (tag(Kind::Receive, socket.generation, conn), tag(Kind::Send, socket.generation, conn));
        // SAFETY: shutdown takes no pointers and the descriptor is open.
        if unsafe { libc::shutdown(socket.fd.as_raw_fd(), libc::SHUT_RDWR) } != 0 {
            // Not connected any more: the kernel ends the operations by itself, or on our word.
            self.cancel(receive);
            self.cancel(send);
        }
    }

    /// Takes a connection out: nothing more is reported of it but [`Event::Detached`]. Everything must have been
    /// sent; what arrives from here on, before somebody else reads the socket, may be lost.
    pub fn detach(&mut self, conn: ConnId) {
        let Some(socket) = self.sockets.get(conn) else { return };
        assert!(!socket.sending, "connection {conn} is still sending");
        if mem::replace(&mut socket.closing, true) {
            return;
        }
        socket.detaching = true;
        if socket.is_quiet() {
            self.release(conn);
            return;
        }
        let target = tag(Kind::Receive, socket.generation, conn);
        self.cancel(target);
    }

    /// Forgets a connection that is quiet; the descriptor closes here, unless it is detached.
    fn release(&mut self, conn: ConnId) {
        match self.sockets.remove(conn) {
            Some(socket) if socket.detaching => self.detached.push((conn, socket.fd)),
            Some(_) => self.released.push(conn),
            None => {}
        }
    }

    #[inline]
    fn release_if_done(&mut self, conn: ConnId) {
        if self.sockets.get(conn).is_some_and(|socket| socket.closing && socket.is_quiet()) {
            self.release(conn);
        }
    }

    fn cancel(&mut self, target: u64) {
        let entry = opcode::AsyncCancel::new(target).build();
        // SAFETY: the entry points to nothing.
        unsafe { self.ring.push(entry.flags(Flags::SKIP_SUCCESS).user_data(tag(Kind::Nothing, 0, 0))) };
    }

    /// Arms the multishot receive of a connection.
    fn receive(&mut self, conn: ConnId) {
        let Some(socket) = self.sockets.get(conn) else { return };
        socket.receiving = true;
        let (fd, tag) = (types::Fd(socket.fd.as_raw_fd()), tag(Kind::Receive, socket.generation, conn));
        let entry = opcode::RecvMulti::new(fd, buffers::GROUP).build().user_data(tag);
        // SAFETY: the entry points to nothing: the kernel picks one of the shared buffers, which live
        // as long as the ring. The descriptor stays open until the last completion.
        unsafe { self.ring.push(entry) };
    }

    fn received(&mut self, done: Done) -> Option<Happened> {
        let conn = done.number;
        let Some(socket) = self.sockets.find(conn, done.generation) else {
            self.drop_buffer(done.buffer);
            return None;
        };
        socket.receiving &= done.more;
        let failure = match -done.result {
            // Out of buffers, or stopped (by us, by a full completion queue): read on if still wanted.
            libc::ENOBUFS | libc::ECANCELED | libc::EINTR | libc::EAGAIN => None,
            error if error > 0 => Some(error),
            _ => None,
        };
        socket.ended |= done.result == 0 || failure.is_some();
        let (closing, idle) = (socket.closing, !socket.receiving && socket.wants_input());
        if let (true, false, Some(buffer)) = (done.result > 0, closing, done.buffer) {
            self.pace.count(&mut socket.mark);
            if idle {
                self.receive(conn);
            }
            return Some(Happened::Received { conn, buffer, len: done.result as usize });
        }
        self.drop_buffer(done.buffer);
        if closing {
            self.release_if_done(conn);
            return None;
        }
        if idle {
            self.receive(conn);
        }
        match failure {
            Some(error) => Some(Happened::Event(Event::Failed { conn, error })),
            None => (done.result == 0).then_some(Happened::Event(Event::Ended { conn })),
        }
    }

    fn drop_buffer(&mut self, buffer: Option<u16>) {
        if let Some(buffer) = buffer {
            self.buffers.give_back(buffer);
        }
    }

    /// Hands the next piece of a connection's buffer to the kernel.
    fn send_piece(&mut self, conn: ConnId) {
        let Some(socket) = self.sockets.get(conn) else { return };
        socket.sending = true;
        let rest = &socket.buf[socket.sent..];
        let piece = &rest[..rest.len().min(SEND_PIECE)];
        let (fd, tag) = (types::Fd(socket.fd.as_raw_fd()), tag(Kind::Send, socket.generation, conn));
        let entry = opcode::Send::new(fd, piece.as_ptr(), piece.len() as u32)
            .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
            .build()
            .user_data(tag);
        // SAFETY: the bytes are on the heap, owned by the socket's `buf`, which is neither touched nor
        // dropped while `sending`: `send` refuses, `sent` clears the flag first, and a socket is removed
        // only when quiet. A `Net` that is dropped drops its ring first.
        unsafe { self.ring.push(entry) };
    }

    fn sent(&mut self, done: Done) -> Option<Event<'static>> {
        let conn = done.number;
        let socket = self.sockets.find(conn, done.generation)?;
        socket.sending = false;
        if socket.closing {
            self.release_if_done(conn);
            return None;
        }
        match done.result {
            count if count > 0 => {
                socket.sent += count as usize;
                if socket.sent == socket.buf.len() {
                    return Some(Event::Sent { conn, buf: mem::take(&mut socket.buf) });
                }
                self.send_piece(conn);
                None
            }
            result if result == -libc::EINTR || result == -libc::EAGAIN => {
                self.send_piece(conn);
                None
            }
            result => {
                socket.buf = Vec::new();
                Some(Event::Failed { conn, error: -result })
            }
        }
    }
}

// ---- files ----

impl Net {
    /// Writes `bytes`, which are not empty, at `offset` of `file`. Ends with [`Event::File`].
    pub fn write(&mut self, file: &Rc<File>, bytes: Vec<u8>, offset: u64) -> FileOp {
        assert!(!bytes.is_empty(), "nothing to write");
        let op = self.files.start(file, bytes, Some(offset));
        self.push_file(op);
        op
    }

    /// Has the data of `file` put on the disk. Covers the writes that have ended before.
    pub fn flush(&mut self, file: &Rc<File>) -> FileOp {
        let op = self.files.start(file, Vec::new(), None);
        self.push_file(op);
        op
    }

    /// Writes and flushes in the kernel's hands.
    pub fn file_operations(&self) -> usize {
        self.files.in_flight()
    }

    fn push_file(&mut self, op: FileOp) {
        let entry = self.files.entry(op).user_data(tag(Kind::File, 0, op));
        // SAFETY: the bytes are on the heap, owned by the operation in `files`, which neither touches nor drops
        // them before its completion, and the file stays open with it. A `Net` that is dropped drops its ring first.
        unsafe { self.ring.push(entry) };
    }

    fn file_done(&mut self, done: Done) -> Option<Event<'static>> {
        let ended = self.files.complete(done.number, done.result);
        if ended.is_none() {
            self.push_file(done.number);
        }
        ended.map(Event::File)
    }
}

// ---- listeners and bells ----

impl Net {
    /// Accepts connections from now on; returns the number that [`Event::Accepted`] names.
    pub fn listen(&mut self, listener: Listener) -> usize {
        self.listeners.push(Listening { listener: Some(listener), stopping: false });
        let index = self.listeners.len() - 1;
        self.accept(index);
        index
    }

    /// Stops accepting. The ports are free once the kernel has answered, some turns later.
    pub fn stop_listening(&mut self) {
        for index in 0..self.listeners.len() {
            if !mem::replace(&mut self.listeners[index].stopping, true) {
                self.cancel(tag(Kind::Accept, 0, index as u32));
            }
        }
    }

    /// Listeners that the kernel still holds.
    pub fn listening(&self) -> usize {
        self.listeners.iter().filter(|listening| listening.listener.is_some()).count()
    }

    fn accept(&mut self, index: usize) {
        let listening = &mut self.listeners[index];
        if listening.stopping {
            listening.listener = None;
        }
        let Some(listener) = &listening.listener else { return };
        let entry = opcode::AcceptMulti::new(types::Fd(listener.as_raw_fd())).flags(libc::SOCK_CLOEXEC);
        // SAFETY: the entry points to nothing; the listener stays open until its last completion.
        unsafe { self.ring.push(entry.build().user_data(tag(Kind::Accept, 0, index as u32))) };
    }

    fn accepted(&mut self, done: Done) -> Option<Event<'static>> {
        let index = done.number as usize;
        if done.result >= 0 {
            // SAFETY: the kernel just made this descriptor for us and nobody else owns it.
            let socket = unsafe { OwnedFd::from_raw_fd(done.result) };
            if !done.more {
                self.accept(index);
            }
            let wanted = !self.listeners[index].stopping;
            return wanted.then_some(Event::Accepted { listener: index, socket });
        }
        if done.more {
            return None;
        }
        let error = -done.result;
        let at_once = [libc::ECONNABORTED, libc::EINTR, libc::EAGAIN, libc::EPROTO];
        if self.listeners[index].stopping || at_once.contains(&error) {
            self.accept(index);
            return None;
        }
        // EMFILE and its like: trying again at once would fail again and burn the core.
        let entry = opcode::Timeout::new(&raw const ACCEPT_PAUSE).build();
        // SAFETY: the entry points to a static.
        unsafe { self.ring.push(entry.user_data(tag(Kind::AcceptPause, 0, index as u32))) };
        Some(Event::AcceptPaused { listener: index, error })
    }

    /// Has the kernel tell when a thread without a ring rings our bell.
    fn read_bell(&mut self) {
        let target = (&raw mut *self.rung).cast::<u8>();
        let entry = opcode::Read::new(types::Fd(self.bell.eventfd()), target, 8).build();
        // SAFETY: the box outlives the ring (declared after it) and nobody reads it; the bell keeps the
        // eventfd open.
        unsafe { self.ring.push(entry.user_data(tag(Kind::Rung, 0, 0))) };
    }

    /// Wakes the sleeping core number `core`; the message leaves with the next turn.
    pub(super) fn wake(&mut self, core: usize, bell: &Bell) {
        self.stats.wakes += 1;
        let Some(ring) = bell.ring_fd() else { return bell.ring() };
        if core >= self.neighbours.len() {
            self.neighbours.resize(core + 1, None);
        }
        self.neighbours[core].get_or_insert_with(|| bell.clone());
        let entry = opcode::MsgRingData::new(types::Fd(ring), 0, tag(Kind::Nothing, 0, 0), None).build();
        let tag = tag(Kind::WakeFailed, 0, core as u32);
        // SAFETY: the entry points to nothing.
        unsafe { self.ring.push(entry.flags(Flags::SKIP_SUCCESS).user_data(tag)) };
    }
}

impl Drop for Net {
    /// Neighbours must have stopped sending, or be about to drop their ports: a message already on its
    /// way to this ring is lost with it.
    fn drop(&mut self) {
        self.bell.announce_awake();
        self.bell.set_ring(None);
    }
}
