//! A command tape fed to one core without sockets: `tape UNCOUNTED COUNTED`. Run it under
//! `valgrind --tool=callgrind --toggle-collect='*tape::serve_counted'` to count the instructions of the second file
//! alone: what a core does from the bytes it received to the bytes it will send.
//!
//! A file is a row of pieces, each its length (32 bits, little-endian) and its bytes; a piece is received at once.
//! Prints how many bytes the counted pieces were answered with.

#[path = "../benches/micro/one_core.rs"]
mod one_core;

use torc_server::session::Machine;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let files: Vec<Vec<u8>> = std::env::args_os()
        .skip(1)
        .map(|path| std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        .collect();
    let [uncounted, counted] = &files[..] else { panic!("usage: tape UNCOUNTED COUNTED") };
    let (mut machine, session) = one_core::core(0, 1);
    for piece in pieces(uncounted) {
        one_core::turn(&mut machine, session, piece);
    }
    let answered: usize = pieces(counted).map(|piece| serve_counted(&mut machine, session, piece)).sum();
    println!("{answered}");
}

/// As `one_core::turn`, under a name to count by.
#[inline(never)]
fn serve_counted(machine: &mut Machine, session: usize, piece: &[u8]) -> usize {
    one_core::turn(machine, session, piece)
}

fn pieces(mut file: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = file.split_first_chunk()?;
        let (piece, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        file = rest;
        Some(piece)
    })
}
