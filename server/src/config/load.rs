//! From the command line and the files to the settings: file over default, command line over file.

use super::error::{ConfigError, Origin};
use super::table::{Setting, Verdict, find};
use super::{Settings, help, parse};
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A configuration with which the server can start.
#[derive(Debug)]
pub struct Loaded {
    pub settings: Settings,
    /// What was asked for and has no effect: a line each, for the log.
    pub warnings: Vec<String>,
    /// The file of the command line, absolute.
    pub file: Option<PathBuf>,
}

/// Reads the configuration that `args` (the command line behind the program's name) asks for.
pub fn load(args: impl Iterator<Item = OsString>) -> Result<Loaded, ConfigError> {
    load_with(args, &mut std::io::stdin())
}

/// As [`load`], with the bytes that `-` reads.
fn load_with(args: impl Iterator<Item = OsString>, input: &mut dyn Read) -> Result<Loaded, ConfigError> {
    let line = CommandLine::read(args)?;
    let mut loader = Loader::default();
    if let Some(file) = &line.file {
        loader.file(Path::new(file), None)?;
    }
    if line.input {
        let mut bytes = Vec::new();
        let read = input.read_to_end(&mut bytes);
        let path = "standard input".to_owned();
        read.map_err(|why| ConfigError::Unreadable { at: None, path, why: why.to_string() })?;
        loader.lines(&bytes, &|line| Origin::Input(line))?;
    }
    for directive in line.directives {
        loader.directive(directive, Origin::CommandLine)?;
    }
    let file = line.file.map(|file| std::path::absolute(&file).unwrap_or_else(|_| file.into()));
    loader.finish(file)
}

/// The command line, taken apart but not yet understood.
#[derive(Default)]
struct CommandLine {
    file: Option<String>,
    input: bool,
    /// Name and values of each directive.
    directives: Vec<Vec<String>>,
}

impl CommandLine {
    /// The reference server's rules: a file comes first; `-` stands first or last; the word behind a
    /// directive is its value even when it begins with `--` (but for `save`, which may stand alone).
    fn read(args: impl Iterator<Item = OsString>) -> Result<Self, ConfigError> {
        let text = args.map(OsString::into_string).collect::<Result<Vec<_>, _>>();
        let words = text.map_err(|_| ConfigError::NotText { at: Origin::CommandLine })?;
        let mut line = CommandLine::default();
        let mut words = words.into_iter().peekable();
        if let Some(first) = words.next_if(|first| first == "-" || !first.starts_with('-')) {
            if first == "-" {
                line.input = true;
            } else {
                line.file = Some(first);
            }
        }
        while let Some(word) = words.next() {
            match word.as_str() {
                "-" if words.peek().is_none() => line.input = true,
                "--help" | "-h" => return Err(ConfigError::Asked(help::help())),
                "--version" | "-v" => return Err(ConfigError::Asked(help::version())),
                _ => line.directive(word, &mut words)?,
            }
        }
        Ok(line)
    }

    fn directive(
        &mut self,
        word: String,
        words: &mut std::iter::Peekable<std::vec::IntoIter<String>>,
    ) -> Result<(), ConfigError> {
        let Some(text) = word.strip_prefix("--") else { return Err(ConfigError::Stray { word }) };
        // `"--port 6380"` as one word is one directive with its value.
        let mut directive = split(text.as_bytes(), &Origin::CommandLine)?;
        let Some(name) = directive.first() else { return Err(ConfigError::Stray { word }) };
        let alone = directive.len() == 1;
        if alone
            && name.eq_ignore_ascii_case("save")
            && words.peek().is_none_or(|next| next.starts_with("--"))
        {
            directive.push(String::new());
        } else if alone {
            directive.extend(words.next());
        }
        loop {
            // A `-` at the very end stands for standard input; anywhere else it is a value.
            let last = words.len() == 1;
            let ends = |next: &String| next.starts_with("--") || last && next == "-";
            match words.next_if(|next| !ends(next)) {
                Some(value) => directive.push(value),
                None => break,
            }
        }
        self.directives.push(directive);
        Ok(())
    }
}

/// Splits a line into words of text.
fn split(line: &[u8], at: &Origin) -> Result<Vec<String>, ConfigError> {
    let unbalanced = |_| {
        let line = String::from_utf8_lossy(line).trim().to_owned();
        ConfigError::Unbalanced { at: at.clone(), line }
    };
    let words = parse::words(line).map_err(unbalanced)?;
    let words = words.into_iter().map(String::from_utf8).collect::<Result<_, _>>();
    words.map_err(|_| ConfigError::NotText { at: at.clone() })
}

/// The settings so far, and where each was given.
#[derive(Default)]
struct Loader {
    settings: Settings,
    given: Vec<(&'static Setting, Origin)>,
    /// Files being read: the one that includes before the one that is included.
    open: Vec<PathBuf>,
}

impl Loader {
    fn file(&mut self, path: &Path, at: Option<&Origin>) -> Result<(), ConfigError> {
        let unreadable = |why: std::io::Error| ConfigError::Unreadable {
            at: at.cloned(),
            path: path.display().to_string(),
            why: why.to_string(),
        };
        let real = path.canonicalize().map_err(unreadable)?;
        if let Some(at) = at.filter(|_| self.open.contains(&real)) {
            return Err(ConfigError::Loop { at: at.clone(), path: path.to_owned() });
        }
        let bytes = std::fs::read(path).map_err(unreadable)?;
        self.open.push(real);
        self.lines(&bytes, &|line| Origin::File(path.to_owned(), line))?;
        self.open.pop();
        Ok(())
    }

    fn lines(&mut self, bytes: &[u8], at: &dyn Fn(usize) -> Origin) -> Result<(), ConfigError> {
        for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.starts_with(b"#") {
                continue;
            }
            let at = at(index + 1);
            let words = split(line, &at)?;
            if !words.is_empty() {
                self.directive(words, at)?;
            }
        }
        Ok(())
    }

    fn directive(&mut self, mut words: Vec<String>, at: Origin) -> Result<(), ConfigError> {
        let name = words.remove(0).to_ascii_lowercase();
        let Some(setting) = find(&name) else { return Err(ConfigError::Unknown { at, name }) };
        let bad = |why: String, words: Vec<String>| {
            let (at, name) = (at.clone(), name.clone());
            ConfigError::Value { at, name, words, why, setting }
        };
        if setting.name == "include" {
            return match words.as_slice() {
                [path] => self.include(path, &at),
                _ => Err(bad("wrong number of arguments".into(), words)),
            };
        }
        if words.is_empty() && setting.name != "bind" {
            return Err(bad("wrong number of arguments".into(), words));
        }
        let mut all = words.clone();
        let given = self.given.iter().any(|(other, _)| other.name == setting.name);
        if setting.repeats && given && words.iter().any(|word| !word.is_empty()) {
            let before = setting.text(&mut self.settings);
            all.splice(0..0, before.split_whitespace().map(str::to_owned));
        }
        setting.assign(&mut self.settings, &all).map_err(|why| bad(why, words))?;
        self.given.retain(|(other, _)| other.name != setting.name);
        self.given.push((setting, at));
        Ok(())
    }

    /// A relative path counts from the `dir` given so far, since that is where the reference server has
    /// changed to by then. A pattern may match nothing.
    fn include(&mut self, pattern: &str, at: &Origin) -> Result<(), ConfigError> {
        let path = match self.given.iter().any(|(setting, _)| setting.name == "dir") {
            true => Path::new(&self.settings.get("dir").unwrap_or_default()).join(pattern),
            false => PathBuf::from(pattern),
        };
        if !pattern.contains(['*', '?', '[']) {
            return self.file(&path, Some(at));
        }
        let unreadable = |why: String| {
            let path = path.display().to_string();
            ConfigError::Unreadable { at: Some(at.clone()), path, why }
        };
        let matches = glob::glob(&path.to_string_lossy()).map_err(|why| unreadable(why.to_string()))?;
        for found in matches {
            let found = found.map_err(|why| unreadable(why.to_string()))?;
            self.file(&found, Some(at))?;
        }
        Ok(())
    }

    /// Weighs what was asked for against what there is.
    fn finish(mut self, file: Option<PathBuf>) -> Result<Loaded, ConfigError> {
        let mut refused: Option<ConfigError> = None;
        let mut without_effect = Vec::new();
        for (setting, at) in &self.given {
            let value = setting.text(&mut self.settings);
            let Some(missing) = setting.missing.filter(|missing| (missing.wanted)(&value)) else { continue };
            let (name, instead) = (setting.name, missing.instead);
            match (missing.verdict, &mut refused) {
                (Verdict::Warn, _) => without_effect.push(format!("{name} ({at}): {instead}")),
                (Verdict::Refuse, Some(ConfigError::Missing { also, .. })) => also.push(name),
                (Verdict::Refuse, _) => {
                    let at = at.clone();
                    refused = Some(ConfigError::Missing { at, name, value, instead, also: Vec::new() });
                }
            }
        }
        if let Some(refused) = refused {
            return Err(refused);
        }
        let mut warnings = Vec::new();
        if !without_effect.is_empty() {
            warnings.push(format!("asked for, but without effect: {}", without_effect.join("; ")));
        }
        // What messages and CONFIG GET name can be found without knowing where the server was started.
        if let Ok(dir) = std::path::absolute(&self.settings.dir)
            && let Some(dir) = dir.to_str()
        {
            self.settings.dir = dir.to_owned();
        }
        Ok(Loaded { settings: self.settings, warnings, file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Loads a command line whose words are separated by blanks, with `input` behind `-`.
    fn try_load(line: &str, input: &str) -> Result<Loaded, String> {
        let words: Vec<OsString> =
            line.split(' ').filter(|word| !word.is_empty()).map(OsString::from).collect();
        load_with(words.into_iter(), &mut input.as_bytes()).map_err(|error| error.to_string())
    }

    fn text(line: &str, input: &str) -> Result<Settings, String> {
        try_load(line, input).map(|loaded| loaded.settings)
    }

    fn error(line: &str, input: &str) -> String {
        try_load(line, input).expect_err("must not load")
    }

    #[test]
    fn command_line_over_file_over_default() {
        let settings = text("- --port 7000 --bind 127.0.0.1 -::1", "port 6500\nTIMEOUT 9\n").unwrap();
        assert_eq!((settings.port, settings.timeout, settings.hz), (7000, 9, 10));
        assert_eq!(settings.bind, ["127.0.0.1", "-::1"]);
        assert_eq!(text("--timeout 3 -", "timeout 1").unwrap().timeout, 3);
    }

    #[test]
    fn command_line_forms_of_the_reference_server() {
        let one_word =
            [OsString::from("--port 7001"), OsString::from("--requirepass"), OsString::from("--x y")];
        let settings = load_with(one_word.into_iter(), &mut "".as_bytes()).unwrap().settings;
        assert_eq!((settings.port, settings.requirepass.as_str()), (7001, "--x y"));
        assert_eq!(text("--save --timeout 5", "").unwrap().timeout, 5);
        assert_eq!(text("--SAVE", "").unwrap().get("save").unwrap(), "");
        let points = [OsString::from("--save"), OsString::from("3600 1 300 100")];
        let settings = load_with(points.into_iter(), &mut "".as_bytes()).unwrap().settings;
        assert_eq!(settings.get("save").unwrap(), "3600 1 300 100");
        let quoted = ["--replicaof", "10.0.0.2 7002", "--bind", "127.0.0.1 ::1"].map(OsString::from);
        let settings = load_with(quoted.into_iter(), &mut "".as_bytes()).unwrap().settings;
        assert_eq!(settings.replicaof, Some(("10.0.0.2".to_owned(), 7002)));
        assert_eq!(settings.bind, ["127.0.0.1", "::1"]);
        assert_eq!(text("--slaveof no one", "").unwrap().replicaof, None);
        let follower = text("--slaveof 10.0.0.1 7000", "").unwrap();
        assert_eq!(follower.replicaof, Some(("10.0.0.1".to_owned(), 7000)));
        assert_eq!(follower.get("replicaof").unwrap(), "10.0.0.1 7000");
        assert!(text("-", "replicaof 10.0.0.1 70000").is_err() && text("-", "replicaof 10.0.0.1").is_err());
    }

    #[test]
    fn help_and_version_are_not_errors() {
        for line in ["--help", "-h", "--version", "-v"] {
            let asked = load_with([OsString::from(line)].into_iter(), &mut "".as_bytes()).unwrap_err();
            assert_eq!(asked.exit_code(), 0, "{line}");
            assert!(asked.to_string().contains("torc-server"), "{line}");
        }
    }

    #[test]
    fn errors_name_place_directive_and_remedy() {
        let cases = [
            ("- ", "port 1\n\nprot 2", "standard input:3: unknown directive 'prot'; did you mean 'port'?"),
            (
                "--port=7123",
                "",
                "command line: unknown directive 'port=7123'; write the value as a word of its own: port 7123",
            ),
            (
                "--zzzzzzzzzz 1",
                "",
                "command line: unknown directive 'zzzzzzzzzz'; remove it, or see torc-server --help for those there are",
            ),
            (
                "--port x",
                "",
                "command line: port x: argument couldn't be parsed into an integer; expected: port 0..65535",
            ),
            ("--port 1 2", "", "command line: port 1 2: wrong number of arguments; expected: port 0..65535"),
            ("--timeout", "", "command line: timeout: wrong number of arguments; expected: timeout number"),
            (
                "--unixsocketperm 999",
                "",
                "command line: unixsocketperm 999: argument couldn't be parsed as an octal number; expected: unixsocketperm mode",
            ),
            (
                "- ",
                "port \"1",
                "standard input:1: quotes do not close in: port \"1; close them, and leave a blank behind",
            ),
            ("- ", "requirepass \"\\xff\"", "standard input:1: not UTF-8 text; save the file as UTF-8"),
            (
                "-x",
                "",
                "command line: '-x' is out of place; write torc-server [file | -] [--directive value ...]",
            ),
            (
                "/nonexistent.conf",
                "",
                "/nonexistent.conf: cannot be read (No such file or directory (os error 2)); correct the path or its permissions",
            ),
            (
                "- ",
                "include /nonexistent.conf",
                "standard input:1: include /nonexistent.conf: cannot be read (No such file or directory (os error 2)); correct the path or its permissions",
            ),
        ];
        for (line, input, expected) in cases {
            assert_eq!(error(line, input), expected);
        }
    }

    #[test]
    fn includes_are_read_in_place_and_may_not_circle() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write("a.d.1.conf", "timeout 1\nhz 20\n");
        write("a.d.2.conf", "timeout 2\n");
        write("own.conf", "maxclients 5\n");
        let here = dir.path().display();
        write(
            "main.conf",
            &format!(
                "include {here}/a.d.*.conf\ninclude {here}/none*\ndir {here}\ninclude own.conf\nport 1\n"
            ),
        );
        let main = format!("{here}/main.conf");
        let loaded = try_load(&format!("{main} --port 2"), "").unwrap();
        let settings = loaded.settings;
        assert_eq!((settings.timeout, settings.hz, settings.maxclients, settings.port), (2, 20, 5, 2));
        assert_eq!(loaded.file.unwrap(), Path::new(&main));
        assert_eq!(settings.get("dir").unwrap(), here.to_string());

        write("x.conf", &format!("# first\ninclude {here}/y.conf\n"));
        write("y.conf", &format!("include {here}/x.conf\n"));
        let expected =
            format!("{here}/y.conf:1: include {here}/x.conf: the file includes itself; break the circle");
        assert_eq!(error(&format!("{here}/x.conf"), ""), expected);
    }

    #[test]
    fn repeated_directives_add_up_where_the_reference_adds() {
        let settings = text(
            "-",
            "client-output-buffer-limit normal 1mb 1kb 5\nclient-output-buffer-limit pubsub 1 2 3\ntimeout 1\ntimeout 2",
        );
        let settings = settings.unwrap();
        let limits = settings.client_output_buffer_limit;
        assert_eq!((limits.normal.hard, limits.pubsub.soft, limits.replica.hard), (1 << 20, 2, 256 << 20));
        assert_eq!(settings.timeout, 2);
        assert_eq!(text("-", "save 900 1\nsave 300 10\nsave \"\"").unwrap().get("save").unwrap(), "");
        assert_eq!(
            text("-", "save \"\"\nsave 900 1\nsave 300 10").unwrap().get("save").unwrap(),
            "900 1 300 10"
        );
        assert_eq!(text("-", "save 900 1\nsave \"300 10\"").unwrap().get("save").unwrap(), "900 1 300 10");
        assert!(error("-", "save \" 900 1\"").contains("Invalid save parameters"));
        assert_eq!(
            text("-", "save 900 1").unwrap().get("save").unwrap(),
            "900 1",
            "a default does not add up"
        );
    }

    #[test]
    fn durability_and_access_are_never_pretended() {
        let refused = [
            "cluster-enabled yes",
            "tls-port 1",
            "aclfile /x",
            "user a on",
            "rename-command FLUSHALL \"\"",
            "loadmodule /x.so",
        ];
        for line in refused {
            let error = error("-", line);
            assert!(error.starts_with("standard input:1: "), "{error}");
            assert!(!error.contains('\n'));
        }
        let both = error("-", "cluster-enabled yes\ntls-port 6380");
        assert!(
            both.starts_with("standard input:1: cluster-enabled yes: ")
                && both.ends_with("either: tls-port)"),
            "{both}"
        );
        assert!(text("- --cluster-enabled no --tls-port 0", "cluster-enabled yes\ntls-port 6380").is_ok());
        assert!(text("-", "user default on nopass sanitize-payload ~* &* +@all\naclfile \"\"").is_ok());
    }

    #[test]
    fn the_directory_is_told_in_full() {
        let here = std::env::current_dir().unwrap();
        let dir = |line: &str| text("-", line).unwrap().get("dir").unwrap();
        assert_eq!(Path::new(&dir("")), here);
        assert_eq!(Path::new(&dir("dir ./x/y")), here.join("x/y"));
        assert_eq!((dir("dir /a").as_str(), dir("dir \"\"").as_str()), ("/a", ""));
    }

    /// As the reference server, but that it takes an empty `dbfilename`, with which no snapshot ever succeeds.
    #[test]
    fn names_of_data_files_are_no_paths() {
        for (name, kind) in
            [("dbfilename", "filename"), ("appendfilename", "filename"), ("appenddirname", "dirname")]
        {
            for path in ["../x", "/x", "x/", "a\\b"] {
                let error = error("-", &format!("{name} '{path}'"));
                assert!(
                    error.contains(&format!(": {name} can't be a path, just a {kind}; expected: ")),
                    "{error}"
                );
            }
            let error = error("-", &format!("{name} \"\""));
            assert!(error.contains(&format!(": {name} can't be empty; expected: {name} {kind}")), "{error}");
            assert_eq!(text("-", &format!("{name} a.b")).unwrap().get(name).as_deref(), Some("a.b"));
        }
    }

    #[test]
    fn what_has_no_effect_is_told_in_one_line() {
        let loaded =
            try_load("-", "syslog-enabled yes\nhz 5\nmaxmemory-policy allkeys-lru\nactivedefrag no").unwrap();
        let [warning] = loaded.warnings.as_slice() else { panic!("{:?}", loaded.warnings) };
        assert!(warning.contains("syslog-enabled (standard input:1): "), "{warning}");
        assert!(
            warning.contains("maxmemory-policy (standard input:3): ") && !warning.contains("hz"),
            "{warning}"
        );
        assert!(try_load("-", "hz 5").unwrap().warnings.is_empty());
        for line in ["aof-use-rdb-preamble no", "aof-timestamp-enabled yes", "aof-disable-auto-gc yes"] {
            let warnings = try_load("-", line).unwrap().warnings;
            assert!(
                warnings.len() == 1 && warnings[0].contains(line.split(' ').next().unwrap()),
                "{warnings:?}"
            );
        }
        let usual = "aof-use-rdb-preamble yes\naof-timestamp-enabled no\naof-disable-auto-gc no";
        assert!(try_load("-", usual).unwrap().warnings.is_empty());
    }

    /// The directives that a distribution's file sets, in its order.
    const DISTRIBUTION: &str = "\
# comment

bind 127.0.0.1 -::1
protected-mode yes
port 6379
tcp-backlog 511
timeout 0
tcp-keepalive 300
daemonize yes
pidfile /run/redis/redis-server.pid
loglevel notice
logfile /var/log/redis/redis-server.log
databases 16
always-show-logo no
set-proc-title yes
proc-title-template \"{title} {listen-addr} {server-mode}\"
stop-writes-on-bgsave-error yes
rdbcompression yes
dbfilename dump.rdb
dir /var/lib/redis
replica-serve-stale-data yes
repl-diskless-sync-delay 5
repl-diskless-load disabled
acllog-max-len 128
lazyfree-lazy-eviction no
oom-score-adj no
oom-score-adj-values 0 200 800
disable-thp yes
appendonly no
appendfilename \"appendonly.aof\"
appendfsync everysec
auto-aof-rewrite-min-size 64mb
slowlog-log-slower-than 10000
notify-keyspace-events \"\"
hash-max-listpack-entries 512
list-max-listpack-size -2
client-output-buffer-limit normal 0 0 0
client-output-buffer-limit replica 256mb 64mb 60
client-output-buffer-limit pubsub 32mb 8mb 60
hz 10
dynamic-hz yes
jemalloc-bg-thread yes
";

    #[test]
    fn a_distributions_file_starts_the_server() {
        let loaded = try_load("-", DISTRIBUTION).unwrap();
        assert_eq!(loaded.settings.logfile.as_deref(), Some(Path::new("/var/log/redis/redis-server.log")));
        assert_eq!(loaded.settings.get("auto-aof-rewrite-min-size").unwrap(), "67108864");
        assert!(
            loaded.warnings.len() == 1 && loaded.warnings[0].contains("daemonize"),
            "{:?}",
            loaded.warnings
        );
        let as_a_service = try_load("- --supervised systemd --daemonize no", DISTRIBUTION).unwrap();
        assert!(as_a_service.warnings.is_empty());
    }
}
