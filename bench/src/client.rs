//! A client for asking a server of itself: one command, one reply, kept as the text it came in.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Sends one command; returns its reply as it came in. `patience` is for the answer.
pub fn ask(address: SocketAddr, words: &[&str], patience: Duration) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, CONNECT_LIMIT)?;
    stream.set_read_timeout(Some(patience))?;
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    stream.write_all(request.as_bytes())?;
    let mut reply = Vec::new();
    take_reply(&mut BufReader::new(stream), &mut reply)?;
    Ok(String::from_utf8_lossy(&reply).into_owned())
}

/// Appends one whole reply to `out`.
fn take_reply(wire: &mut impl BufRead, out: &mut Vec<u8>) -> io::Result<()> {
    let start = out.len();
    if wire.read_until(b'\n', out)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let line = String::from_utf8_lossy(&out[start..]).into_owned();
    let count =
        || line[1..].trim_end().parse::<i64>().map_err(|_| io::Error::from(io::ErrorKind::InvalidData));
    match line.as_bytes()[0] {
        b'$' => {
            // A null has no body.
            if let Ok(length) = u64::try_from(count()?) {
                wire.take(length + 2).read_to_end(out)?;
            }
        }
        b'*' => {
            for _ in 0..count()? {
                take_reply(wire, out)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// What INFO said.
pub struct Info(pub String);

impl Info {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }

    /// A number; 0 where the server does not know the field.
    pub fn number(&self, name: &str) -> f64 {
        self.field(name).and_then(|text| text.parse().ok()).unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_taken_whole_and_nothing_behind_it() {
        let reply = "*2\r\n$3\r\nset\r\n*2\r\n:7\r\n$-1\r\n";
        let mut wire = io::Cursor::new(format!("{reply}+next\r\n"));
        let mut out = Vec::new();
        take_reply(&mut wire, &mut out).expect("complete");
        assert_eq!(String::from_utf8_lossy(&out), reply);
        assert!(take_reply(&mut io::Cursor::new(""), &mut out).is_err());
    }

    #[test]
    fn fields_of_info_are_found_by_their_whole_name() {
        let info = Info("# Stats\r\nsync_full:3\r\nsync_full_x:4\r\nlink:up\r\n".into());
        assert_eq!(info.number("sync_full"), 3.0);
        assert_eq!(info.field("link"), Some("up"));
        assert_eq!(info.number("sync"), 0.0);
    }
}
