//! Servers to reach: redis-server processes on free ports, certificates, and a cluster of three.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use tempfile::TempDir;
use torc_loadgen::{
    clock::Clock,
    link::{Address, Client, Dialer, Role, Target, value::Value},
};

/// How long a server may take to get ready.
const DEADLINE_NS: u64 = 15_000_000_000;

/// A redis-server in a directory of its own, ended with this value.
pub struct Server {
    child: Child,
    pub dir: TempDir,
    pub port: u16,
}

impl Server {
    /// Starts one on a free port and waits until it accepts connections. `options` come after `--port`.
    pub fn start(options: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().expect("a directory"), options)
    }

    pub fn start_in(dir: TempDir, options: &[&str]) -> Self {
        let port = free_port();
        let mut child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--save", "", "--appendonly", "no", "--bind", "127.0.0.1"])
            .args(options)
            .current_dir(dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("redis-server is installed (tests/install)");
        let mut log = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        while !line.contains("eady to accept connections") {
            line.clear();
            let read = log.read_line(&mut line).expect("its log");
            assert!(read > 0, "redis-server {options:?} ended at once");
        }
        // Whoever reads the rest keeps the pipe from filling up.
        thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { child, dir, port }
    }

    pub fn address(&self) -> Address {
        at(self.port)
    }

    pub fn target(&self) -> Target {
        Target::plain(self.address())
    }

    pub fn client(&self) -> Client {
        Dialer::new(&self.target())
            .and_then(|dialer| dialer.client(&self.address(), Role::Primary))
            .expect("up")
    }

    pub fn call(&self, line: &str) -> Value {
        // `""` stands for an empty word.
        let words: Vec<&str> = line.split(' ').map(|word| if word == "\"\"" { "" } else { word }).collect();
        self.client().call(&words).unwrap_or_else(|fault| panic!("{line}: {fault}"))
    }

    /// A number from INFO; of a command, as in `cmdstat_get`, how often it was called.
    pub fn info(&self, field: &str) -> u64 {
        let info = self.call("INFO everything");
        let mut lines = info.text().expect("text").lines();
        let text = lines.find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap_or("0").trim();
        let number =
            text.strip_prefix("calls=").map_or(text, |rest| rest.split(',').next().unwrap_or_default());
        number.parse().unwrap_or_else(|_| panic!("{field}:{text}"))
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

pub fn at(port: u16) -> Address {
    Address::Tcp { host: "127.0.0.1".into(), port }
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}

/// Waits until `holds`, for as long as a server may take.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let clock = Clock::start();
    while !holds() {
        assert!(clock.ns() < DEADLINE_NS, "waited too long: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// An authority, and certificates it signed for the server at 127.0.0.1 and for a client.
pub struct Certificates {
    pub ca: PathBuf,
    pub server: (PathBuf, PathBuf),
    pub client: (PathBuf, PathBuf),
}

impl Certificates {
    pub fn make(dir: &Path) -> Self {
        let path = |name: &str| dir.join(name);
        openssl(
            dir,
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.crt",
        );
        fs::write(path("server.ext"), "subjectAltName=IP:127.0.0.1,DNS:db.example\n").expect("written");
        fs::write(path("client.ext"), "extendedKeyUsage=clientAuth\n").expect("written");
        for name in ["server", "client"] {
            openssl(
                dir,
                &format!(
                    "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
                ),
            );
            openssl(
                dir,
                &format!(
                    "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile {name}.ext -out {name}.crt"
                ),
            );
        }
        Self {
            ca: path("ca.crt"),
            server: (path("server.crt"), path("server.key")),
            client: (path("client.crt"), path("client.key")),
        }
    }
}

fn openssl(dir: &Path, line: &str) {
    let out = Command::new("openssl")
        .args(line.split(' '))
        .current_dir(dir)
        .output()
        .expect("openssl is installed");
    assert!(out.status.success(), "openssl {line}: {}", String::from_utf8_lossy(&out.stderr));
}

/// Three primaries that share the slots in thirds, and on demand a replica of the first.
pub struct Cluster {
    pub nodes: Vec<Server>,
}

impl Cluster {
    pub fn start(nodes: usize) -> Self {
        let start = |_| {
            let bus = free_port().to_string();
            // A replica shall sync at once, without waiting for more of them.
            Server::start(&[
                "--cluster-node-timeout",
                "2000",
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                &bus,
                "--repl-diskless-sync-delay",
                "0",
            ])
        };
        let cluster = Self { nodes: (0..nodes).map(start).collect() };
        let thirds = [(0, 5460), (5461, 10922), (10923, 16383)];
        for (index, (node, (first, last))) in cluster.nodes.iter().zip(thirds).enumerate() {
            node.call(&format!("CLUSTER ADDSLOTSRANGE {first} {last}"));
            node.call(&format!("CLUSTER SET-CONFIG-EPOCH {}", index + 1));
        }
        let first = &cluster.nodes[0];
        for node in &cluster.nodes[1..] {
            let bus = node.call("CONFIG GET cluster-port");
            let bus = bus.field("cluster-port").and_then(Value::text).expect("a port").to_owned();
            first.call(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", node.port));
        }
        for node in &cluster.nodes {
            until("the cluster is whole", || {
                let info = node.call("CLUSTER INFO");
                let info = info.text().expect("text").to_owned();
                info.contains("cluster_state:ok") && info.contains(&format!("cluster_known_nodes:{nodes}"))
            });
        }
        cluster
    }

    /// Makes the node three behind the `primary`-th its replica.
    pub fn attach_replica(&self, primary: usize) {
        let (first, replica) = (&self.nodes[0], &self.nodes[primary + 3]);
        let primary = &self.nodes[primary];
        replica.call(&format!("CLUSTER REPLICATE {}", id(primary)));
        until("the replica has its data and is known", || {
            replica.info("master_sync_in_progress") == 0
                && replica.call("ROLE").list().and_then(|role| role[3].text()) == Some("connected")
                && first
                    .client()
                    .slots()
                    .expect("a map")
                    .shards()
                    .iter()
                    .any(|shard| shard.primary == primary.address() && shard.replicas == [replica.address()])
        });
    }

    pub fn target(&self) -> Target {
        Target { cluster: true, ..self.nodes[0].target() }
    }
}

pub fn id(node: &Server) -> String {
    node.call("CLUSTER MYID").text().expect("an id").to_owned()
}
