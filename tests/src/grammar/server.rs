//! The forms of the [server] commands.

use super::Arg::{Any, Command, Db, Int, Key, One, Times, Value, Word};
use super::{Arg, Row};

/// Settings that both servers have and that change nothing the other tests look at, with values good and bad. Not
/// `maxmemory`: the scripts set it, because its strangest numbers (2^64 and beyond) are the reference's accidents.
const SETTING: Arg = One(&[
    &[Word("slowlog-max-len"), One(&[&[Word("10")], &[Word("128")], &[Int]])],
    &[Word("slowlog-log-slower-than"), One(&[&[Word("10000")], &[Word("-1")], &[Int]])],
    &[Word("hz"), One(&[&[Word("10")], &[Word("50")], &[Word("abc")]])],
    &[Word("lfu-decay-time"), One(&[&[Word("1")], &[Int]])],
    &[Word("lfu-log-factor"), One(&[&[Word("10")], &[Int]])],
    &[Word("latency-tracking"), One(&[&[Word("yes")], &[Word("no")], &[Word("maybe")]])],
    &[Word("maxmemory-policy"), One(&[&[Word("noeviction")], &[Word("bogus")]])],
    &[Word("timeout"), One(&[&[Word("0")], &[Word("3000")], &[Word("-1")]])],
    &[Word("port-of-no-return"), Int],
    &[Word("databases"), Word("32")],
]);

const READABLE: Arg = One(&[
    &[Word("maxmemory")],
    &[Word("slowlog-max-len")],
    &[Word("slowlog-log-slower-than")],
    &[Word("hz")],
    &[Word("lfu-decay-time")],
    &[Word("lfu-log-factor")],
    &[Word("loglevel")],
    &[Word("latency-tracking")],
    &[Word("maxmemory-policy")],
    &[Word("timeout")],
    &[Word("databases")],
    &[Word("proto-max-bulk-len")],
    &[Word("tcp-keepalive")],
    &[Word("no-such-setting")],
    &[Word("slowlog-m?x-len")],
    &[Word("client-output-buffer-limit")],
]);

const FLUSH: &[&[Arg]] = &[&[], &[Word("ASYNC")], &[Word("SYNC")], &[Value]];

pub const ROWS: &[Row] = &[
    Row::new("COMMAND|COUNT", &[&[]]),
    Row::new("COMMAND|GETKEYS", &[&[Command], &[Command], &[Value], &[Value, Key]]),
    Row::new("COMMAND|GETKEYSANDFLAGS", &[&[Command], &[Command], &[Value], &[Value, Key]]),
    Row::new("COMMAND|HELP", &[&[]]),
    Row::new("CONFIG", &[&[], &[Value], &[Value, Value]]),
    Row::new("CONFIG|GET", &[&[READABLE], &[Times(1, 3, &[READABLE])]]).exact(),
    Row::new("CONFIG|HELP", &[&[]]),
    Row::new("CONFIG|RESETSTAT", &[&[]]),
    Row::new("CONFIG|SET", &[&[SETTING], &[Times(1, 3, &[SETTING])]]),
    Row::new("DBSIZE", &[&[]]),
    Row::new(
        "DEBUG",
        &[
            &[Word("SLEEP"), One(&[&[Word("0")], &[Word("0.001")]])],
            &[Word("OBJECT"), Key],
            &[Word("DIGEST")],
            &[Word("DIGEST-VALUE"), Times(0, 4, &[Key])],
            &[Word("SET-ACTIVE-EXPIRE"), Word("0")],
        ],
    )
    .exact()
    .lasting(),
    Row::new("FLUSHALL", FLUSH),
    Row::new("FLUSHDB", FLUSH),
    Row::new("LATENCY", &[&[], &[Value]]),
    Row::new("LATENCY|HELP", &[&[]]),
    Row::new("LATENCY|RESET", &[&[], &[Value]]),
    Row::new("LOLWUT", &[&[], &[Word("VERSION"), Int]]).exact(),
    Row::new("MEMORY", &[&[], &[Value]]),
    Row::new("MEMORY|DOCTOR", &[&[]]),
    Row::new("MEMORY|HELP", &[&[]]),
    Row::new("MEMORY|MALLOC-STATS", &[&[]]),
    Row::new("MEMORY|PURGE", &[&[]]),
    Row::new("MEMORY|STATS", &[&[]]),
    Row::new("MEMORY|USAGE", &[&[Key], &[Key, Any(&[&[Word("SAMPLES"), Int]])]]),
    Row::new("MODULE", &[&[], &[Value]]),
    Row::new("MODULE|HELP", &[&[]]),
    Row::new("MODULE|LIST", &[&[]]),
    Row::new("ROLE", &[&[]]),
    Row::new("SLOWLOG", &[&[], &[Value]]),
    Row::new("SLOWLOG|HELP", &[&[]]),
    Row::new("SLOWLOG|LEN", &[&[]]),
    Row::new("SLOWLOG|RESET", &[&[]]),
    Row::new("SWAPDB", &[&[Db, Db]]),
    Row::new("TIME", &[&[]]),
];
