//! A client for asking a server of itself and for filling it: commands out, replies kept as the text they came in.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Sends one command; returns its reply as it came in. `patience` is for the answer.
pub fn ask(address: SocketAddr, words: &[&str], patience: Duration) -> io::Result<String> {
    let mut request = Vec::new();
    push_command(&mut request, words);
    let mut pipe = Pipe::open(address, patience)?;
    pipe.exchange(&request, 1)?;
    Ok(String::from_utf8_lossy(&pipe.reply).into_owned())
}

/// Appends one command to `out`.
pub fn push_command<W: AsRef<[u8]>>(out: &mut Vec<u8>, words: &[W]) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words.iter().map(AsRef::as_ref) {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

/// A connection over which pipelines go: each leaves at once, and then all its replies are awaited.
pub struct Pipe {
    wire: BufReader<TcpStream>,
    /// The last reply.
    reply: Vec<u8>,
}

impl Pipe {
    pub fn open(address: SocketAddr, patience: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, CONNECT_LIMIT)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_nodelay(true)?;
        Ok(Self { wire: BufReader::with_capacity(64 * 1024, stream), reply: Vec::new() })
    }

    /// Sends `requests` commands and takes all their replies; returns the first that is an error.
    pub fn exchange(&mut self, pipeline: &[u8], requests: usize) -> io::Result<Option<String>> {
        self.wire.get_ref().write_all(pipeline)?;
        let mut refusal = None;
        for _ in 0..requests {
            self.reply.clear();
            take_reply(&mut self.wire, &mut self.reply)?;
            if self.reply[0] == b'-' && refusal.is_none() {
                refusal = Some(String::from_utf8_lossy(&self.reply).trim().to_owned());
            }
        }
        Ok(refusal)
    }

    /// As `exchange`, for commands of which none may fail.
    pub fn order(&mut self, pipeline: &[u8], requests: usize) -> Result<(), String> {
        match self.exchange(pipeline, requests) {
            Ok(None) => Ok(()),
            Ok(Some(refusal)) => Err(refusal),
            Err(error) => Err(error.to_string()),
        }
    }
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
