//! The tests of redis-benchmark by their names there, as commands. `key:__rand_int__` is redis-benchmark's key; here
//! it is `__key__`, which has the same bytes with the default prefix and width and follows --key-pattern.

use super::mix::CommandPlan;
use crate::plan::Preparation;

const TESTS: [(&str, &str); 21] = [
    ("ping", "PING"),
    ("ping_mbulk", "PING"),
    ("set", "SET __key__ __data__"),
    ("get", "GET __key__"),
    ("incr", "INCR counter:__rand_int__"),
    ("lpush", "LPUSH mylist __data__"),
    ("rpush", "RPUSH mylist __data__"),
    ("lpop", "LPOP mylist"),
    ("rpop", "RPOP mylist"),
    ("sadd", "SADD myset element:__rand_int__"),
    ("hset", "HSET myhash element:__rand_int__ __data__"),
    ("spop", "SPOP myset"),
    ("zadd", "ZADD myzset __rand_int__ element:__rand_int__"),
    ("zpopmin", "ZPOPMIN myzset"),
    ("lrange", "LRANGE mylist 0 99"),
    ("lrange_100", "LRANGE mylist 0 99"),
    ("lrange_300", "LRANGE mylist 0 299"),
    ("lrange_500", "LRANGE mylist 0 499"),
    ("lrange_600", "LRANGE mylist 0 599"),
    (
        "mset",
        "MSET __key__ __data__ __key__ __data__ __key__ __data__ __key__ __data__ __key__ __data__ \
         __key__ __data__ __key__ __data__ __key__ __data__ __key__ __data__ __key__ __data__",
    ),
    ("xadd", "XADD mystream * myfield __data__"),
];

/// The command of test `name`.
pub fn command(name: &str) -> Result<CommandPlan, String> {
    let found = TESTS.iter().find(|(test, _)| test.eq_ignore_ascii_case(name.trim()));
    let Some((test, line)) = found else {
        let known: Vec<&str> = TESTS.iter().map(|(test, _)| *test).collect();
        return Err(format!("no test is called {name:?}; there are {}", known.join(", ")));
    };
    let plan = CommandPlan::parse(line).expect("a constant");
    // Those that send the same command with other arguments keep their names apart in the report.
    let name = if test.contains('_') { test.to_uppercase() } else { plan.name.clone() };
    Ok(CommandPlan { name, ..plan })
}

/// Values that redis-benchmark has on the list where nobody says how many requests it shall send.
const USUAL: u64 = 100_000;

/// What the longest of the tests reads, so that a short run reads no less.
const LONGEST: u64 = 600;

/// What must be on the server before the tests `names` have anything to measure, in a run of so many requests: before
/// an LRANGE redis-benchmark LPUSHes as many values onto `mylist` as it then sends requests.
pub fn preparation(names: &[String], requests: Option<u64>) -> Option<Preparation> {
    let ranges = |name: &String| name.trim().to_ascii_lowercase().starts_with("lrange");
    let times = requests.unwrap_or(USUAL).max(LONGEST);
    names.iter().any(ranges).then(|| Preparation { command: command("lpush").expect("a constant"), times })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_test_is_a_command_and_other_names_are_refused() {
        for (name, _) in TESTS {
            assert!(!command(name).expect(name).words.is_empty());
        }
        assert_eq!(command("SET").expect("any case").name, "SET");
        assert_eq!(preparation(&["lpush".into(), "get".into()], None), None);
        let times =
            |requests| preparation(&["get".into(), "LRANGE_300".into()], requests).map(|list| list.times);
        assert_eq!([None, Some(5), Some(7000)].map(times), [Some(100_000), Some(600), Some(7000)]);
        assert!(command("sett").expect_err("unknown").contains("lrange_100"));
    }
}
