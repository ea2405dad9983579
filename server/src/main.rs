//! The server's command line.

use std::process::ExitCode;

use torc_server::{config, node};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let loaded = match config::load(std::env::args_os().skip(1)) {
        Ok(loaded) => loaded,
        Err(config::ConfigError::Asked(text)) => {
            println!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("torc-server: {error}");
            return ExitCode::FAILURE;
        }
    };
    match node::serve(loaded) {
        Ok(_) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("torc-server: {fault}");
            ExitCode::FAILURE
        }
    }
}
