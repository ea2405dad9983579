//! A blocking client that keeps replies as the bytes they came in.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::reply::{self, Reply};

/// Longer than any answer a test waits for; reached only when a server hangs.
const PATIENCE: Duration = Duration::from_secs(20);

enum Wire {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Read for Wire {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Tcp(stream) => stream.read(buf),
            Wire::Unix(stream) => stream.read(buf),
        }
    }
}

pub struct Client {
    wire: BufReader<Wire>,
}

/// One command as the multi-bulk bytes of the protocol.
pub fn encode<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        let arg = arg.as_ref();
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
    out
}

impl Client {
    pub fn connect(port: u16) -> io::Result<Client> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        Client::tcp(stream)
    }

    pub fn tcp(stream: TcpStream) -> io::Result<Client> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Client { wire: BufReader::with_capacity(1 << 16, Wire::Tcp(stream)) })
    }

    pub fn unix(path: &Path) -> io::Result<Client> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Client { wire: BufReader::new(Wire::Unix(stream)) })
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.wire.get_mut() {
            Wire::Tcp(stream) => stream.write_all(bytes),
            Wire::Unix(stream) => stream.write_all(bytes),
        }
    }

    /// Tells the server that nothing more will come; replies can still be read.
    pub fn finish_sending(&mut self) -> io::Result<()> {
        match self.wire.get_mut() {
            Wire::Tcp(stream) => stream.shutdown(std::net::Shutdown::Write),
            Wire::Unix(stream) => stream.shutdown(std::net::Shutdown::Write),
        }
    }

    /// The bytes of the next whole reply. An end of the stream before its first byte is `UnexpectedEof`.
    pub fn read_raw(&mut self) -> io::Result<Vec<u8>> {
        let mut raw = Vec::new();
        let mut pending = 1;
        while pending > 0 {
            let start = raw.len();
            self.wire.read_until(b'\n', &mut raw)?;
            let Some(line) = raw[start..].strip_suffix(b"\r\n") else {
                let kind =
                    if raw.is_empty() { io::ErrorKind::UnexpectedEof } else { io::ErrorKind::InvalidData };
                return Err(io::Error::new(
                    kind,
                    format!("ended after {:?}", raw.escape_ascii().to_string()),
                ));
            };
            pending -= 1;
            if let Some(length) = reply::payload(line) {
                let start = raw.len();
                raw.resize(start + length + 2, 0);
                self.wire.read_exact(&mut raw[start..])?;
            } else {
                pending += reply::children(line).unwrap_or(0);
            }
        }
        Ok(raw)
    }

    /// Everything until the server closes.
    pub fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        match self.wire.read_to_end(&mut all) {
            // A server that closes with unread input resets the connection; what came before it still counts.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(all),
            other => other.map(|_| all),
        }
    }

    pub fn set_patience(&mut self, patience: Duration) -> io::Result<()> {
        match self.wire.get_mut() {
            Wire::Tcp(stream) => stream.set_read_timeout(Some(patience)),
            Wire::Unix(stream) => stream.set_read_timeout(Some(patience)),
        }
    }

    pub fn raw<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<Vec<u8>> {
        self.send(&encode(args))?;
        self.read_raw()
    }

    pub fn read(&mut self) -> io::Result<Reply> {
        self.read_raw().map(|raw| Reply::parse(&raw))
    }

    /// One command and its reply; a lost connection is a `Closed` reply.
    pub fn call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Reply {
        match self.raw(args) {
            Ok(raw) => Reply::parse(&raw),
            Err(error) => Reply::Closed(error.to_string()),
        }
    }

    /// `call` for commands written as text without spaces in their arguments.
    pub fn line(&mut self, command: &str) -> Reply {
        self.call(&command.split(' ').collect::<Vec<_>>())
    }
}
