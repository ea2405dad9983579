//! Servers over directories that outlive them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::client::Client;
use crate::process::{free_port, serves};
use crate::{clock, torc};

/// A server over a directory that outlives it.
pub struct Node {
    child: Child,
    pub port: u16,
}

impl Node {
    pub fn start(dir: &Path, shards: usize, options: &[&str]) -> Node {
        let mut command = Command::new(torc::program());
        command.current_dir(dir);
        Node::run(command, free_port(), shards, options)
    }

    /// As above, on a port that somebody knows already.
    pub fn start_at(dir: &Path, port: u16, shards: usize, options: &[&str]) -> Node {
        let mut command = Command::new(torc::program());
        command.current_dir(dir);
        Node::run(command, port, shards, options)
    }

    /// On a disk of its own, of `mib` MiB, that [`Node::disk`] shows.
    pub fn on_small_disk(dir: &Path, mib: usize, shards: usize) -> Node {
        let mut command = Command::new("unshare");
        let script = format!("mount -t tmpfs -o size={mib}m tmpfs . && cd \"$PWD\" && exec \"$@\"");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script, "sh"]);
        command.arg(torc::program()).current_dir(dir);
        Node::run(command, free_port(), shards, &[])
    }

    fn run(mut command: Command, port: u16, shards: usize, options: &[&str]) -> Node {
        let arguments: Vec<OsString> = torc::arguments(port, shards, options);
        let mut child = command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        let ready = || {
            assert!(child.try_wait().expect("the child is ours").is_none(), "the server ended at start");
            serves(port, None).then_some(())
        };
        clock::poll(Duration::from_secs(30), ready).expect("the server serves");
        Node { child, port }
    }

    /// The working directory as the server sees it.
    pub fn disk(&self) -> PathBuf {
        format!("/proc/{}/cwd", self.child.id()).into()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn client(&self) -> Client {
        Client::connect(self.port).expect("the server accepts")
    }

    /// SIGKILL: no word of farewell.
    pub fn kill(mut self) {
        self.child.kill().expect("the child is ours");
        self.child.wait().expect("the child is ours");
    }

    pub fn stop(mut self) {
        self.client().send(b"SHUTDOWN\r\n").expect("the server listens");
        let ended =
            clock::poll(Duration::from_secs(20), || self.child.try_wait().expect("the child is ours"));
        assert!(ended.expect("the server ends").success());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Already ended is as good as ended now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
