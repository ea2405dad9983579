//! The servers: where each is found, how it is started on given CPUs, and that it ends when its guard is dropped,
//! whatever happens. Only processes started here are ever signalled, by pid.

use std::{
    fs::File,
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, atomic::AtomicBool},
    thread,
    time::Duration,
};

use clap::ValueEnum;
use rustix::process::{Pid, Signal, kill_process};
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;
use torc_loadgen::clock::Clock;

use crate::{
    Common,
    client::{self, Info},
    measure::until,
};

/// The workspace this program was built from; its release binaries and `tests/.deps` are looked for there.
pub const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Kind {
    Torc,
    /// Torc with `spin-us 0`: never polls before it sleeps. Only where that matters.
    TorcNoSpin,
    Redis,
    Valkey,
    Kevy,
    /// Torc's network path with fixed replies: what no server on these sockets can beat.
    Echo,
}

impl Kind {
    pub const ALL: [Self; 6] =
        [Self::Torc, Self::TorcNoSpin, Self::Redis, Self::Valkey, Self::Kevy, Self::Echo];

    /// Those that keep data.
    pub const STORES: [Self; 4] = [Self::Torc, Self::Redis, Self::Valkey, Self::Kevy];

    /// Those that speak the whole protocol: Torc and who it is measured by.
    pub const PEERS: [Self; 3] = [Self::Torc, Self::Redis, Self::Valkey];

    /// Those whose better one is the bar.
    pub const BAR: [Self; 2] = [Self::Redis, Self::Valkey];

    pub fn label(self) -> &'static str {
        match self {
            Self::Torc => "Torc",
            Self::TorcNoSpin => "Torc, spin-us 0",
            Self::Redis => "Redis",
            Self::Valkey => "Valkey",
            Self::Kevy => "kevy",
            Self::Echo => "echo floor",
        }
    }

    fn find(self, options: &Common) -> Option<PathBuf> {
        let paths = &options.paths;
        let (given, usual) = match self {
            Self::Torc | Self::TorcNoSpin => (&paths.torc, release("torc-server")),
            Self::Echo => (&paths.echo, release("examples/echo")),
            Self::Redis => (&paths.redis, vec![Path::new(WORKSPACE).join("tests/.deps/redis-server-8")]),
            Self::Valkey => (&paths.valkey, vec![Path::new(WORKSPACE).join("tests/.deps/valkey-server")]),
            Self::Kevy => (
                &paths.kevy,
                std::env::home_dir().map(|home| home.join(".cargo/bin/kevy")).into_iter().collect(),
            ),
        };
        // A path that was given is believed: that it does not work is then reported, not worked around.
        given.clone().or_else(|| usual.into_iter().find(|path| path.is_file()))
    }

    fn where_from(self) -> &'static str {
        match self {
            Self::Torc | Self::TorcNoSpin => "cargo build --release -p torc-server, or --torc PATH",
            Self::Redis => "./tests/run unpacks it to tests/.deps/redis-server-8, or --redis PATH",
            Self::Valkey => "./tests/run unpacks it to tests/.deps/valkey-server, or --valkey PATH",
            Self::Kevy => "cargo install kevy --version 3.17.3 --locked, or --kevy PATH",
            Self::Echo => "cargo build --release -p torc-server --example echo, or --echo PATH",
        }
    }

    fn optional(self) -> bool {
        matches!(self, Self::Kevy | Self::Echo)
    }

    /// Arguments for one server that keeps nothing on disk, but for what the setup says.
    fn arguments(self, setup: &Setup, port: u16, dir: &str) -> Vec<String> {
        let port = port.to_string();
        let threads = setup.shards.to_string();
        let cpu = setup.cpus[0].to_string();
        let in_memory = ["--port", &port, "--save", "", "--appendonly", "no", "--dir", dir];
        let own: &[&str] = match self {
            Self::Torc if setup.defaults => &[],
            Self::Torc => &["--shards", &threads],
            Self::TorcNoSpin => &["--shards", &threads, "--spin-us", "0"],
            Self::Redis | Self::Valkey => &["--io-threads", &threads],
            Self::Kevy => &["--port", &port, "--threads", &threads, "--no-aof", "--dir", dir],
            Self::Echo => &["--port", &port, "--cpu", &cpu],
        };
        let common: &[&str] = if matches!(self, Self::Kevy | Self::Echo) { &[] } else { &in_memory };
        common.iter().chain(own).chain(&setup.arguments).map(|&word| word.to_owned()).collect()
    }
}

/// Where a release binary of this workspace may be: beside this program's own target directory, where
/// CARGO_TARGET_DIR points, in the workspace.
pub fn release(name: &str) -> Vec<PathBuf> {
    let own = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.parent()?.to_owned()));
    let named = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let usual = Path::new(WORKSPACE).join("target");
    own.into_iter().chain(named).chain([usual]).map(|target| target.join("release").join(name)).collect()
}

/// A server that takes part.
pub struct Contender {
    pub kind: Kind,
    binary: PathBuf,
    /// First line of `--version`, shortened to the version where the form is known.
    pub version: String,
}

/// Finds those of `kinds` that the options ask for. Without a list the optional ones may be missing, the others may not.
pub fn find_all(options: &Common, kinds: &[Kind]) -> Result<Vec<Contender>, String> {
    if let Some(stranger) = options.servers.iter().find(|kind| !kinds.contains(kind)) {
        return Err(format!("{} takes no part in this", stranger.label()));
    }
    let mut found = Vec::new();
    for &kind in kinds {
        let asked = options.servers.contains(&kind);
        if !options.servers.is_empty() && !asked {
            continue;
        }
        let binary = kind.find(options);
        let missing = || format!("{} is missing: {}", kind.label(), kind.where_from());
        match binary {
            Some(binary) if binary.is_file() => {
                let version = version(kind, &binary);
                eprintln!("{}: {} ({version})", kind.label(), binary.display());
                found.push(Contender { kind, binary, version });
            }
            Some(binary) => return Err(format!("{} is no file; {}", binary.display(), missing())),
            None if kind.optional() && !asked => eprintln!("left out: {}", missing()),
            None => return Err(missing()),
        }
    }
    Ok(found)
}

fn version(kind: Kind, binary: &Path) -> String {
    if kind == Kind::Echo {
        return "this build".into();
    }
    let output = Command::new(binary).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let line = text.lines().next().unwrap_or("unknown");
    let word = line.split_whitespace().find_map(|word| word.strip_prefix("v="));
    word.or_else(|| line.split_whitespace().nth(1)).unwrap_or(line).to_owned()
}

/// How a server is started.
#[derive(Clone)]
pub struct Setup {
    /// CPUs it may run on.
    pub cpus: Vec<usize>,
    /// Cores' worth of shards (Torc), threads (kevy) or I/O threads (Redis, Valkey).
    pub shards: usize,
    /// Torc with its default number of shards.
    pub defaults: bool,
    /// Directives, as of the reference server's command line; they win over those that keep everything in memory.
    pub arguments: Vec<&'static str>,
    /// A program and its arguments that the server is run by.
    pub under: Vec<String>,
    /// Where it keeps its data [default: a directory of its own].
    pub dir: Option<Arc<TempDir>>,
    /// How long it may take until it answers.
    pub patience: Duration,
}

impl Setup {
    /// One shard for each of `cpus`, nothing kept on disk.
    pub fn on(cpus: &[usize]) -> Self {
        Self {
            cpus: cpus.to_vec(),
            shards: cpus.len(),
            defaults: false,
            arguments: Vec::new(),
            under: Vec::new(),
            dir: None,
            patience: START_LIMIT,
        }
    }
}

/// A running server; dropping it ends the process.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// Working directory and output of the server; goes with the last that uses it.
    dir: Arc<TempDir>,
    /// From the start of the process to its first answer, ns.
    pub started_in: u64,
}

/// What a server prints, in its directory.
const OUTPUT: &str = "output";
const START_LIMIT: Duration = Duration::from_secs(20);
const STOP_LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);
/// How often a starting server is asked: what loading takes is measured so.
const START_POLL: Duration = Duration::from_millis(5);
/// Longest wait for the answer to a command that is not a load's. SAVE of a gigabyte takes seconds.
const PATIENCE: Duration = Duration::from_secs(120);
/// Ports are used in turn, so that a server never meets its predecessor's closing sockets.
const PORTS: u16 = 64;

impl Server {
    /// Starts `contender`; returns once it answers. `turn` picks the port.
    pub fn start(
        contender: &Contender,
        setup: &Setup,
        first_port: u16,
        turn: u16,
        stop: &AtomicBool,
    ) -> Result<Self, String> {
        let dir = match &setup.dir {
            Some(dir) => Arc::clone(dir),
            None => Arc::new(TempDir::new().map_err(|error| format!("temporary directory: {error}"))?),
        };
        let log_path = dir.path().join(OUTPUT);
        let log = File::create(&log_path).map_err(|error| format!("{}: {error}", log_path.display()))?;
        let log_too = log.try_clone().map_err(|error| error.to_string())?;
        let port = free_port(first_port, turn)?;
        let cpus: Vec<String> = setup.cpus.iter().map(usize::to_string).collect();
        let clock = Clock::start();
        // setpriv: should this program be killed outright, the kernel ends the server with it. A process group of its
        // own keeps the terminal's Ctrl-C from it; the guard ends it then.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "taskset", "-c", &cpus.join(",")])
            .args(&setup.under)
            .arg(&contender.binary)
            .args(contender.kind.arguments(setup, port, &dir.path().to_string_lossy()))
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(log_too)
            .process_group(0)
            .spawn()
            .map_err(|error| format!("setpriv (package util-linux): {error}"))?;
        let mut server = Self { child, address: ([127, 0, 0, 1], port).into(), dir, started_in: 0 };
        server.await_answer(setup.patience, stop).map_err(|problem| {
            format!("{} {problem}; its output:\n{}", contender.kind.label(), server.output())
        })?;
        server.started_in = clock.ns();
        Ok(server)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    pub fn output(&self) -> String {
        std::fs::read_to_string(self.dir.path().join(OUTPUT)).unwrap_or_default()
    }

    /// The reply to one command as it came in; error replies are errors.
    pub fn ask(&self, words: &[&str]) -> Result<String, String> {
        let reply = client::ask(self.address, words, PATIENCE)
            .map_err(|error| format!("{}: {error}", words.join(" ")))?;
        if reply.starts_with('-') { Err(format!("{}: {}", words.join(" "), reply.trim())) } else { Ok(reply) }
    }

    pub fn info(&self, section: &str) -> Result<Info, String> {
        self.ask(&["INFO", section]).map(Info)
    }

    /// The longest that `command` has taken by the server's own clock, µs: the upper end of the highest bucket
    /// in LATENCY HISTOGRAM.
    pub fn worst_command_us(&self, command: &str) -> Result<f64, String> {
        let reply = self.ask(&["LATENCY", "HISTOGRAM", command])?;
        highest_bucket(&reply).ok_or_else(|| format!("LATENCY HISTOGRAM is not understood: {reply}"))
    }

    fn await_answer(&mut self, patience: Duration, stop: &AtomicBool) -> Result<(), String> {
        let answered = until(patience, START_POLL, stop, || match self.child.try_wait() {
            Ok(Some(status)) => Err(format!("ended at once ({status})")),
            _ => Ok(ping(self.address).ok()),
        })?;
        answered.ok_or_else(|| format!("did not answer within {} s", patience.as_secs()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error here means that it has ended already; waiting then collects it.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        for _ in 0..STOP_LIMIT.as_millis() / POLL.as_millis() {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(POLL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The next port in turn that nothing uses. The standard library's listener would take one with connections in
/// TIME_WAIT too (SO_REUSEADDR), which not every server dares.
fn free_port(first: u16, turn: u16) -> Result<u16, String> {
    let vacant = |port: &u16| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None);
        socket.and_then(|socket| socket.bind(&SocketAddr::from(([0, 0, 0, 0], *port)).into())).is_ok()
    };
    let mut ports = (0..PORTS).map(|step| first + (turn + step) % PORTS);
    ports.find(vacant).ok_or_else(|| format!("ports {first} to {} are all taken: --port", first + PORTS - 1))
}

/// One PING answered with anything but that data is still being loaded: the echo server answers in its own way.
fn ping(address: SocketAddr) -> std::io::Result<()> {
    let reply = client::ask(address, &["PING"], Duration::from_secs(1))?;
    if reply.starts_with("-LOADING") { Err(std::io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
}

/// The last bucket of a LATENCY HISTOGRAM reply: pairs of a bucket's end in µs and a count, the last integers of it.
fn highest_bucket(reply: &str) -> Option<f64> {
    let mut integers = reply.lines().rev().filter_map(|line| line.strip_prefix(':')).skip(1);
    integers.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_bucket_of_a_latency_histogram_is_found() {
        let reply = "*2\r\n$3\r\nset\r\n*4\r\n$5\r\ncalls\r\n:9\r\n$14\r\nhistogram_usec\r\n*4\r\n:1\r\n:7\r\n:33\r\n:9\r\n";
        assert_eq!(highest_bucket(reply), Some(33.0));
        assert_eq!(highest_bucket("*0\r\n"), None);
    }
}
