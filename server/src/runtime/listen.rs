//! Listening sockets: TCP over both families, and unix sockets.
//!
//! One core accepts and hands connections out in turn, so there is no SO_REUSEPORT: hashing a few dozen
//! connections over sockets spreads them unevenly, and with it a second instance would start silently
//! on a taken port.

use super::{Fault, clock};
use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};
use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs},
    os::{
        fd::{AsRawFd, RawFd},
        unix::fs::{FileTypeExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

/// How long a bind is tried again: a ring of our own predecessor that ended moments ago gives its
/// listener back asynchronously.
const BIND_PATIENCE_US: u64 = 1_000_000;
const BIND_RETRY: Duration = Duration::from_millis(20);

/// A socket that listens; the file of a unix socket is removed with it.
pub struct Listener {
    socket: Socket,
    name: String,
    path: Option<PathBuf>,
}

impl Listener {
    /// The address as the operator would write it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether its connections come over TCP, rather than from this machine's file system.
    pub fn is_tcp(&self) -> bool {
        self.path.is_none()
    }

    /// The TCP port it listens on; none for a unix socket.
    pub fn port(&self) -> Option<u16> {
        self.socket.local_addr().ok()?.as_socket().map(|address| address.port())
    }

    /// Connections accepted from now on are probed after `seconds` of silence; 0 turns that off.
    pub fn set_keepalive(&self, seconds: u32) -> io::Result<()> {
        keepalive(&self.socket, seconds)
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // Gone already is as good as removed.
            let _ = fs::remove_file(path);
        }
    }
}

/// Listens on every address of the `bind` directive: names or addresses of both families, `*` and
/// `::*` for all of a family, and a leading `-` for those that may be missing on this machine.
/// Accepted sockets inherit nodelay and keepalive (`keepalive_s` seconds, 0 = off).
pub fn tcp(binds: &[String], port: u16, backlog: i32, keepalive_s: u32) -> Result<Vec<Listener>, Fault> {
    let mut listeners = Vec::new();
    for bind in binds {
        let (optional, host) = match bind.strip_prefix('-') {
            Some(host) => (true, host),
            None => (false, bind.as_str()),
        };
        let bound = resolve(host, port)
            .and_then(|address| tcp_listener(address, backlog, keepalive_s).map(|socket| (socket, address)));
        match bound {
            Ok((socket, address)) => {
                listeners.push(Listener { socket, name: address.to_string(), path: None });
            }
            Err(error) if optional && is_missing_address(&error) => {}
            Err(error) => return Err(bind_fault(bind, port, &error)),
        }
    }
    if listeners.is_empty() {
        return Err(Fault::new(format!(
            "none of the addresses of 'bind' exists on this machine: {}; name one that does",
            binds.join(" ")
        )));
    }
    Ok(listeners)
}

fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    match host {
        "*" => return Ok((Ipv4Addr::UNSPECIFIED, port).into()),
        "::*" => return Ok((Ipv6Addr::UNSPECIFIED, port).into()),
        _ => {}
    }
    if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        return Ok((address, port).into());
    }
    (host, port).to_socket_addrs()?.next().ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))
}

fn is_missing_address(error: &io::Error) -> bool {
    let missing = [libc::EADDRNOTAVAIL, libc::EAFNOSUPPORT, libc::EPROTONOSUPPORT];
    error.raw_os_error().is_some_and(|code| missing.contains(&code))
}

fn bind_fault(bind: &str, port: u16, error: &io::Error) -> Fault {
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => Fault::new(format!(
            "cannot listen on {bind} port {port}: another process does; stop it or choose another 'port'"
        )),
        Some(libc::EADDRNOTAVAIL) => Fault::new(format!(
            "cannot listen on {bind} port {port}: this machine has no such address; correct 'bind', or write '-{bind}' if it may be missing"
        )),
        Some(libc::EACCES) => Fault::new(format!(
            "cannot listen on {bind} port {port}: ports below 1024 need CAP_NET_BIND_SERVICE; grant it or choose another 'port'"
        )),
        _ => Fault::io(format!("cannot listen on {bind} port {port}"), error),
    }
}

fn tcp_listener(address: SocketAddr, backlog: i32, keepalive_s: u32) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // Or `*` and `::*` would be two listeners for one port.
        socket.set_only_v6(true)?;
    }
    // For connections of a predecessor in TIME_WAIT; a second listener is still refused.
    socket.set_reuse_address(true)?;
    bind_patiently(&socket, &address.into(), backlog)?;
    socket.set_tcp_nodelay(true)?;
    keepalive(&socket, keepalive_s)?;
    Ok(socket)
}

fn keepalive(socket: &Socket, seconds: u32) -> io::Result<()> {
    if seconds == 0 {
        return socket.set_keepalive(false);
    }
    // Three probes within as long again as the silence that started them.
    let interval = Duration::from_secs(u64::from((seconds / 3).max(1)));
    let silence = Duration::from_secs(u64::from(seconds));
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(silence).with_interval(interval).with_retries(3))
}

fn bind_patiently(socket: &Socket, address: &SockAddr, backlog: i32) -> io::Result<()> {
    let start = clock::monotonic_us();
    loop {
        // A port freed between the two calls may be taken by another: both are tried again.
        match socket.bind(address).and_then(|()| socket.listen(backlog)) {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse
                    && clock::monotonic_us() - start < BIND_PATIENCE_US =>
            {
                thread::sleep(BIND_RETRY);
            }
            result => return result,
        }
    }
}

/// Listens on a unix socket at `path` with these permission bits, or those of the umask. A socket file
/// that nobody listens on is replaced; any other file is left alone.
pub fn unix(path: &Path, mode: Option<u32>, backlog: i32) -> Result<Listener, Fault> {
    let shown = path.display();
    remove_stale(path)?;
    let failed = |error: io::Error| Fault::io(format!("cannot listen on unix socket {shown}"), &error);
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
    let address = SockAddr::unix(path).map_err(failed)?;
    socket.bind(&address).map_err(failed)?;
    let listener = Listener { socket, name: shown.to_string(), path: Some(path.to_owned()) };
    if let Some(mode) = mode {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)?;
    }
    listener.socket.listen(backlog).map_err(failed)?;
    Ok(listener)
}

fn remove_stale(path: &Path) -> Result<(), Fault> {
    let shown = path.display();
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(Fault::new(format!(
            "cannot listen on unix socket {shown}: a file that is not a socket is there; remove it or change 'unixsocket'"
        )));
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)
        .and_then(|socket| socket.connect(&SockAddr::unix(path)?));
    match probe {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)
            .map_err(|error| Fault::io(format!("cannot remove the stale unix socket {shown}"), &error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(()) => Err(Fault::new(format!(
            "cannot listen on unix socket {shown}: another process does; stop it or change 'unixsocket'"
        ))),
        Err(error) => Err(Fault::io(format!("cannot listen on unix socket {shown}"), &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{net::TcpStream, os::unix::net::UnixListener};

    fn one(bind: &str, port: u16) -> Result<Listener, Fault> {
        tcp(&[bind.to_owned()], port, 16, 60).map(|mut listeners| listeners.pop().unwrap())
    }

    #[test]
    fn a_taken_port_is_refused_and_a_freed_one_is_not() {
        let first = one("127.0.0.1", 0).unwrap();
        let port = first.port().unwrap();
        let refused = one("127.0.0.1", port).err().unwrap().to_string();
        assert!(
            refused.contains(&format!("port {port}")) && refused.contains("another process"),
            "{refused}"
        );
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (accepted, _) = first.socket.accept().unwrap();
        // Closing this side first leaves TIME_WAIT behind, as a restart does.
        drop((accepted, first));
        drop(client);
        assert_eq!(one("127.0.0.1", port).unwrap().port(), Some(port));
    }

    #[test]
    fn a_port_freed_within_the_patience_is_taken() {
        let first = one("127.0.0.1", 0).unwrap();
        let port = first.port().unwrap();
        let second = thread::spawn(move || one("127.0.0.1", port).is_ok());
        thread::sleep(BIND_RETRY * 3);
        drop(first);
        assert!(second.join().unwrap());
    }

    #[test]
    fn both_families_share_a_port_and_a_missing_address_may_be_optional() {
        let v4 = one("*", 0).unwrap();
        let port = v4.port().unwrap();
        let v6 = tcp(&["-::*".to_owned(), "-192.0.2.1".to_owned()], port, 16, 0);
        assert!(v6.is_ok() || !Path::new("/proc/net/if_inet6").exists());
        let fault = one("192.0.2.1", port).err().unwrap().to_string();
        assert!(fault.contains("no such address") && fault.contains("-192.0.2.1"), "{fault}");
        assert!(one("-192.0.2.1", port).is_err(), "at least one address must exist");
        assert!(one("no.such.host.invalid", port).is_err());
    }

    #[test]
    fn a_unix_socket_replaces_only_a_stale_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("torc.sock");
        let first = unix(&path, Some(0o640), 16).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(unix(&path, None, 16).err().unwrap().to_string().contains("another process"));
        drop(first);
        assert!(!path.exists(), "the file goes with the listener");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "std leaves a stale file");
        drop(unix(&path, None, 16).unwrap());
        fs::write(&path, b"data").unwrap();
        assert!(unix(&path, None, 16).err().unwrap().to_string().contains("not a socket"));
        assert_eq!(fs::read(&path).unwrap(), b"data");
    }
}
