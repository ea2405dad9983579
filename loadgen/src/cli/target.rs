//! Options that say where the server is and what it takes to be let in.

use std::path::PathBuf;

use clap::Args;

use crate::link::{Address, ReadFrom, Target, TlsOptions, target::DEFAULT_PORT};

#[derive(Args, Debug)]
#[command(next_help_heading = "Target")]
pub struct TargetArgs {
    /// Name or address of the server
    #[arg(short = 'h', long, default_value = "127.0.0.1")]
    host: String,
    /// Its port
    #[arg(short = 'p', long, default_value_t = DEFAULT_PORT)]
    port: u16,
    /// Unix socket, instead of host and port
    #[arg(short = 's', long, value_name = "PATH", conflicts_with_all = ["host", "port"])]
    socket: Option<PathBuf>,
    /// redis://[[user]:password@]host[:port][/db], rediss:// for TLS, unix:///path
    #[arg(short = 'u', long, conflicts_with_all = ["host", "port", "socket"])]
    uri: Option<String>,
    /// Password
    #[arg(short = 'a', long, value_name = "PASSWORD")]
    auth: Option<String>,
    /// With the password, for ACL users
    #[arg(long)]
    user: Option<String>,
    /// Database number
    #[arg(long, value_name = "N")]
    dbnum: Option<u32>,
    /// Speak RESP3
    #[arg(short = '3', long)]
    resp3: bool,
    /// Speak TLS
    #[arg(long)]
    tls: bool,
    /// PEM file of the authorities to trust [default: those of the system]
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// PEM file of a client certificate and its chain
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// PEM file of the client certificate's key
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Name to expect in the certificate, instead of the host's
    #[arg(long, value_name = "NAME")]
    sni: Option<String>,
    /// Accept any certificate
    #[arg(long)]
    insecure: bool,
    /// The server is a node of a cluster: send each request to the owner of its slot
    #[arg(long)]
    cluster: bool,
    /// Read from replicas of the cluster (yes, or nothing behind it), or from replicas and primaries (all)
    #[arg(long, value_enum, num_args = 0..=1, default_value = "no", default_missing_value = "yes")]
    rfr: ReadFrom,
}

impl TargetArgs {
    pub fn target(&self) -> Result<Target, String> {
        let named = match (&self.uri, &self.socket) {
            (Some(uri), _) => uri.parse()?,
            (None, Some(path)) => Target::plain(Address::unix(path)),
            (None, None) => Target::plain(Address::Tcp { host: self.host.clone(), port: self.port }),
        };
        self.contradicts(&named)?;
        let target = Target {
            tls: self.tls(named.tls.is_some())?,
            user: self.user.clone().or(named.user),
            password: self.auth.clone().or(named.password),
            db: self.dbnum.unwrap_or(named.db),
            resp3: self.resp3 || named.resp3,
            cluster: self.cluster,
            read_from: self.rfr,
            address: named.address,
        };
        target.check()?;
        Ok(target)
    }

    /// What the URI says and an option says otherwise.
    fn contradicts(&self, named: &Target) -> Result<(), String> {
        let other = |given: &Option<String>, named: &Option<String>| {
            given.is_some() && named.is_some() && given != named
        };
        let contradicting = [
            ("--dbnum", named.db != 0 && self.dbnum.is_some_and(|db| db != named.db)),
            ("--user", other(&self.user, &named.user)),
            ("--auth", other(&self.auth, &named.password)),
        ];
        match contradicting.iter().find(|(_, contradicts)| *contradicts) {
            Some((option, _)) => Err(format!("{option} is not what the URI says: give one of them")),
            None => Ok(()),
        }
    }

    fn tls(&self, by_uri: bool) -> Result<Option<TlsOptions>, String> {
        let options = TlsOptions {
            cacert: self.cacert.clone(),
            cert: self.cert.clone(),
            key: self.key.clone(),
            sni: self.sni.clone(),
            insecure: self.insecure,
        };
        if self.tls || by_uri {
            Ok(Some(options))
        } else if options == TlsOptions::default() {
            Ok(None)
        } else {
            Err("--cacert, --cert, --key, --sni and --insecure need --tls or a rediss:// URI".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    #[command(disable_help_flag = true)]
    struct Line {
        #[command(flatten)]
        target: TargetArgs,
    }

    fn target(line: &str) -> Result<Target, String> {
        let line = Line::try_parse_from(line.split(' ')).map_err(|error| error.to_string())?;
        line.target.target()
    }

    fn tcp(host: &str, port: u16) -> Target {
        Target::plain(Address::Tcp { host: host.into(), port })
    }

    #[test]
    fn every_option_reaches_the_target() {
        assert_eq!(target("x"), Ok(tcp("127.0.0.1", 6379)));
        let all =
            "x -h a -p 7 -a pw --user me --dbnum 2 -3 --tls --cacert ca --cert c --key k --sni n --insecure";
        let tls = TlsOptions {
            cacert: Some("ca".into()),
            cert: Some("c".into()),
            key: Some("k".into()),
            sni: Some("n".into()),
            insecure: true,
        };
        let wanted = Target {
            user: Some("me".into()),
            password: Some("pw".into()),
            db: 2,
            resp3: true,
            tls: Some(tls),
            ..tcp("a", 7)
        };
        assert_eq!(target(all), Ok(wanted));
        for (words, read_from) in
            [("", ReadFrom::No), (" --rfr", ReadFrom::Yes), (" --rfr all", ReadFrom::All)]
        {
            let wanted = Target { cluster: true, read_from, ..tcp("127.0.0.1", 6379) };
            assert_eq!(target(&format!("x --cluster{words}")), Ok(wanted));
        }
        assert_eq!(target("x -s /tmp/s"), Ok(Target::plain(Address::unix("/tmp/s"))));
        let password = Some("pw".to_owned());
        assert_eq!(
            target("x -u redis://b:1/5 -a pw --dbnum 5"),
            Ok(Target { password, db: 5, ..tcp("b", 1) })
        );
        let insecure = TlsOptions { insecure: true, ..TlsOptions::default() };
        assert_eq!(
            target("x -u rediss://b --insecure"),
            Ok(Target { tls: Some(insecure), ..tcp("b", 6379) })
        );
    }

    #[test]
    fn options_that_exclude_each_other_are_named() {
        let cases = [
            ("x -u redis://a -h b", "--host"),
            ("x -u redis://a/3 --dbnum 4", "--dbnum is not what the URI says"),
            ("x -u redis://me:p@a --user you", "--user is not"),
            ("x -u redis://:p@a -a q", "--auth is not"),
            ("x -s /s -p 1", "--port"),
            ("x --insecure", "need --tls"),
            ("x --rfr", "needs --cluster"),
            ("x -s /s --tls", "leave out --tls"),
            ("x -u redis://a:x", "x is not a port"),
        ];
        for (line, words) in cases {
            let problem = target(line).expect_err(line);
            assert!(problem.contains(words), "{line}: {problem}");
        }
    }
}
