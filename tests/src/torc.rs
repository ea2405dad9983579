//! Torc itself as a process: built if need be, started with a number of shards.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::peer;
use crate::process::Server;

/// The executable under test: `TORC_SERVER`, else the workspace's own, brought up to date first.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| std::env::var_os("TORC_SERVER").map_or_else(build, PathBuf::from))
}

/// A peer can stand in for Torc, which tests the tests: it must agree with itself.
pub fn is_stand_in() -> bool {
    !program().file_name().is_some_and(|name| name.to_string_lossy().starts_with("torc-server"))
}

/// Builds the server in the profile and target directory of the running test.
fn build() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let folder = test.ancestors().nth(2).expect("a test runs in <target>/<profile>/deps");
    let release = folder.ends_with("release");
    let target = folder.parent().expect("a profile's folder lies in the target folder");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--package", "torc-server", "--target-dir"]).arg(target);
    if release {
        cargo.arg("--release");
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace");
    let status = cargo.current_dir(workspace).status().expect("cargo runs");
    assert!(status.success(), "the server does not build");
    folder.join("torc-server")
}

/// The shard counts to test: `TORC_SHARDS` (comma separated), else one, two and more than this machine has CPUs.
pub fn shard_counts() -> Vec<usize> {
    let given = std::env::var("TORC_SHARDS").unwrap_or_else(|_| "1,2,5".to_owned());
    given.split(',').map(|count| count.trim().parse().expect("TORC_SHARDS holds numbers")).collect()
}

pub fn start(shards: usize, options: &[&str]) -> Server {
    let name = format!("torc with {shards} shards");
    Server::start(&name, program(), |port, _| arguments(port, shards, options))
}

/// The command line of a test's server. Peers standing in have no shards.
pub fn arguments(port: u16, shards: usize, options: &[&str]) -> Vec<OsString> {
    if is_stand_in() {
        return peer::arguments(port, options);
    }
    let (port, shards) = (port.to_string(), shards.to_string());
    let mut arguments: Vec<OsString> =
        ["--port", &port, "--bind", "127.0.0.1", "--enable-debug-command", "yes", "--shards", &shards]
            .map(Into::into)
            .into();
    arguments.extend(options.iter().map(Into::into));
    arguments
}
