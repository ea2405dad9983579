//! How a connection comes about: opened, and asked whether it speaks the protocol before any load is put on it. The
//! one place of the engine that knows what a stream is.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::Duration,
};

use super::Fault;
use crate::{
    plan::Plan,
    replies::{Answer, Sink, Skimmer},
};

pub type Stream = TcpStream;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that has answered a PING.
pub fn open(plan: &Plan) -> Result<Stream, Fault> {
    let fault = |problem: String| Fault::Connect { target: plan.target.to_string(), problem };
    let mut stream = TcpStream::connect_timeout(&plan.target, CONNECT_TIMEOUT)
        .map_err(|error| fault(error.to_string()))?;
    let machine = |error| Fault::Machine { what: "a socket's options", error };
    stream.set_nodelay(true).map_err(machine)?;
    stream.set_read_timeout(Some(CONNECT_TIMEOUT)).map_err(machine)?;
    ask(&mut stream, b"*1\r\n$4\r\nPING\r\n").map_err(fault)?;
    stream.set_read_timeout(None).map_err(machine)?;
    Ok(stream)
}

/// Sends one request and takes its whole reply: the body if it is a bulk string, else nothing.
pub fn ask(stream: &mut (impl Read + Write), request: &[u8]) -> Result<Vec<u8>, String> {
    let lost = |error: io::Error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            "it accepts connections and does not answer".into()
        }
        _ => error.to_string(),
    };
    stream.write_all(request).map_err(lost)?;
    let mut skimmer = Skimmer::default();
    let mut reply = Whole::default();
    let mut buffer = [0; 4096];
    while !reply.done {
        let len = match stream.read(&mut buffer) {
            Ok(0) => return Err("it closed the connection instead of answering".into()),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(lost(error)),
        };
        if skimmer.feed(&buffer[..len], &mut reply).is_err() {
            let head = buffer[..len.min(32)].escape_ascii();
            return Err(format!("it does not speak RESP: its answer begins \"{head}\""));
        }
    }
    reply.error.map_or(Ok(reply.body), Err)
}

#[derive(Default)]
struct Whole {
    body: Vec<u8>,
    error: Option<String>,
    done: bool,
}

impl Sink for Whole {
    fn error(&mut self, text: &[u8]) {
        self.error = Some(String::from_utf8_lossy(text).into_owned());
    }

    fn body(&mut self, piece: &[u8]) {
        self.body.extend_from_slice(piece);
    }

    fn reply(&mut self, _: Answer, _: u64) {
        self.done = true;
    }
}
