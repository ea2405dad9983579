//! The options of memtier_benchmark whose names mean something else here or have another name: with `--compat memtier`
//! the command line is rewritten before it is parsed. What memtier counts per thread or connection, and its defaults,
//! are `load`'s and `data`'s.

/// Memtier's names and ours.
const RENAMED: [(&str, &str); 9] = [
    ("-s", "--host"),
    ("--server", "--host"),
    ("-S", "--socket"),
    ("--unix-socket", "--socket"),
    ("--select-db", "--dbnum"),
    ("--cluster-mode", "--cluster"),
    ("--tls-skip-verify", "--insecure"),
    ("-x", "--run-count"),
    ("-h", "--help"),
];

/// Rewrites memtier's options, if `arguments` ask for that.
pub fn translate(arguments: Vec<String>) -> Result<Vec<String>, String> {
    let asked = arguments.windows(2).any(|pair| pair == ["--compat", "memtier"])
        || arguments.iter().any(|argument| argument == "--compat=memtier");
    if !asked {
        return Ok(arguments);
    }
    let mut translated = Vec::with_capacity(arguments.len());
    let mut rest = arguments.into_iter();
    while let Some(argument) = rest.next() {
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name.to_owned(), Some(value.to_owned())),
            _ => (argument, None),
        };
        if name == "-P" || name == "--protocol" {
            let protocol = value.or_else(|| rest.next()).ok_or("--protocol without a name")?;
            translated.extend(protocol_option(&protocol)?);
        } else if name == "-a" || name == "--authenticate" {
            let credentials = value.or_else(|| rest.next()).ok_or("--authenticate without a password")?;
            match credentials.split_once(':') {
                Some((user, password)) => {
                    translated.extend(["--user".into(), user.into(), "-a".into(), password.into()]);
                }
                None => translated.extend(["-a".into(), credentials]),
            }
        } else {
            let ours =
                RENAMED.iter().find(|(theirs, _)| *theirs == name).map_or(name.as_str(), |(_, ours)| ours);
            translated.push(value.map_or_else(|| ours.to_owned(), |value| format!("{ours}={value}")));
        }
    }
    Ok(translated)
}

fn protocol_option(protocol: &str) -> Result<Option<String>, String> {
    match protocol {
        "redis" | "resp2" => Ok(None),
        "resp3" => Ok(Some("-3".into())),
        other => Err(format!("protocol {other} is not spoken here: only redis, resp2 and resp3")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(line: &str) -> Result<String, String> {
        translate(line.split(' ').map(str::to_owned).collect()).map(|words| words.join(" "))
    }

    #[test]
    fn memtiers_options_get_our_names_only_when_asked_for() {
        let line = "loadgen run -s ::1 -P redis -a u:p --select-db=2 -c 5";
        assert_eq!(translated(line).as_deref(), Ok(line));
        assert_eq!(
            translated(&format!("{line} --compat memtier")).as_deref(),
            Ok("loadgen run --host ::1 --user u -a p --dbnum=2 -c 5 --compat memtier")
        );
        assert_eq!(
            translated("loadgen run --compat=memtier -P resp3").as_deref(),
            Ok("loadgen run --compat=memtier -3")
        );
        assert!(translated("loadgen run --compat=memtier -P memcache_text").is_err());
    }
}
