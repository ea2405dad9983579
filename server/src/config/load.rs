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
        if setting.repeats && words.iter().any(|word| !word.is_empty()) {
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
        if let Ok(dir) = std::path::absolute(self.settings.get("dir").unwrap_or_default()) {
            self.settings.kept.insert("dir", dir.to_string_lossy().into_owned());
        }
        Ok(Loaded { settings: self.settings, warnings, file })
    }
}

#[cfg(test)]
mod tests;
