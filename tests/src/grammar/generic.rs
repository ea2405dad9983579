//! The forms of the [generic] commands.

use super::Arg::{
    Any, Cursor, Db, Int, Key, Millis, One, Pattern, Payload, Seconds, Times, UnixMillis, UnixSeconds, Value,
    Word,
};
use super::{Arg, Row};

const CONDITION: Arg = Any(&[&[Word("NX")], &[Word("XX")], &[Word("GT")], &[Word("LT")]]);
const ONE_CONDITION: Arg = One(&[&[], &[Word("NX")], &[Word("XX")], &[Word("GT")], &[Word("LT")]]);

const RESTORED: Arg = Any(&[
    &[Word("REPLACE")],
    &[Word("REPLACE")],
    &[Word("ABSTTL")],
    &[Word("IDLETIME"), One(&[&[Word("0")], &[Word("1000")], &[Word("-1")], &[Word("x")]])],
    &[Word("FREQ"), One(&[&[Word("0")], &[Word("255")], &[Word("256")], &[Word("-1")]])],
]);

pub const ROWS: &[Row] = &[
    Row::new("COPY", &[&[Key, Key], &[Key, Key, Any(&[&[Word("DB"), Db], &[Word("REPLACE")]])]]),
    Row::new("DEL", &[&[Times(1, 5, &[Key])]]),
    Row::new("DUMP", &[&[Key]]),
    Row::new("EXISTS", &[&[Times(1, 5, &[Key])]]),
    Row::new("EXPIRE", &[&[Key, Seconds], &[Key, Seconds, ONE_CONDITION], &[Key, Seconds, CONDITION]]),
    Row::new(
        "EXPIREAT",
        &[&[Key, UnixSeconds], &[Key, UnixSeconds, ONE_CONDITION], &[Key, UnixSeconds, CONDITION]],
    ),
    Row::new("EXPIRETIME", &[&[Key]]),
    Row::new("KEYS", &[&[Pattern]]),
    Row::new("MOVE", &[&[Key, Db]]),
    Row::new("OBJECT", &[&[], &[Value], &[Value, Key]]),
    Row::new("OBJECT|ENCODING", &[&[Key]]),
    Row::new("OBJECT|FREQ", &[&[Key]]),
    Row::new("OBJECT|HELP", &[&[]]),
    Row::new("OBJECT|IDLETIME", &[&[Key]]),
    Row::new("OBJECT|REFCOUNT", &[&[Key]]),
    Row::new("PERSIST", &[&[Key]]),
    Row::new("PEXPIRE", &[&[Key, Millis], &[Key, Millis, ONE_CONDITION], &[Key, Millis, CONDITION]]),
    Row::new(
        "PEXPIREAT",
        &[&[Key, UnixMillis], &[Key, UnixMillis, ONE_CONDITION], &[Key, UnixMillis, CONDITION]],
    ),
    Row::new("PEXPIRETIME", &[&[Key]]),
    Row::new("PTTL", &[&[Key]]),
    Row::new("RANDOMKEY", &[&[]]),
    Row::new("RENAME", &[&[Key, Key]]),
    Row::new("RENAMENX", &[&[Key, Key]]),
    Row::new(
        "RESTORE",
        &[
            &[Key, Word("0"), Payload],
            &[Key, Word("0"), Payload, Word("REPLACE")],
            &[Key, Millis, Payload, RESTORED],
            &[Key, UnixMillis, Payload, Word("ABSTTL"), RESTORED],
        ],
    ),
    Row::new("RESTORE-ASKING", &[&[Key, Millis, Payload, RESTORED]]),
    Row::new(
        "SCAN",
        &[
            &[Cursor],
            &[
                Cursor,
                Any(&[
                    &[Word("MATCH"), Pattern],
                    &[Word("COUNT"), Int],
                    &[Word("TYPE"), One(&[&[Word("string")], &[Word("hash")]])],
                ]),
            ],
        ],
    ),
    Row::new("TOUCH", &[&[Times(1, 5, &[Key])]]),
    Row::new("TTL", &[&[Key]]),
    Row::new("TYPE", &[&[Key]]),
    Row::new("UNLINK", &[&[Times(1, 5, &[Key])]]),
];
