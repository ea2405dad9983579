//! The types of settings that are more than a number or a text, and their texts.

use super::parse;

/// A closed set of words. The texts are those of the reference server's configuration.
pub trait Named: Copy + PartialEq + 'static {
    const ALL: &'static [(Self, &'static str)];
}

/// The words of `T`, for `Form::Choice`.
pub fn names<T: Named>() -> Vec<&'static str> {
    T::ALL.iter().map(|(_, name)| *name).collect()
}

/// What is done at `maxmemory`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxmemoryPolicy {
    VolatileLru,
    VolatileLfu,
    VolatileRandom,
    VolatileTtl,
    AllkeysLru,
    AllkeysLfu,
    AllkeysRandom,
    Noeviction,
}

impl Named for MaxmemoryPolicy {
    const ALL: &'static [(Self, &'static str)] = &[
        (Self::VolatileLru, "volatile-lru"),
        (Self::VolatileLfu, "volatile-lfu"),
        (Self::VolatileRandom, "volatile-random"),
        (Self::VolatileTtl, "volatile-ttl"),
        (Self::AllkeysLru, "allkeys-lru"),
        (Self::AllkeysLfu, "allkeys-lfu"),
        (Self::AllkeysRandom, "allkeys-random"),
        (Self::Noeviction, "noeviction"),
    ];
}

impl MaxmemoryPolicy {
    /// Whether entries count accesses (LFU) instead of remembering the last one.
    pub fn is_lfu(self) -> bool {
        matches!(self, Self::VolatileLfu | Self::AllkeysLfu)
    }

    /// Whether only keys with an expiry may be evicted.
    pub fn is_volatile(self) -> bool {
        matches!(self, Self::VolatileLru | Self::VolatileLfu | Self::VolatileRandom | Self::VolatileTtl)
    }

    pub fn name(self) -> &'static str {
        name_of(self)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Debug,
    Verbose,
    Notice,
    Warning,
    Nothing,
}

impl Named for LogLevel {
    const ALL: &'static [(Self, &'static str)] = &[
        (Self::Debug, "debug"),
        (Self::Verbose, "verbose"),
        (Self::Notice, "notice"),
        (Self::Warning, "warning"),
        (Self::Nothing, "nothing"),
    ];
}

/// Which service manager is told that the server is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supervised {
    Upstart,
    Systemd,
    Auto,
    No,
}

impl Named for Supervised {
    const ALL: &'static [(Self, &'static str)] =
        &[(Self::Upstart, "upstart"), (Self::Systemd, "systemd"), (Self::Auto, "auto"), (Self::No, "no")];
}

/// When the append-only file is flushed to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendFsync {
    /// Before a write is acknowledged.
    Always,
    Everysec,
    /// When the kernel likes.
    No,
}

impl Named for AppendFsync {
    const ALL: &'static [(Self, &'static str)] =
        &[(Self::Everysec, "everysec"), (Self::Always, "always"), (Self::No, "no")];
}

/// How a replica takes in a primary's snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplDisklessLoad {
    /// Through a file: what there was is kept until all has come.
    Disabled,
    /// Straight from the link if there are no keys, else through a file.
    OnEmptyDb,
    /// Straight from the link, aside: what there was is kept until all has come.
    Swapdb,
    /// Straight from the link, all there was being removed first.
    FlushBeforeLoad,
}

impl Named for ReplDisklessLoad {
    const ALL: &'static [(Self, &'static str)] = &[
        (Self::Disabled, "disabled"),
        (Self::OnEmptyDb, "on-empty-db"),
        (Self::Swapdb, "swapdb"),
        (Self::FlushBeforeLoad, "flush-before-load"),
    ];
}

/// A snapshot is due after so many seconds in which so much has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavePoint {
    pub seconds: u32,
    pub changes: u64,
}

impl Custom for Vec<SavePoint> {
    fn parse(&mut self, words: &[String]) -> Result<(), String> {
        if let [only] = words
            && only.is_empty()
        {
            self.clear();
            return Ok(());
        }
        // As in the reference server every blank in a word separates, and there is no number between two of them.
        let words: Vec<&str> = words.iter().flat_map(|word| word.split(' ')).collect();
        let point = |pair: &[&str]| {
            let (seconds, changes) = (pair[0].parse::<i64>().ok()?, pair.get(1)?.parse::<i64>().ok()?);
            let seconds = u32::try_from(seconds).ok().filter(|seconds| *seconds > 0)?;
            Some(SavePoint { seconds, changes: u64::try_from(changes).ok()? })
        };
        let points: Option<Vec<SavePoint>> = words.chunks(2).map(point).collect();
        *self = points.ok_or("Invalid save parameters")?;
        Ok(())
    }

    fn print(&self) -> String {
        let print = |point: &SavePoint| format!("{} {}", point.seconds, point.changes);
        self.iter().map(print).collect::<Vec<_>>().join(" ")
    }
}

/// Who may call DEBUG.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DebugCommand {
    No,
    Yes,
    /// Sessions from this machine only.
    Local,
}

impl Named for DebugCommand {
    const ALL: &'static [(Self, &'static str)] =
        &[(Self::No, "no"), (Self::Yes, "yes"), (Self::Local, "local")];
}

/// The word of `value`.
pub fn name_of<T: Named>(value: T) -> &'static str {
    T::ALL.iter().find(|(each, _)| *each == value).expect("ALL lists every variant").1
}

/// When a session with unsent output is closed. Bytes and seconds; 0 = no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferLimit {
    /// Closed at once beyond this.
    pub hard: u64,
    /// Closed when beyond this for `soft_seconds` without a break.
    pub soft: u64,
    pub soft_seconds: u32,
}

/// `client-output-buffer-limit` of the three kinds of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferLimits {
    pub normal: BufferLimit,
    pub replica: BufferLimit,
    pub pubsub: BufferLimit,
}

impl BufferLimit {
    const NONE: BufferLimit = BufferLimit { hard: 0, soft: 0, soft_seconds: 0 };
}

impl BufferLimits {
    pub const NONE: BufferLimits =
        BufferLimits { normal: BufferLimit::NONE, replica: BufferLimit::NONE, pubsub: BufferLimit::NONE };

    fn class(&mut self, name: &str) -> Option<&mut BufferLimit> {
        match name.to_ascii_lowercase().as_str() {
            "normal" => Some(&mut self.normal),
            "replica" | "slave" => Some(&mut self.replica),
            "pubsub" => Some(&mut self.pubsub),
            _ => None,
        }
    }
}

/// A type whose text has rules of its own. `parse` replaces only what the words name.
pub trait Custom {
    fn parse(&mut self, words: &[String]) -> Result<(), String>;
    fn print(&self) -> String;
}

impl Custom for BufferLimits {
    fn parse(&mut self, words: &[String]) -> Result<(), String> {
        if !words.len().is_multiple_of(4) {
            return Err("Wrong number of arguments in buffer limit configuration.".into());
        }
        let mut next = *self;
        for quad in words.chunks_exact(4) {
            let class = next
                .class(&quad[0])
                .ok_or("Invalid client class specified in buffer limit configuration.")?;
            let parsed = (parse::memory(&quad[1]), parse::memory(&quad[2]), quad[3].parse::<u32>());
            let (Some(hard), Some(soft), Ok(soft_seconds)) = parsed else {
                return Err(
                    "Error in hard, soft or soft_seconds setting in buffer limit configuration.".into()
                );
            };
            *class = BufferLimit { hard, soft, soft_seconds };
        }
        *self = next;
        Ok(())
    }

    fn print(&self) -> String {
        // CONFIG GET of the reference server still says `slave`, and clients parse it.
        [("normal", self.normal), ("slave", self.replica), ("pubsub", self.pubsub)]
            .map(|(name, limit)| format!("{name} {} {} {}", limit.hard, limit.soft, limit.soft_seconds))
            .join(" ")
    }
}

/// CPUs by number, as the kernel's lists are written: `0-3,8`, or `0-14:2` for every second one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuList {
    text: String,
    cpus: Vec<usize>,
}

impl CpuList {
    pub const ALL: CpuList = CpuList { text: String::new(), cpus: Vec::new() };

    /// Ascending, each once; empty when the setting is not given.
    pub fn cpus(&self) -> &[usize] {
        &self.cpus
    }
}

impl std::fmt::Display for CpuList {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.text)
    }
}

impl Custom for CpuList {
    fn parse(&mut self, words: &[String]) -> Result<(), String> {
        let text = words.concat();
        let cpus = if text.is_empty() { Vec::new() } else { parse::cpu_list(&text)? };
        *self = CpuList { text, cpus };
        Ok(())
    }

    fn print(&self) -> String {
        self.text.clone()
    }
}

impl Custom for Vec<f64> {
    fn parse(&mut self, words: &[String]) -> Result<(), String> {
        let mut percentiles = Vec::with_capacity(words.len());
        for word in words.iter().filter(|word| !(words.len() == 1 && word.is_empty())) {
            let percentile = word.parse::<f64>().ok().filter(|number| !number.is_nan());
            let percentile = percentile.ok_or("Invalid latency-tracking-info-percentiles parameters")?;
            if !(0.0..=100.0).contains(&percentile) {
                let text = "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]";
                return Err(text.into());
            }
            percentiles.push(percentile);
        }
        *self = percentiles;
        Ok(())
    }

    fn print(&self) -> String {
        // Six digits behind the point, as the reference server prints them.
        let print = |percentile: &f64| {
            let digits = format!("{percentile:.6}");
            digits.trim_end_matches('0').trim_end_matches('.').to_owned()
        };
        self.iter().map(print).collect::<Vec<_>>().join(" ")
    }
}

/// What a value is made of, though it may come as one word: `--save "3600 1 300 100"`.
fn parts(words: &[String]) -> Vec<&str> {
    words.iter().flat_map(|word| word.split_whitespace()).collect()
}

/// `replicaof`: host and port, or `no one`, or nothing.
impl Custom for Option<(String, u16)> {
    fn parse(&mut self, words: &[String]) -> Result<(), String> {
        *self = match parts(words)[..] {
            [] => None,
            [no, one] if no.eq_ignore_ascii_case("no") && one.eq_ignore_ascii_case("one") => None,
            [host, port] => {
                let port = parse::integer(port).and_then(|port| u16::try_from(port).ok());
                Some((host.to_owned(), port.ok_or("Invalid master port")?))
            }
            _ => return Err("wrong number of arguments".into()),
        };
        Ok(())
    }

    fn print(&self) -> String {
        self.as_ref().map(|(host, port)| format!("{host} {port}")).unwrap_or_default()
    }
}

/// Addresses of `bind`. The reference server takes at most 16.
impl Custom for Vec<String> {
    fn parse(&mut self, words: &[String]) -> Result<(), String> {
        let addresses = parts(words);
        if addresses.len() > 16 {
            return Err("Too many bind addresses specified.".into());
        }
        *self = addresses.into_iter().map(str::to_owned).collect();
        Ok(())
    }

    fn print(&self) -> String {
        self.join(" ")
    }
}
