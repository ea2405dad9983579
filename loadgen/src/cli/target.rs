//! Whom to load.

use std::net::{SocketAddr, ToSocketAddrs};

use clap::Args;

#[derive(Args, Debug)]
pub struct Target {
    #[arg(short = 'h', long, default_value = "127.0.0.1")]
    host: String,
    #[arg(short = 'p', long, default_value_t = 6379)]
    port: u16,
}

impl Target {
    pub fn address(&self) -> Result<SocketAddr, String> {
        let at = (self.host.as_str(), self.port);
        let mut found = at.to_socket_addrs().map_err(|error| format!("{}: {error}", self.host))?;
        found.next().ok_or_else(|| format!("{} has no address", self.host))
    }
}
