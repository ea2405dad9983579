//! Log lines to stderr or a file, at the level of `loglevel`.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::reload;
use tracing_subscriber::{Registry, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::{LogLevel, Settings};
use crate::runtime::Fault;

/// Changes the log while it is in use.
#[derive(Clone)]
pub struct Log {
    sink: Sink,
    level: reload::Handle<LevelFilter, Registry>,
}

/// Where lines go; replaced as a whole when the file is opened again.
#[derive(Clone)]
struct Sink {
    target: Arc<ArcSwap<Target>>,
}

enum Target {
    Stderr,
    File(File),
}

impl Log {
    /// Sets up the log of the process.
    pub fn start(settings: &Settings) -> Result<Log, Fault> {
        let target = open(settings.logfile.as_deref())?;
        let ansi = false;
        let sink = Sink { target: Arc::new(ArcSwap::from_pointee(target)) };
        let (filter, level) = reload::Layer::new(level(settings.loglevel));
        let lines =
            tracing_subscriber::fmt::layer().with_ansi(ansi).with_target(false).with_writer(sink.clone());
        // A second call in one process (tests) keeps the first log.
        let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
        Ok(Log { sink, level })
    }

    pub fn set_level(&self, wanted: LogLevel) {
        // Fails only when the subscriber is gone, at the end of the process.
        let _ = self.level.modify(|filter| *filter = level(wanted));
    }

    /// Opens the log file anew, for log rotation.
    pub fn reopen(&self, settings: &Settings) {
        match open(settings.logfile.as_deref()) {
            Ok(target) => self.sink.target.store(Arc::new(target)),
            Err(fault) => tracing::warn!("keeping the old log file: {fault}"),
        }
    }
}

fn open(path: Option<&Path>) -> Result<Target, Fault> {
    let Some(path) = path else { return Ok(Target::Stderr) };
    let file = File::options().create(true).append(true).open(path);
    let file =
        file.map_err(|error| Fault::io(format!("cannot open 'logfile {}'", path.display()), &error))?;
    Ok(Target::File(file))
}

/// The reference server's levels: verbose is a little less than debug.
fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Debug => LevelFilter::TRACE,
        LogLevel::Verbose => LevelFilter::DEBUG,
        LogLevel::Notice => LevelFilter::INFO,
        LogLevel::Warning => LevelFilter::WARN,
        LogLevel::Nothing => LevelFilter::OFF,
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { target: self.target.load_full() }
    }
}

/// One line on its way out.
struct Line {
    target: Arc<Target>,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &*self.target {
            Target::Stderr => io::stderr().write(bytes),
            Target::File(file) => {
                let mut file = file;
                file.write(bytes)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
