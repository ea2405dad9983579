//! The forms of the [string] commands.

use super::Arg::{
    Any, Float, Int, Key, Millis, Offset, One, Seconds, Times, UnixMillis, UnixSeconds, Value, Word,
};
use super::{Arg, Row};

const EXPIRY: &[&[Arg]] = &[
    &[Word("EX"), Seconds],
    &[Word("PX"), Millis],
    &[Word("EXAT"), UnixSeconds],
    &[Word("PXAT"), UnixMillis],
];

pub const ROWS: &[Row] = &[
    Row::new("APPEND", &[&[Key, Value]]),
    Row::new("DECR", &[&[Key]]),
    Row::new("DECRBY", &[&[Key, Int]]),
    Row::new("GET", &[&[Key]]),
    Row::new("GETDEL", &[&[Key]]),
    Row::new(
        "GETEX",
        &[
            &[Key],
            &[Key, One(EXPIRY)],
            &[Key, Word("PERSIST")],
            &[Key, Any(EXPIRY), Any(&[&[Word("PERSIST")], &[Word("KEEPTTL")], &[Word("NX")]])],
        ],
    ),
    Row::new("GETRANGE", &[&[Key, Int, Int]]),
    Row::new("GETSET", &[&[Key, Value]]),
    Row::new("INCR", &[&[Key]]),
    Row::new("INCRBY", &[&[Key, Int]]),
    Row::new("INCRBYFLOAT", &[&[Key, Float]]),
    Row::new(
        "LCS",
        &[
            &[Key, Key],
            &[
                Key,
                Key,
                Any(&[&[Word("LEN")], &[Word("IDX")], &[Word("MINMATCHLEN"), Int], &[Word("WITHMATCHLEN")]]),
            ],
            &[Key, Key, Word("IDX"), Any(&[&[Word("MINMATCHLEN"), Int], &[Word("WITHMATCHLEN")]])],
        ],
    )
    .small(),
    Row::new("MGET", &[&[Times(1, 6, &[Key])]]),
    Row::new("MSET", &[&[Times(1, 5, &[Key, Value])]]),
    Row::new("MSETNX", &[&[Times(1, 4, &[Key, Value])]]),
    Row::new("PSETEX", &[&[Key, Millis, Value]]),
    Row::new(
        "SET",
        &[
            &[Key, Value],
            &[Key, Value, One(EXPIRY)],
            &[Key, Value, Any(&[&[Word("NX")], &[Word("XX")], &[Word("GET")], &[Word("KEEPTTL")]])],
            &[
                Key,
                Value,
                Any(&[&[One(EXPIRY)], &[Word("XX")], &[Word("NX")], &[Word("GET")], &[Word("KEEPTTL")]]),
            ],
            &[Key, Value, Any(EXPIRY), Any(&[&[Word("PERSIST")], &[Word("KEEPTTL")]])],
        ],
    ),
    Row::new("SETEX", &[&[Key, Seconds, Value]]),
    Row::new("SETNX", &[&[Key, Value]]),
    Row::new("SETRANGE", &[&[Key, Offset, Value]]),
    Row::new("STRLEN", &[&[Key]]),
    Row::new("SUBSTR", &[&[Key, Int, Int]]),
];
