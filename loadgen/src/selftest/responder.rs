//! A server that does nothing: it answers every RESP request at once, from a thread of its own that never sleeps, so
//! that what is measured against it is the client.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use rustix::event::{
    Timespec,
    epoll::{self, CreateFlags, Event, EventData, EventFlags},
};

use crate::{clock::Clock, engine::pin};

/// The event of the listener; connections have their index.
const LISTENER: u64 = u64::MAX;

/// A value of as many bytes as redis-benchmark's default traffic here asks for.
const VALUE: &[u8] = b"$16\r\nxxxxxxxxxxxxxxxx\r\n";

pub struct Responder {
    pub address: SocketAddr,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<u64>>>,
}

impl Responder {
    /// Serves on a free port of the loopback, on `cpu` if there is one to spare.
    pub fn start(cpu: Option<usize>, clock: Clock) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let thread = thread::spawn(move || {
            if let Some(cpu) = cpu {
                // Where it may not be pinned it runs wherever it runs.
                let _ = pin(&[cpu]);
            }
            serve(&listener, clock, &told).unwrap_or_default()
        });
        Ok(Self { address, over, thread: Some(thread) })
    }

    /// Ends it, and returns when each GET came.
    pub fn end(mut self) -> Vec<u64> {
        self.over.store(true, Ordering::Relaxed);
        self.thread
            .take()
            .map_or_else(Vec::new, |thread| thread.join().expect("the responder does not panic"))
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Arrivals that are stamped at most: a bound on memory, far above what a distribution is judged by.
const STAMPS: usize = 1 << 16;

fn serve(listener: &TcpListener, clock: Clock, over: &AtomicBool) -> io::Result<Vec<u64>> {
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut peers: Vec<Option<Peer>> = Vec::new();
    let mut events: Vec<Event> = Vec::with_capacity(256);
    let mut buffer = vec![0; 64 * 1024];
    let mut stamps = Vec::with_capacity(STAMPS);
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    while !over.load(Ordering::Relaxed) {
        epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), Some(&at_once))?;
        for event in events.drain(..) {
            if event.data.u64() == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    let both = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
                    epoll::add(&epoll, &stream, EventData::new_u64(peers.len() as u64), both)?;
                    peers.push(Some(Peer { stream, input: Vec::new(), output: Vec::new() }));
                }
                continue;
            }
            let place = &mut peers[event.data.u64() as usize];
            let Some(peer) = place else { continue };
            match peer.converse(&mut buffer) {
                Ok(gets) => {
                    let now = if gets > 0 && stamps.len() < STAMPS { clock.ns() } else { 0 };
                    let room = STAMPS - stamps.len();
                    stamps.extend(std::iter::repeat_n(now, gets.min(room)));
                }
                Err(_) => *place = None,
            }
        }
    }
    Ok(stamps)
}

struct Peer {
    stream: TcpStream,
    /// The beginning of a request whose end has not arrived.
    input: Vec<u8>,
    /// Replies that the kernel has not taken.
    output: Vec<u8>,
}

impl Peer {
    /// Reads what there is and answers it; how many GETs that were.
    fn converse(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut gets = 0;
        loop {
            let len = match self.stream.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            gets += self.answer(&buffer[..len])?;
            if len < buffer.len() {
                break;
            }
        }
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(taken) => drop(self.output.drain(..taken)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(gets)
    }

    fn answer(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let whole;
        let mut rest = bytes;
        if !self.input.is_empty() {
            self.input.extend_from_slice(bytes);
            whole = std::mem::take(&mut self.input);
            rest = &whole;
        }
        let mut gets = 0;
        while let Some((name, after)) = request(rest)? {
            let reply: &[u8] = match name {
                b"GET" => {
                    gets += 1;
                    VALUE
                }
                b"PING" => b"+PONG\r\n",
                _ => b"+OK\r\n",
            };
            self.output.extend_from_slice(reply);
            rest = after;
        }
        self.input = rest.to_vec();
        Ok(gets)
    }
}

/// The name of the first request in `bytes` and what stands after the request, once it is there as a whole.
fn request(bytes: &[u8]) -> io::Result<Option<(&[u8], &[u8])>> {
    let Some((count, mut rest)) = header(bytes, b'*')? else { return Ok(None) };
    let mut name: &[u8] = b"";
    for word in 0..count {
        let Some((len, body)) = header(rest, b'$')? else { return Ok(None) };
        let Some(after) = body.get(len + 2..) else { return Ok(None) };
        if word == 0 {
            name = &body[..len];
        }
        rest = after;
    }
    Ok(Some((name, rest)))
}

/// The number in a header line of type `kind`, and what stands behind the line.
fn header(bytes: &[u8], kind: u8) -> io::Result<Option<(usize, &[u8])>> {
    let malformed = || io::Error::from(ErrorKind::InvalidData);
    let Some((&first, digits)) = bytes.split_first() else { return Ok(None) };
    if first != kind {
        return Err(malformed());
    }
    let mut number = 0_usize;
    for (index, &byte) in digits.iter().enumerate() {
        match byte {
            b'0'..=b'9' if index < 9 => number = number * 10 + usize::from(byte - b'0'),
            b'\r' => return Ok(digits.get(index + 2..).map(|rest| (number, rest))),
            _ => return Err(malformed()),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart_wherever_they_are_cut() {
        let stream = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*1\r\n$4\r\nPING\r\n";
        let (name, rest) = request(stream).expect("well-formed").expect("whole");
        assert_eq!(name, b"GET");
        assert_eq!(request(rest).expect("well-formed"), Some((b"PING".as_slice(), b"".as_slice())));
        for cut in 0..stream.len() - rest.len() {
            assert_eq!(request(&stream[..cut]).expect("the beginning of a request"), None, "cut at {cut}");
        }
        assert!(request(b"GET k\r\n").is_err());
    }
}
