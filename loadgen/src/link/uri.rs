//! URIs of servers. The forms are those of the clients' libraries: `redis://`, `rediss://` and `unix://`.

use super::target::{Address, DEFAULT_PORT, Target, TlsOptions, bare};

pub fn parse(text: &str) -> Result<Target, String> {
    let wrong = |problem: &str| format!("{}: {problem}", hidden(text));
    let (scheme, rest) =
        text.split_once("://").ok_or_else(|| wrong("wanted redis://, rediss:// or unix://"))?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut target = match scheme {
        "redis" | "rediss" => tcp(rest).map_err(|problem| wrong(&problem))?,
        "unix" => {
            // Without a login the path comes first, and may itself hold an `@`.
            let (login, path) = if rest.starts_with('/') { (None, rest) } else { split_login(rest) };
            let path = decoded(path).map_err(|problem| wrong(&problem))?;
            if !path.starts_with('/') {
                return Err(wrong("wanted unix:///path/of/the/socket"));
            }
            log_in(Target::plain(Address::unix(path)), login).map_err(|problem| wrong(&problem))?
        }
        _ => return Err(wrong("wanted redis://, rediss:// or unix://")),
    };
    if scheme == "rediss" {
        target.tls = Some(TlsOptions::default());
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("db", number)) => {
                target.db = number.parse().map_err(|_| wrong("db is not a number"))?;
            }
            Some(("protocol", "2")) => target.resp3 = false,
            Some(("protocol", "3")) => target.resp3 = true,
            _ => return Err(wrong(&format!("{pair}: the parameters are db=N and protocol=2 or 3"))),
        }
    }
    Ok(target)
}

/// `[[user]:password@]host[:port][/db]`.
fn tcp(rest: &str) -> Result<Target, String> {
    let (login, rest) = split_login(rest);
    let (place, db) = rest.split_once('/').unwrap_or((rest, ""));
    // A colon inside brackets belongs to an IPv6 address.
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            (host, port.parse().map_err(|_| format!("{port} is not a port"))?)
        }
        _ => (place, DEFAULT_PORT),
    };
    if host.is_empty() {
        return Err("the host is missing".into());
    }
    let mut target = Target::plain(Address::Tcp { host: bare(host).into(), port });
    if !db.is_empty() {
        target.db = db.parse().map_err(|_| format!("{db} is not a database number"))?;
    }
    log_in(target, login)
}

/// Parts a login from what follows its last `@`: a password may hold a raw `@` or `/`.
fn split_login(rest: &str) -> (Option<&str>, &str) {
    rest.rsplit_once('@').map_or((None, rest), |(login, rest)| (Some(login), rest))
}

fn log_in(mut target: Target, login: Option<&str>) -> Result<Target, String> {
    let Some(login) = login else { return Ok(target) };
    let (user, password) = login.split_once(':').ok_or("a login is user:password or :password")?;
    target.user = Some(decoded(user)?).filter(|user| !user.is_empty());
    target.password = Some(decoded(password)?);
    Ok(target)
}

/// `text` with its percent escapes undone.
fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err("a % is not followed by two hexadecimal digits".into());
        };
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).map_err(|_| "the escapes are not UTF-8".into())
}

/// `text` without its login, for messages.
fn hidden(text: &str) -> String {
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, place))) => format!("{scheme}://***@{place}"),
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp_target(host: &str, port: u16) -> Target {
        Target::plain(Address::Tcp { host: host.into(), port })
    }

    #[test]
    fn uris_become_targets() {
        let login = |target, user: Option<&str>, password: &str| Target {
            user: user.map(Into::into),
            password: Some(password.into()),
            ..target
        };
        let cases = [
            ("redis://a", tcp_target("a", 6379)),
            ("redis://a:7000", tcp_target("a", 7000)),
            ("redis://[::1]", tcp_target("::1", 6379)),
            ("redis://[::1]:7000/2", Target { db: 2, ..tcp_target("::1", 7000) }),
            ("redis://:p%40ss@a", login(tcp_target("a", 6379), None, "p@ss")),
            ("redis://me:a/b@c@a:1", login(tcp_target("a", 1), Some("me"), "a/b@c")),
            ("rediss://a", Target { tls: Some(TlsOptions::default()), ..tcp_target("a", 6379) }),
            ("redis://a/?protocol=3&db=4", Target { resp3: true, db: 4, ..tcp_target("a", 6379) }),
            ("unix:///tmp/s%20t", Target::plain(Address::unix("/tmp/s t"))),
            ("unix:///tmp/a@b", Target::plain(Address::unix("/tmp/a@b"))),
            (
                "unix://:pw@/tmp/s?db=1",
                login(Target { db: 1, ..Target::plain(Address::unix("/tmp/s")) }, None, "pw"),
            ),
        ];
        for (text, target) in cases {
            assert_eq!(parse(text), Ok(target), "{text}");
        }
    }

    #[test]
    fn what_is_no_uri_is_told_without_its_password() {
        let cases =
            ["a:6379", "http://a", "redis://", "redis://a:x", "redis://a/x", "unix://s", "redis://a?x=1"];
        for text in cases.into_iter().chain(["redis://me:secret@a:x", "redis://secret@a", "redis://:%zz@a"]) {
            let problem = parse(text).expect_err(text);
            assert!(!problem.contains("secret") && problem.contains(": "), "{problem}");
        }
    }
}
