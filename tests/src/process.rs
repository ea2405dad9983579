//! A server process of a test: started on a free port, awaited by PING, ended by its id when the test is over.

use std::ffi::OsString;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::client::Client;
use crate::clock;
use crate::reply::Reply;

/// How long a server may take until it answers its first PING.
const START: Duration = Duration::from_secs(15);

/// Lines of a server's log that a failing test shows.
const LAST_WORDS: usize = 30;

pub struct Server {
    child: Child,
    pub port: u16,
    pub name: String,
    dir: TempDir,
    password: Option<String>,
}

/// Connections that must all be served before a server counts as started: each core learns for itself that loading is over.
const FIRST_CONNECTIONS: usize = 8;

/// Whether every core of the server serves; before it knows the password a client is not told of loading.
pub fn serves(port: u16, password: Option<&str>) -> bool {
    (0..FIRST_CONNECTIONS).all(|_| {
        let Ok(mut client) = Client::connect(port) else { return false };
        if let Some(password) = password {
            client.line(&format!("AUTH {password}"));
        }
        match client.line("PING") {
            Reply::Simple(_) => true,
            Reply::Error(line) => !line.starts_with(b"LOADING"),
            _ => false,
        }
    })
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let probe = TcpListener::bind(("127.0.0.1", 0)).expect("the loopback interface has a free port");
    probe.local_addr().expect("a bound socket has an address").port()
}

impl Server {
    /// Starts `program` with `arguments(port)`, in a directory of its own. A port lost to another program between
    /// choosing and binding is the one failure worth a second try.
    pub fn start(name: &str, program: &Path, arguments: impl Fn(u16, &Path) -> Vec<OsString>) -> Server {
        let mut tried = String::new();
        for _ in 0..3 {
            let mut server = Server::spawn(name, program, &arguments);
            if server.answers() {
                return server;
            }
            tried = server.log();
        }
        panic!("{name} ({}) does not answer; its log:\n{tried}", program.display());
    }

    /// Starts `program` without waiting for anything: for tests of a start that fails.
    pub fn spawn(name: &str, program: &Path, arguments: &impl Fn(u16, &Path) -> Vec<OsString>) -> Server {
        let dir = TempDir::with_prefix("torc-test-").expect("a temporary directory");
        let port = free_port();
        let log = File::create(dir.path().join("log")).expect("a log file");
        let arguments = arguments(port, dir.path());
        let password = arguments.iter().skip_while(|word| *word != "--requirepass").nth(1);
        let password = password.map(|word| word.to_string_lossy().into_owned());
        let child = Command::new(program)
            .args(arguments)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        Server { child, port, name: name.to_owned(), dir, password }
    }

    /// Waits until the server answers PING, or has ended.
    fn answers(&mut self) -> bool {
        let (port, password) = (self.port, self.password.as_deref());
        let answered = clock::poll(START, || {
            if self.child.try_wait().expect("the child is ours").is_some() {
                return Some(false);
            }
            serves(port, password).then_some(true)
        });
        answered == Some(true)
    }

    pub fn client(&self) -> Client {
        Client::connect(self.port).unwrap_or_else(|error| panic!("{}: {error}\n{}", self.name, self.log()))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn dir(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// What the server printed so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub fn alive(&mut self) -> bool {
        self.child.try_wait().expect("the child is ours").is_none()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.id(), signal).expect("the child is ours to signal");
    }

    /// The exit status, if the server ends within `limit`.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        clock::poll(limit, || self.child.try_wait().expect("the child is ours"))
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
        let kilobytes = line.split_whitespace().nth(1).and_then(|number| number.parse::<usize>().ok());
        kilobytes.unwrap_or(0) * 1024
    }

    /// CPU time the process used so far, in seconds.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        // Fields 14 and 15 (user, system), counted behind the parenthesis that ends the name, in 1/100 s.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
        (ticks(11) + ticks(12)) / 100.0
    }

    fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!(
                "{} said last:\n{}",
                self.name,
                lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n")
            );
        }
        // Already ended is as good as ended now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
