//! Connections on their way in: who may enter, and which core serves them.

use std::io::Write;
use std::net::{IpAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};

use super::shared::Shared;
use crate::commands::Core;
use crate::session::Peer;

/// A connection that a core is to serve.
pub struct Arrival {
    pub socket: OwnedFd,
    pub peer: Peer,
}

/// Hands connections round the cores in turn, so that they spread evenly however few they are.
#[derive(Debug, Default)]
pub struct Door {
    next: usize,
}

impl Door {
    /// Admits a connection and says which core serves it, or tells the client why not.
    pub fn admit(
        &mut self,
        socket: OwnedFd,
        unix: Option<&str>,
        core: &mut Core,
        shared: &Shared,
    ) -> Option<(usize, Arrival)> {
        let (peer, remote) = describe(&socket, unix);
        if let Some(refusal) = refusal(core, remote) {
            core.stats.rejected_connections += 1;
            turn_away(socket, refusal);
            return None;
        }
        if !shared.admit(u64::from(core.settings.maxclients)) {
            core.stats.rejected_connections += 1;
            turn_away(socket, "-ERR max number of clients reached\r\n");
            return None;
        }
        let to = self.next;
        self.next = (to + 1) % core.node.shards;
        Some((to, Arrival { socket, peer }))
    }
}

/// Why a client at `remote` may not enter: protected mode, as in the reference server.
fn refusal(core: &Core, remote: Option<IpAddr>) -> Option<&'static str> {
    let settings = &core.settings;
    let foreign = remote.is_some_and(|ip| !ip.to_canonical().is_loopback());
    (foreign && settings.protected_mode && settings.requirepass.is_empty()).then_some(
        "-DENIED Redis is running in protected mode because protected mode is enabled and no password is set for \
         the default user. Connections are only accepted from the loopback interface. Set 'requirepass', or \
         'protected-mode no' if the network is trusted.\r\n",
    )
}

/// Says why and closes. A new connection's send buffer is empty, so the line fits or the client is gone.
fn turn_away(socket: OwnedFd, line: &str) {
    let mut stream = TcpStream::from(socket);
    // Nobody is left to tell if these fail.
    let _ = stream.set_nonblocking(true);
    let _ = stream.write_all(line.as_bytes());
}

fn describe(socket: &OwnedFd, unix: Option<&str>) -> (Peer, Option<IpAddr>) {
    let fd = socket.as_raw_fd();
    if let Some(path) = unix {
        let name: Box<str> = format!("{path}:0").into();
        return (Peer { fd, addr: name.clone(), laddr: name, unix: true }, None);
    }
    let socket = socket2::SockRef::from(socket);
    let text = |addr: std::io::Result<socket2::SockAddr>| addr.ok().and_then(|addr| addr.as_socket());
    let (remote, local) = (text(socket.peer_addr()), text(socket.local_addr()));
    let name = |addr: Option<std::net::SocketAddr>| addr.map_or("?:0".into(), |addr| addr.to_string().into());
    (Peer { fd, addr: name(remote), laddr: name(local), unix: false }, remote.map(|addr| addr.ip()))
}
