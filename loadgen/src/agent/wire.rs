//! How a leader and its agents talk: each message is its length in four bytes, most significant first, and so many
//! bytes of JSON. Every length is bounded by what the receiver is ready to take, before anything is allocated.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    document::{Document, Interval},
    plan::Plan,
};

/// Changes with the messages below.
pub const PROTOCOL: u32 = 1;

/// Most bytes of a message from somebody who has not shown the token.
pub const STRANGER_BYTES: u32 = 4 << 10;
/// Of a plan: a mix of 256 commands is the largest part of it.
pub const PLAN_BYTES: u32 = 1 << 20;
/// Of a report: 256 commands and a second's entry for each of 10 hours.
pub const REPORT_BYTES: u32 = 256 << 20;

/// Pieces in which a message is read, so that a length alone reserves no memory.
const PIECE: u64 = 64 << 10;

/// The first message of a leader.
#[derive(Debug, Serialize, Deserialize)]
pub struct Hello {
    pub protocol: u32,
    pub version: String,
    pub token: String,
}

/// What a leader says after its `Hello`.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// Fill what is to be filled, connect, and report `Ready`.
    Prepare(Box<Job>),
    /// Answer `Pong` at once.
    Ping,
    /// Begin this long from now.
    Start { in_ns: u64 },
    /// End early and report.
    Stop,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Job {
    pub plan: Plan,
}

/// What an agent says.
#[derive(Debug, Serialize, Deserialize)]
pub enum Word {
    Welcome,
    /// Nothing will come of it, and why.
    Refused(String),
    Ready,
    Pong,
    /// The last whole second, and the report up to now without its series.
    Second(Box<(Interval, Document)>),
    Done(Box<Document>),
}

/// One end of a conversation.
pub struct Wire {
    stream: TcpStream,
    patience: Duration,
}

impl Wire {
    /// `patience` bounds each read and write.
    pub fn new(stream: TcpStream, patience: Duration) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Self { stream, patience })
    }

    /// Another handle on the same connection; only one of them may read.
    pub fn twin(&self) -> io::Result<Self> {
        Ok(Self { stream: self.stream.try_clone()?, patience: self.patience })
    }

    /// Whether a message, or the end of the conversation, arrives `within` this time.
    pub fn arrives(&self, within: Duration) -> io::Result<bool> {
        self.stream.set_read_timeout(Some(within))?;
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_read_timeout(Some(self.patience))?;
        match peeked {
            Ok(_) => Ok(true),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => Ok(false),
                _ => Err(error),
            },
        }
    }

    /// Ends the conversation; whoever reads sees its end.
    pub fn close(&self) {
        // It may have ended already.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }

    pub fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        let body = serde_json::to_vec(message)?;
        let len = u32::try_from(body.len()).map_err(|_| io::Error::from(ErrorKind::InvalidInput))?;
        let mut bytes = len.to_be_bytes().to_vec();
        bytes.extend_from_slice(&body);
        self.stream.write_all(&bytes)
    }

    /// The next message, of at most `limit` bytes. The errors are worded for the line they end.
    pub fn receive<T: DeserializeOwned>(&mut self, limit: u32) -> Result<T, String> {
        let mut len = [0; 4];
        self.stream.read_exact(&mut len).map_err(|error| lost(&error))?;
        let len = u32::from_be_bytes(len);
        if len > limit {
            return Err(format!("a message of {len} bytes, where {limit} are the most: not an agent's"));
        }
        let (mut body, mut rest) = (Vec::new(), u64::from(len));
        while rest > 0 {
            let taken = Read::take(&self.stream, rest.min(PIECE)).read_to_end(&mut body);
            match taken.map_err(|error| lost(&error))? as u64 {
                0 => return Err("it closed the connection".into()),
                taken => rest -= taken,
            }
        }
        serde_json::from_slice(&body).map_err(|error| format!("a message that makes no sense: {error}"))
    }
}

fn lost(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::UnexpectedEof => "it closed the connection".into(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut => "it stopped answering".into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn pair() -> (Wire, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let far = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
        let near = listener.accept().expect("accepted").0;
        (Wire::new(near, Duration::from_millis(200)).expect("options"), far)
    }

    #[test]
    fn messages_arrive_whole_and_in_order() {
        let (mut near, far) = pair();
        let mut far = Wire::new(far, Duration::from_secs(5)).expect("options");
        far.send(&Order::Ping).expect("sent");
        far.send(&Order::Start { in_ns: 7 }).expect("sent");
        assert!(matches!(near.receive(STRANGER_BYTES), Ok(Order::Ping)));
        assert!(matches!(near.receive(STRANGER_BYTES), Ok(Order::Start { in_ns: 7 })));
        far.close();
        let end = near.receive::<Order>(STRANGER_BYTES).expect_err("closed");
        assert_eq!(end, "it closed the connection");
    }

    #[test]
    fn whatever_a_peer_sends_is_refused_in_words() {
        let deep = format!("{}{}", "[".repeat(2000), "]".repeat(2000));
        let framed = |text: &str| [&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat();
        let cases: [(Vec<u8>, &str); 6] = [
            (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "not an agent's"),
            (u32::MAX.to_be_bytes().to_vec(), "not an agent's"),
            (framed("{\"Start\":{}}"), "makes no sense"),
            (framed(&deep), "makes no sense"),
            (vec![0, 0, 1, 0, b'x'], "it stopped answering"),
            (framed("\u{fffd}"), "makes no sense"),
        ];
        for (bytes, words) in cases {
            let (mut near, mut far) = pair();
            far.write_all(&bytes).expect("sent");
            let problem = near.receive::<Order>(STRANGER_BYTES).expect_err("nonsense");
            assert!(problem.contains(words), "{problem}");
        }
    }
}
