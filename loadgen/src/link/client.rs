//! Connecting, and the conversation before and beside the load: log in, choose the protocol and the database, ask for
//! the slots of a cluster. A `Dialer` opens connections two ways: blocking, with an error that says what is wrong
//! (the start of a run), and without ever waiting (a reconnect amid the load, where a late loop would spoil the run).

use std::{
    io::{self, BufReader, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};

use super::{
    Address, Fault, Link, Target,
    slots::SlotMap,
    tls::{self, TlsStream},
    value::{Unread, Value},
};

/// How long a server may take to accept, and then to answer each step of the handshake.
const PATIENCE: Duration = Duration::from_secs(5);

/// An address resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spot {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Spot {
    /// Where `address` is. Asks the resolver unless the host is a number.
    pub fn all(address: &Address) -> Result<Vec<Self>, Fault> {
        let fault = |error| Fault::Unreachable { place: address.clone(), error };
        match address {
            Address::Unix(path) => Ok(vec![Self::Unix(path.clone())]),
            Address::Tcp { host, port } => {
                let found = (host.as_str(), *port).to_socket_addrs().map_err(fault)?;
                Ok(found.map(Self::Tcp).collect())
            }
        }
    }
}

/// One node of a target, found: what it takes to connect to it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub address: Address,
    pub spot: Spot,
    pub role: Role,
}

impl Peer {
    /// Looks `address` up.
    pub fn find(address: &Address, role: Role) -> Result<Self, Fault> {
        let spot = Spot::all(address)?.into_iter().next().ok_or_else(|| nowhere(address))?;
        Ok(Self { address: address.clone(), spot, role })
    }

    pub fn is(&self, address: &Address, role: Role) -> bool {
        self.role == role && self.address == *address
    }
}

fn nowhere(address: &Address) -> Fault {
    let error = io::Error::new(ErrorKind::NotFound, "the name has no address");
    Fault::Unreachable { place: address.clone(), error }
}

/// Opens connections to the servers of one target.
#[derive(Clone)]
pub struct Dialer {
    target: Target,
    tls: Option<Arc<ClientConfig>>,
}

/// What a connection is for, which in a cluster changes its greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Primary,
    /// Reads from a replica: told so by READONLY.
    Replica,
}

impl Dialer {
    pub fn new(target: &Target) -> Result<Self, Fault> {
        target.check().map_err(Fault::Options)?;
        let tls = target.tls.as_ref().map(tls::config).transpose()?;
        Ok(Self { target: target.clone(), tls })
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Connects to `address` and is let in.
    pub fn client(&self, address: &Address, role: Role) -> Result<Client, Fault> {
        let mut connected = Err(nowhere(address));
        for spot in Spot::all(address)? {
            connected = match connect(&spot) {
                Ok(stream) => Ok((stream, spot)),
                Err(error) => Err(Fault::Unreachable { place: address.clone(), error }),
            };
            if connected.is_ok() {
                break;
            }
        }
        let (stream, spot) = connected?;
        let stream = self.secured(stream, address)?;
        let peer = Peer { address: address.clone(), spot, role };
        let mut client = Client { peer, stream: BufReader::new(stream) };
        for command in self.greeting(role) {
            let words: Vec<&str> = command.iter().map(String::as_str).collect();
            let reply = client.call(&words)?;
            if words[0] == "HELLO" && reply.field("proto").and_then(Value::number) != Some(3) {
                return Err(client.odd("HELLO", "no protocol 3 in it"));
            }
        }
        Ok(client)
    }

    /// Starts to connect. Reading and writing report how that went; the first bytes written must be `opening`.
    pub fn begin(&self, peer: &Peer) -> io::Result<Link> {
        let family = match &peer.spot {
            Spot::Unix(_) => AddressFamily::UNIX,
            Spot::Tcp(SocketAddr::V4(_)) => AddressFamily::INET,
            Spot::Tcp(SocketAddr::V6(_)) => AddressFamily::INET6,
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
        let started = match &peer.spot {
            Spot::Unix(path) => net::connect(&socket, &SocketAddrUnix::new(path)?),
            Spot::Tcp(at) => net::connect(&socket, at),
        };
        match started {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        if matches!(peer.spot, Spot::Unix(_)) {
            return Ok(Link::Unix(socket.into()));
        }
        let socket = TcpStream::from(socket);
        socket.set_nodelay(true)?;
        Ok(match &self.tls {
            None => Link::Tcp(socket),
            Some(_) => Link::Tls(Box::new(TlsStream::new(self.session(&peer.address)?, socket))),
        })
    }

    /// The greeting as bytes, and how many replies it brings before those of the load.
    pub fn opening(&self, role: Role) -> (Vec<u8>, usize) {
        let commands = self.greeting(role);
        (commands.iter().flat_map(|command| encoded(command)).collect(), commands.len())
    }

    fn greeting(&self, role: Role) -> Vec<Vec<String>> {
        let target = &self.target;
        let login = target.password.as_ref().map(|password| (target.user.as_ref(), password));
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let mut greeting: Vec<Vec<String>> = Vec::new();
        match login {
            _ if target.resp3 => {
                let mut hello: Vec<String> = words(&["HELLO", "3"]);
                if let Some((user, password)) = login {
                    hello.extend(words(&["AUTH", user.map_or("default", String::as_str), password]));
                }
                greeting.push(hello);
            }
            Some((Some(user), password)) => greeting.push(words(&["AUTH", user, password])),
            Some((None, password)) => greeting.push(words(&["AUTH", password])),
            None => {}
        }
        if target.db != 0 {
            greeting.push(words(&["SELECT", &target.db.to_string()]));
        }
        if role == Role::Replica {
            greeting.push(words(&["READONLY"]));
        }
        // Its answer shows that the server serves, and in a reconnect that the connection stands.
        greeting.push(words(&["PING"]));
        greeting
    }

    fn secured(&self, stream: Stream, address: &Address) -> Result<Stream, Fault> {
        let mut socket = match stream {
            Stream::Tcp(socket) if self.tls.is_some() => socket,
            plain => return Ok(plain),
        };
        let fault = |error: io::Error| Fault::Tls { place: address.clone(), problem: tls_problem(&error) };
        let mut session = self.session(address).map_err(fault)?;
        while session.is_handshaking() {
            session.complete_io(&mut socket).map_err(fault)?;
        }
        Ok(Stream::Tls(Box::new(StreamOwned::new(session, socket))))
    }

    fn session(&self, address: &Address) -> io::Result<ClientConnection> {
        let config = self.tls.as_ref().expect("only a target with TLS has sessions");
        let host = match address {
            Address::Tcp { host, .. } => host.as_str(),
            Address::Unix(_) => unreachable!("Target::check refuses TLS over a unix socket"),
        };
        let asked = self.target.tls.as_ref().and_then(|options| options.sni.as_deref());
        let name = ServerName::try_from(asked.unwrap_or(host).to_owned()).map_err(io::Error::other)?;
        ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)
    }
}

fn connect(spot: &Spot) -> io::Result<Stream> {
    match spot {
        Spot::Tcp(at) => {
            let socket = TcpStream::connect_timeout(at, PATIENCE)?;
            socket.set_nodelay(true)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.set_write_timeout(Some(PATIENCE))?;
            Ok(Stream::Tcp(socket))
        }
        Spot::Unix(path) => {
            let socket = UnixStream::connect(path)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.set_write_timeout(Some(PATIENCE))?;
            Ok(Stream::Unix(socket))
        }
    }
}

fn encoded(command: &[impl AsRef<str>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
    for word in command {
        let word = word.as_ref();
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    bytes
}

/// In words of a user what rustls says in its own.
fn tls_problem(error: &io::Error) -> String {
    use rustls::{AlertDescription, CertificateError, Error};
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidMessage(_)) => "the answer is not TLS: a plain port?".into(),
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "nobody trusted has signed its certificate (give --cacert or --insecure)".into()
        }
        Some(Error::AlertReceived(AlertDescription::CertificateRequired)) => {
            "the server wants a certificate of the client (give --cert and --key)".into()
        }
        Some(known) => known.to_string(),
        None if timed_out(error) => format!("no answer for {} s: a plain port?", PATIENCE.as_secs()),
        None if error.kind() == ErrorKind::UnexpectedEof => {
            "the server closed the connection: a plain port?".into()
        }
        None => error.to_string(),
    }
}

/// What a socket with a timeout reports when it passed.
fn timed_out(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// A blocking stream, every read and write bounded by `PATIENCE`.
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.flush(),
            Self::Unix(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

impl Stream {
    fn into_link(self) -> io::Result<Link> {
        Ok(match self {
            Self::Tcp(stream) => {
                stream.set_nonblocking(true)?;
                Link::Tcp(stream)
            }
            Self::Unix(stream) => {
                stream.set_nonblocking(true)?;
                Link::Unix(stream)
            }
            Self::Tls(stream) => {
                let (session, socket) = stream.into_parts();
                socket.set_nonblocking(true)?;
                Link::Tls(Box::new(TlsStream::new(session, socket)))
            }
        })
    }
}

/// A blocking conversation with one server that has let us in.
pub struct Client {
    peer: Peer,
    stream: BufReader<Stream>,
}

impl Client {
    /// Sends one command and waits for its reply; an error reply is a fault.
    pub fn call(&mut self, words: &[&str]) -> Result<Value, Fault> {
        // A server that refuses the connection says why and closes it: its words are worth more than a broken pipe.
        let sent = self.stream.get_mut().write_all(&encoded(words));
        let place = || self.peer.address.clone();
        match (Value::read(&mut self.stream), sent) {
            (Ok(Value::Error(text)), _) => {
                Err(Fault::Refused { place: place(), command: words[0].into(), text })
            }
            (Ok(value), _) => Ok(value),
            (Err(Unread::NotResp(saw)), _) => Err(Fault::NotResp { place: place(), saw }),
            (Err(Unread::Io(error)), _) if timed_out(&error) => {
                Err(Fault::Silent { place: place(), seconds: PATIENCE.as_secs() })
            }
            (Err(Unread::Io(error)), _)
                if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) =>
            {
                Err(Fault::Tls { place: place(), problem: tls_problem(&error) })
            }
            (Err(Unread::Io(_)), Err(error)) | (Err(Unread::Io(error)), Ok(())) => Err(Fault::Broken {
                place: place(),
                error,
                tls: matches!(self.stream.get_ref(), Stream::Tls(_)),
            }),
        }
    }

    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Which node serves which slot.
    pub fn slots(&mut self) -> Result<SlotMap, Fault> {
        let reply = self.call(&["CLUSTER", "SLOTS"])?;
        SlotMap::read(&reply, &self.peer.address).map_err(|problem| self.odd("CLUSTER SLOTS", problem))
    }

    /// What the server knows of the command `name`: whether it only reads, and which word is its first key (0 = none).
    pub fn command(&mut self, name: &str) -> Result<(bool, usize), Fault> {
        let reply = self.call(&["COMMAND", "INFO", name])?;
        let facts = reply.list().and_then(|list| list.first()?.list());
        let reads = |flags: &[Value]| flags.iter().any(|flag| flag.text() == Some("readonly"));
        let known = facts.and_then(|facts| {
            let first = usize::try_from(facts.get(3)?.number()?).unwrap_or(0);
            Some((reads(facts.get(2)?.list()?), first))
        });
        known.ok_or_else(|| self.odd("COMMAND INFO", format!("{name} is not known to it")))
    }

    fn odd(&self, command: &str, problem: impl Into<String>) -> Fault {
        Fault::Odd { place: self.peer.address.clone(), command: command.into(), problem: problem.into() }
    }

    /// The connection, ready for the load.
    pub fn into_link(self) -> Result<Link, Fault> {
        if !self.stream.buffer().is_empty() {
            return Err(self.odd("PING", "more than one reply"));
        }
        let Self { peer: Peer { address: place, .. }, stream } = self;
        stream.into_inner().into_link().map_err(|error| Fault::Unreachable { place, error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening(uri: &str, role: Role) -> (String, usize) {
        let dialer = Dialer::new(&uri.parse().expect("a URI")).expect("a possible target");
        let (bytes, replies) = dialer.opening(role);
        (String::from_utf8(bytes).expect("ascii").replace("\r\n", " "), replies)
    }

    #[test]
    fn the_greeting_is_what_the_target_needs_and_no_more() {
        let ping = "*1 $4 PING ";
        let cases = [
            ("redis://a", Role::Primary, "", 0),
            ("redis://:pw@a", Role::Primary, "*2 $4 AUTH $2 pw ", 1),
            ("redis://me:pw@a/3", Role::Primary, "*3 $4 AUTH $2 me $2 pw *2 $6 SELECT $1 3 ", 2),
            (
                "redis://:pw@a?protocol=3",
                Role::Replica,
                "*5 $5 HELLO $1 3 $4 AUTH $7 default $2 pw *1 $8 READONLY ",
                2,
            ),
        ];
        for (uri, role, bytes, replies) in cases {
            assert_eq!(opening(uri, role), (format!("{bytes}{ping}"), replies + 1), "{uri}");
        }
    }
}
