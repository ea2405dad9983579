//! Why a server could not be reached, as one line that names the culprit.

use std::{fmt, io, path::PathBuf};

use super::Address;

/// Bytes quoted of what a peer said.
const QUOTED: usize = 160;

#[derive(Debug)]
pub enum Fault {
    /// Options that exclude each other or say nothing sensible.
    Options(String),
    /// A certificate or key that cannot be used.
    File {
        path: PathBuf,
        problem: String,
    },
    Unreachable {
        place: Address,
        error: io::Error,
    },
    Tls {
        place: Address,
        problem: String,
    },
    /// Nothing came back for this many seconds.
    Silent {
        place: Address,
        seconds: u64,
    },
    /// The connection ended in the middle of the handshake.
    Broken {
        place: Address,
        error: io::Error,
        tls: bool,
    },
    /// What came back is not RESP.
    NotResp {
        place: Address,
        saw: Vec<u8>,
    },
    /// The server answered `command` with an error.
    Refused {
        place: Address,
        command: String,
        text: String,
    },
    /// The server's answer to `command` makes no sense.
    Odd {
        place: Address,
        command: String,
        problem: String,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Options(problem) => out.write_str(problem),
            Self::File { path, problem } => write!(out, "{}: {problem}", path.display()),
            Self::Unreachable { place, error } => write!(out, "cannot connect to {place}: {error}"),
            Self::Tls { place, problem } => write!(out, "TLS with {place} failed: {problem}"),
            Self::Silent { place, seconds } => {
                write!(
                    out,
                    "{place} accepts connections but has not answered for {seconds} s: is it a RESP server?"
                )
            }
            Self::Broken { place, error, tls } => {
                let how = match error.kind() {
                    io::ErrorKind::UnexpectedEof => "it was closed".into(),
                    _ => error.to_string(),
                };
                let hint = if *tls { "" } else { " (does it want --tls?)" };
                write!(out, "{place} ended the connection during the handshake: {how}{hint}")
            }
            Self::NotResp { place, saw } if is_tls(saw) => {
                write!(out, "{place} does not speak plain RESP but TLS: --tls is missing")
            }
            Self::NotResp { place, saw } => {
                write!(out, "{place} does not speak RESP: it answered \"{}\"", quoted(saw))
            }
            Self::Refused { place, command, text } => {
                write!(out, "{place} refused {command}: {}{}", quoted(text.as_bytes()), advice(text))
            }
            Self::Odd { place, command, problem } => {
                write!(out, "{place} answered {command} with nonsense: {problem}")
            }
        }
    }
}

impl std::error::Error for Fault {}

/// What a server said, on one line and without control characters.
fn quoted(bytes: &[u8]) -> String {
    let line = bytes.split(|&byte| byte == b'\r' || byte == b'\n').next().unwrap_or_default();
    String::from_utf8_lossy(&line[..line.len().min(QUOTED)]).escape_debug().to_string()
}

/// A TLS record: handshake (22) or alert (21), version 3.x.
fn is_tls(saw: &[u8]) -> bool {
    matches!(saw, [21 | 22, 3, ..])
}

fn advice(text: &str) -> &'static str {
    match text.split(' ').next() {
        Some("NOAUTH") => " (give the password with --auth)",
        Some("WRONGPASS") => " (wrong --user or --auth)",
        Some("NOPROTO") => " (leave out -3)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_one_line_that_names_the_place_whatever_the_peer_said() {
        let place = Address::Tcp { host: "::1".into(), port: 80 };
        let saw = b"HTTP/1.1 400 Bad\x1b[2J\r\nServer: x\r\n".to_vec();
        let text = Fault::NotResp { place: place.clone(), saw }.to_string();
        assert_eq!(text, "[::1]:80 does not speak RESP: it answered \"HTTP/1.1 400 Bad\\u{1b}[2J\"");
        let tls = Fault::NotResp { place: place.clone(), saw: vec![21, 3, 1, 0, 2] };
        assert_eq!(tls.to_string(), "[::1]:80 does not speak plain RESP but TLS: --tls is missing");
        let refused = Fault::Refused { place, command: "PING".into(), text: "NOAUTH needed".into() };
        assert_eq!(
            refused.to_string(),
            "[::1]:80 refused PING: NOAUTH needed (give the password with --auth)"
        );
    }
}
