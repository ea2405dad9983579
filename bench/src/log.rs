//! `torc-bench log`: what keeping data costs, and how fast it comes back. Writes with each kind of flushing and with a
//! replica (`writes`), snapshots and full syncs of a gigabyte amid work (`snapshots`), start-up (`loading`), links that
//! break and replicas that join (`links`).

mod bars;
mod links;
mod loading;
mod report;
mod snapshots;
mod writes;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use clap::{Args, ValueEnum};
use tempfile::TempDir;

use crate::{
    Common, load,
    measure::until,
    run::{self, Run, Sections},
    servers::{Contender, Kind, Server, Setup, WORKSPACE},
};

#[derive(Args, Clone)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub sections: Sections<Section>,
    /// Where the servers keep their data: a directory on a disk [default: the temporary directory or, where that is
    /// memory, /var/tmp]
    #[arg(long)]
    pub data: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Section {
    /// SET with appendfsync always
    Always,
    /// SET with appendfsync everysec
    Everysec,
    /// SET with a replica attached
    Replica,
    /// Latency and memory while snapshots of 1 GiB are written
    Bgsave,
    /// A full sync of 1 GiB
    Fullsync,
    /// Start-up with 1 GiB of RDB or AOF
    Load,
    /// A replica that was cut off amid writes
    Away,
    /// Five replicas that join amid writes
    Join,
}

/// The same for every server: no wait before a full sync, no compression (the values are all alike), no rewrite that
/// happens to fall into one server's run.
const COMMON: [&str; 6] =
    ["--repl-diskless-sync-delay", "0", "--rdbcompression", "no", "--auto-aof-rewrite-percentage", "0"];

/// A gigabyte: keys, and bytes of a value.
const GIB_KEYS: u64 = 1_000_000;
const GIB_VALUE: usize = 1000;

/// Longest wait for anything that takes the whole gigabyte.
const PATIENCE: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(10);

const MIB: f64 = (1 << 20) as f64;

struct Bench<'a, 'r> {
    run: &'a mut Run<'r>,
    /// Directory on a disk.
    data: &'a Path,
}

/// Makes every measurement the options ask for and writes the report.
pub fn run(options: &Options, stop: &AtomicBool) -> Result<(), String> {
    let data = disk(options.data.as_deref())?;
    let measure = |run: &mut Run<'_>| {
        run.repeat(&options.sections, |run, section| Bench { run, data: &data }.measure(section))
    };
    run::carry_out(&options.common, &Kind::PEERS, stop, measure, |kinds, results, ()| {
        report::report(options, kinds, results)
    })
}

impl<'r> Bench<'_, 'r> {
    fn measure(&mut self, section: Section) -> Result<(), String> {
        match section {
            Section::Always => writes::always(self),
            Section::Everysec => writes::everysec(self),
            Section::Replica => writes::replica(self),
            Section::Bgsave => snapshots::bgsave(self),
            Section::Fullsync => snapshots::fullsync(self),
            Section::Load => loading::load(self),
            Section::Away => links::away(self),
            Section::Join => links::join(self),
        }
    }

    fn turns(&self) -> Vec<&'r Contender> {
        self.run.turns(&Kind::PEERS)
    }

    /// A fresh directory on the disk.
    fn dir(&self) -> Result<Arc<TempDir>, String> {
        let dir = TempDir::with_prefix_in("torc-bench-", self.data);
        dir.map(Arc::new).map_err(|error| format!("{}: {error}", self.data.display()))
    }

    /// Starts a server on `cpus` with data in `dir`.
    fn start_in(
        &mut self,
        dir: Arc<TempDir>,
        contender: &Contender,
        cpus: &[usize],
        arguments: &[&'static str],
    ) -> Result<Server, String> {
        let arguments = [&COMMON[..], arguments].concat();
        let setup = Setup { arguments, dir: Some(dir), patience: PATIENCE, ..Setup::on(cpus) };
        self.run.start(contender, &setup)
    }

    /// An empty server on the server's CPU.
    fn primary(&mut self, contender: &Contender, arguments: &[&'static str]) -> Result<Server, String> {
        let dir = self.dir()?;
        self.start_in(dir, contender, &[self.run.options.server_cpu], arguments)
    }

    /// An empty server on the load's CPU that follows nobody yet and keeps no files.
    fn replica(&mut self, contender: &Contender) -> Result<Server, String> {
        let dir = self.dir()?;
        self.start_in(dir, contender, &[self.run.options.load_cpu], &[])
    }

    /// How long a measurement of `seconds` lasts: a quick run has no patience.
    fn lasting(&self, seconds: u64) -> Duration {
        if self.run.options.quick { Duration::from_millis(300) } else { Duration::from_secs(seconds) }
    }

    /// Fills a server with a gigabyte, or with a hundredth of it in a quick run; returns the number of keys.
    fn fill_gib(&self, server: &Server) -> Result<u64, String> {
        let keys = self.run.scaled(GIB_KEYS);
        load::fill(server, keys, GIB_VALUE, self.run.stop)?;
        Ok(keys)
    }

    /// Waits until all `replicas` have what `primary` has; false if they do not within `limit`.
    fn await_followers(
        &self,
        primary: &Server,
        replicas: &[&Server],
        limit: Duration,
    ) -> Result<bool, String> {
        let all = || Ok((in_step(primary, replicas)? == replicas.len()).then_some(()));
        Ok(until(limit, POLL, self.run.stop, all)?.is_some())
    }
}

/// Tells a server whom to follow.
fn follow(replica: &Server, primary: std::net::SocketAddr) -> Result<(), String> {
    replica.ask(&["REPLICAOF", &primary.ip().to_string(), &primary.port().to_string()]).map(drop)
}

/// How many of `replicas` have all that `primary` has, by their links, offsets and numbers of keys.
fn in_step(primary: &Server, replicas: &[&Server]) -> Result<usize, String> {
    let offset = primary.info("replication")?.number("master_repl_offset");
    let keys = primary.ask(&["DBSIZE"])?;
    let mut count = 0;
    for replica in replicas {
        let own = replica.info("replication")?;
        let up = own.field("master_link_status") == Some("up");
        // Asked only then: while it loads it refuses to say.
        if up && own.number("slave_repl_offset") == offset && replica.ask(&["DBSIZE"])? == keys {
            count += 1;
        }
    }
    Ok(count)
}

/// The directory that was asked for, or the first usual one, provided that it is on a disk.
fn disk(asked: Option<&Path>) -> Result<PathBuf, String> {
    let usual = [std::env::temp_dir(), "/var/tmp".into(), Path::new(WORKSPACE).join("target")];
    let tried = asked.map_or(usual.to_vec(), |path| vec![path.to_owned()]);
    let found = tried.into_iter().find(|path| path.is_dir() && !in_memory(path));
    found.ok_or_else(|| "no directory on a disk for the data: --data DIRECTORY".into())
}

/// Whether files in `path` are memory: then nothing that is flushed goes to a disk.
fn in_memory(path: &Path) -> bool {
    const TMPFS: i64 = 0x0102_1994;
    const RAMFS: i64 = 0x8584_58F6;
    rustix::fs::statfs(path).is_ok_and(|facts| [TMPFS, RAMFS].contains(&facts.f_type))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_goes_to_a_disk_or_nowhere() {
        assert!(in_memory(Path::new("/dev/shm")));
        assert!(disk(Some(Path::new("/dev/shm"))).is_err());
        assert!(disk(Some(Path::new("/nonexistent"))).is_err());
        assert_eq!(disk(Some(Path::new(WORKSPACE))), Ok(WORKSPACE.into()));
    }
}
