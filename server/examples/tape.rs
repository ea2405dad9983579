//! A command tape fed to one core without sockets: `tape [--logged] UNCOUNTED COUNTED`. Run it under
//! `valgrind --tool=callgrind --toggle-collect='*tape::serve_counted'` to count the instructions of the second file
//! alone: what a core does from the bytes it received to the bytes it will send; with `--logged` also what becomes of
//! its effects, here and on the log core, until they stand in the stream for the file.
//!
//! A file is a row of pieces, each its length (32 bits, little-endian) and its bytes; a piece is received at once.
//! Prints how many bytes the counted pieces were answered with.

#[path = "../benches/micro/one_core.rs"]
mod one_core;

use torc_server::log::Merger;
use torc_server::session::Machine;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let mut words: Vec<_> = std::env::args_os().skip(1).collect();
    let logged = words.first().is_some_and(|word| word == "--logged");
    let files: Vec<Vec<u8>> = words
        .drain(usize::from(logged)..)
        .map(|path| std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        .collect();
    let [uncounted, counted] = &files[..] else { panic!("usage: tape [--logged] UNCOUNTED COUNTED") };
    let (machine, session) = one_core::core(0, 1);
    let mut server = Server { machine, session, log: logged.then(Log::new) };
    if logged {
        server.machine.shard.data.outbox.open();
    }
    for piece in pieces(uncounted) {
        server.turn(piece);
    }
    let answered: usize = pieces(counted).map(|piece| serve_counted(&mut server, piece)).sum();
    println!("{answered}");
}

/// A name to count by.
#[inline(never)]
fn serve_counted(server: &mut Server, piece: &[u8]) -> usize {
    server.turn(piece)
}

struct Server {
    machine: Machine,
    session: usize,
    log: Option<Log>,
}

impl Server {
    fn turn(&mut self, piece: &[u8]) -> usize {
        let answered = one_core::turn(&mut self.machine, self.session, piece);
        if let Some(log) = &mut self.log {
            log.take(&mut self.machine);
        }
        answered
    }
}

/// What the log core has for the effects of one shard.
struct Log {
    merger: Merger,
    stream: Vec<u8>,
    /// What waits to be written.
    waiting: Vec<u8>,
}

/// Bytes after which what waits counts as written.
const BATCH: usize = 64 << 10;

impl Log {
    fn new() -> Self {
        Log { merger: Merger::new(1, 0), stream: Vec::new(), waiting: Vec::new() }
    }

    fn take(&mut self, machine: &mut Machine) {
        let Some(effects) = machine.shard.data.outbox.drain(Vec::new()) else { return };
        self.merger.push(0, effects);
        self.stream.clear();
        self.merger.merge(&mut self.stream, &mut |_| {});
        self.waiting.extend_from_slice(&self.stream);
        if self.waiting.len() > BATCH {
            self.waiting.clear();
        }
    }
}

fn pieces(mut file: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = file.split_first_chunk()?;
        let (piece, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        file = rest;
        Some(piece)
    })
}
