//! What a run was made with: this machine, this program, and what the server says of itself.

use std::fs;

use crate::{
    document::{Env, Server},
    engine::Fault,
    link::{Dialer, Role},
    plan::Plan,
};

/// Fields of INFO that say what a server is set to do.
const CONFIGURED: [&str; 9] = [
    "redis_mode",
    "os",
    "multiplexing_api",
    "io_threads_active",
    "role",
    "maxmemory",
    "maxmemory_policy",
    "aof_enabled",
    "cluster_enabled",
];

/// This machine and this program; `argv` is the command line.
pub fn env(plan: &Plan, argv: Vec<String>) -> Env {
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let count = std::thread::available_parallelism().map_or(0, usize::from);
    Env {
        cpu: format!("{} ({count} CPUs)", model.map_or("unknown", |(_, name)| name.trim())),
        kernel: read("/proc/sys/kernel/osrelease"),
        clocksource: read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        governor: read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        pinning: plan.cpus.clone(),
        argv,
        seed: plan.seed,
        version: env!("CARGO_PKG_VERSION").into(),
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// What the plan's server says of itself, over a connection of its own.
pub fn server(plan: &Plan) -> Result<Server, Fault> {
    let mut server = Server { target: plan.target.to_string(), ..Server::default() };
    let mut client = Dialer::new(&plan.target)?.client(&plan.target.address, Role::Primary)?;
    // A server that has no INFO is loaded all the same.
    let Ok(info) = client.call(&["INFO"]) else { return Ok(server) };
    let info = info.text().unwrap_or_default();
    let mut fields = info.lines().filter_map(|line| line.split_once(':'));
    (server.name, server.version) = identity(info);
    server.config.extend(
        fields
            .by_ref()
            .filter(|(name, _)| CONFIGURED.contains(name))
            .map(|(name, value)| (name.into(), value.trim().into())),
    );
    Ok(server)
}

/// Name and version: forks keep `redis_version` for the version they are compatible with and have their own beside it.
fn identity(info: &str) -> (String, String) {
    let field = |wanted: &str| {
        info.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            (name == wanted).then(|| value.trim().to_owned())
        })
    };
    let own = info.lines().filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
        let name = name.strip_suffix("_version").filter(|name| !NOT_SERVERS.contains(name))?;
        Some((name.to_owned(), value.trim().to_owned()))
    });
    let named = field("server_name").and_then(|name| {
        let version = field(&format!("{name}_version"))?;
        Some((name, version))
    });
    let redis = || field("redis_version").map(|version| ("redis".into(), version));
    named.or(own).or_else(redis).unwrap_or_default()
}

/// Fields that end in `_version` and name no server of their own.
const NOT_SERVERS: [&str; 4] = ["redis", "gcc", "rdb", "lua"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_known_by_their_own_version_field() {
        let info = |lines: &str| identity(lines);
        let own = |name: &str, version: &str| (name.to_owned(), version.to_owned());
        assert_eq!(info("# Server\r\nredis_version:7.0.15\r\ngcc_version:12\r\n"), own("redis", "7.0.15"));
        let valkey = "redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2\r\n";
        assert_eq!(info(valkey), own("valkey", "9.1.2"));
        assert_eq!(info("redis_version:7.4\r\ndragonfly_version:df-1.0\r\n"), own("dragonfly", "df-1.0"));
        assert_eq!(info("nothing here"), own("", ""));
    }
}
