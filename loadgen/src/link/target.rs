//! Where the servers are and what it takes to be let in, as the command line or a URI says it.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use super::uri;

pub const DEFAULT_PORT: u16 = 6379;

/// A place that accepts connections, as named: not resolved.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Address {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

/// Which nodes of a cluster reads go to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum ReadFrom {
    /// Primaries only
    #[default]
    No,
    /// Replicas only
    Yes,
    /// Primaries and replicas
    All,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsOptions {
    /// PEM file of the authorities to trust; without it those of the system.
    pub cacert: Option<PathBuf>,
    /// PEM files of the client's certificate chain and its key.
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// Name to ask for and to expect in the certificate, instead of the host's.
    pub sni: Option<String>,
    /// Accept any certificate.
    pub insecure: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub address: Address,
    pub user: Option<String>,
    pub password: Option<String>,
    pub db: u32,
    pub resp3: bool,
    pub tls: Option<TlsOptions>,
    /// The address is a node of a cluster; requests go to the owner of their key's slot.
    pub cluster: bool,
    pub read_from: ReadFrom,
}

impl Target {
    /// `address`, spoken to without TLS, password or cluster.
    pub fn plain(address: Address) -> Self {
        Self {
            address,
            user: None,
            password: None,
            db: 0,
            resp3: false,
            tls: None,
            cluster: false,
            read_from: ReadFrom::No,
        }
    }

    /// What makes the target impossible, in words for its author.
    pub fn check(&self) -> Result<(), String> {
        let unix = matches!(self.address, Address::Unix(_));
        let half_pair = self.tls.as_ref().is_some_and(|tls| tls.cert.is_some() != tls.key.is_some());
        let problem = if unix && self.tls.is_some() {
            "a unix socket has no TLS: leave out --tls"
        } else if unix && self.cluster {
            "the nodes of a cluster are reached by TCP: --cluster excludes a unix socket"
        } else if self.cluster && self.db != 0 {
            "a cluster has database 0 only: --cluster excludes --dbnum"
        } else if self.read_from != ReadFrom::No && !self.cluster {
            "--rfr reads from the replicas of a cluster: it needs --cluster"
        } else if self.user.is_some() && self.password.is_none() {
            "--user needs --auth"
        } else if half_pair {
            "--cert and --key go together"
        } else {
            return Ok(());
        };
        Err(problem.into())
    }
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self::plain(Address::from(address))
    }
}

/// A URI: `redis://[[user]:password@]host[:port][/db]`, `rediss://` for TLS, `unix://[[user]:password@]/path[?db=N]`.
impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        uri::parse(text)
    }
}

/// The address with what tells two targets apart; never a password.
impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.address)?;
        if self.db != 0 {
            write!(out, "/{}", self.db)?;
        }
        for (holds, word) in
            [(self.tls.is_some(), " TLS"), (self.cluster, " cluster"), (self.resp3, " RESP3")]
        {
            if holds {
                out.write_str(word)?;
            }
        }
        Ok(())
    }
}

impl Address {
    /// `host:port` as servers write it: an IPv6 address may stand without brackets.
    pub fn host_port(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        Some(Self::Tcp { host: bare(host).into(), port: port.parse().ok()? })
    }

    pub fn unix(path: impl AsRef<Path>) -> Self {
        Self::Unix(path.as_ref().into())
    }
}

/// A host without the brackets of an IPv6 address.
pub(super) fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp { host: address.ip().to_string(), port: address.port() }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(out, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(out, "{host}:{port}"),
            Self::Unix(path) => write!(out, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_excludes_each_other_is_said() {
        type Spoil = fn(&mut Target);
        let cases: [(Spoil, &str); 6] = [
            (|t| (t.address, t.tls) = (Address::unix("/s"), Some(TlsOptions::default())), "leave out --tls"),
            (|t| (t.address, t.cluster) = (Address::unix("/s"), true), "excludes a unix socket"),
            (|t| (t.cluster, t.db) = (true, 1), "excludes --dbnum"),
            (|t| t.read_from = ReadFrom::All, "needs --cluster"),
            (|t| t.user = Some("me".into()), "needs --auth"),
            (|t| t.tls = Some(TlsOptions { key: Some("k".into()), ..TlsOptions::default() }), "go together"),
        ];
        let plain = Target::from(SocketAddr::from(([127, 0, 0, 1], 6379)));
        assert_eq!(plain.check(), Ok(()));
        for (spoil, words) in cases {
            let mut spoilt = plain.clone();
            spoil(&mut spoilt);
            let problem = spoilt.check().expect_err(words);
            assert!(problem.contains(words), "{problem}");
        }
    }

    #[test]
    fn a_target_shows_no_password() {
        let target: Target = "rediss://me:secret@db.example:7000/3".parse().expect("a URI");
        assert_eq!(target.to_string(), "db.example:7000/3 TLS");
    }
}
