//! The live reference servers: Debian's redis-server answers for the protocol up to 7.0, Valkey for what came later.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::Server;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// redis-server 7.0 from the distribution.
    Redis,
    /// Valkey 9, for commands and options that 7.0 does not have.
    Valkey,
    /// Redis 8, whose files and payloads Torc reads.
    Redis8,
}

impl Peer {
    /// The peer's executable: `tests/run` installs both; `TORC_REDIS`, `TORC_VALKEY` and `TORC_REDIS8` name others.
    pub fn program(self) -> PathBuf {
        let (variable, installed, name) = match self {
            Peer::Redis => ("TORC_REDIS", None, "redis-server"),
            Peer::Valkey => ("TORC_VALKEY", Some(dependencies().join("valkey-server")), "valkey-server"),
            Peer::Redis8 => ("TORC_REDIS8", Some(dependencies().join("redis-server-8")), "redis-server-8"),
        };
        if let Some(given) = std::env::var_os(variable) {
            return given.into();
        }
        match installed {
            Some(path) if path.exists() => path,
            _ => on_path(name).unwrap_or_else(|| panic!("{name} is missing: tests/install gets it")),
        }
    }

    pub fn start(self, options: &[&str]) -> Server {
        Server::start(&format!("{self:?}"), &self.program(), |port, _| arguments(port, options))
    }

    /// First line of `--version`, for the report of a run.
    pub fn version(self) -> String {
        let output = Command::new(self.program()).arg("--version").output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
    }
}

/// A peer's command line: no files written, DEBUG allowed, and nothing that differs from its defaults otherwise.
pub fn arguments(port: u16, options: &[&str]) -> Vec<OsString> {
    let port = port.to_string();
    let mut arguments: Vec<OsString> =
        ["--port", &port, "--bind", "127.0.0.1", "--enable-debug-command", "yes", "--save", ""]
            .map(Into::into)
            .into();
    arguments.extend(options.iter().map(Into::into));
    arguments
}

/// Where `tests/install` puts what is not part of the machine.
pub fn dependencies() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".deps")
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.exists())
}
