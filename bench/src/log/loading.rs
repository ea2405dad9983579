//! Start-up with a gigabyte of RDB or of AOF, each written by the server that loads it, on one CPU and on two.

use std::sync::Arc;

use tempfile::TempDir;

use crate::{load::Tool, results::Metric, servers::Contender};

use super::Bench;

pub const RDB_1: &str = "load RDB, 1 CPU";
pub const RDB_2: &str = "load RDB, 2 CPUs";
pub const AOF_1: &str = "load AOF, 1 CPU";
pub const AOF_2: &str = "load AOF, 2 CPUs";

/// A kind of file: how the server is started to write it and to load it, the names of the measurements on one CPU and
/// on two.
type File = (&'static [&'static str], [&'static str; 2]);

const RDB: File = (&["--appendonly", "no"], [RDB_1, RDB_2]);
const AOF: File = (&["--appendonly", "yes"], [AOF_1, AOF_2]);

pub fn load(bench: &mut Bench<'_, '_>) -> Result<(), String> {
    for (arguments, names) in [RDB, AOF] {
        for contender in bench.turns() {
            let dir = bench.dir()?;
            let keys = prepare(bench, contender, &dir, arguments)?;
            let (one, two) = (bench.run.options.server_cpu, bench.run.options.load_cpu);
            for (name, cpus) in names.into_iter().zip([vec![one], vec![one, two]]) {
                // Each start leaves the files as they are.
                let server = bench.start_in(Arc::clone(&dir), contender, &cpus, arguments)?;
                let found = server.ask(&["DBSIZE"])?;
                if found.trim() != format!(":{keys}") {
                    return Err(format!("{name} on {}: DBSIZE {found}", contender.kind.label()));
                }
                let seconds = server.started_in as f64 / 1e9;
                bench.run.note(name, Tool::Loadgen, contender.kind, &[(Metric::LoadSeconds, seconds)]);
            }
        }
    }
    Ok(())
}

/// Has the server write the file into `dir`; returns the number of keys in it.
fn prepare(
    bench: &mut Bench<'_, '_>,
    contender: &Contender,
    dir: &Arc<TempDir>,
    arguments: &[&'static str],
) -> Result<u64, String> {
    let server = bench.start_in(Arc::clone(dir), contender, &[bench.run.options.server_cpu], arguments)?;
    let keys = bench.fill_gib(&server)?;
    if arguments == RDB.0 {
        server.ask(&["SAVE"])?;
    }
    // Its orderly end writes what is left of the log.
    Ok(keys)
}
