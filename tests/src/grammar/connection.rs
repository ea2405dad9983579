//! The forms of the [connection] commands.

use super::Arg::{Any, Db, Int, Name, One, Value, Word};
use super::Row;

pub const ROWS: &[Row] = &[
    Row::new("AUTH", &[&[Name], &[Name, Name], &[Word("default"), Name]]),
    Row::new("CLIENT", &[&[], &[Value], &[Value, Value]]),
    Row::new("CLIENT|GETNAME", &[&[]]),
    Row::new("CLIENT|GETREDIR", &[&[]]),
    Row::new("CLIENT|HELP", &[&[]]),
    Row::new("CLIENT|ID", &[&[]]),
    Row::new("CLIENT|INFO", &[&[]]),
    Row::new("CLIENT|NO-EVICT", &[&[One(&[&[Word("ON")], &[Word("OFF")], &[Value]])]]),
    Row::new("CLIENT|NO-TOUCH", &[&[One(&[&[Word("ON")], &[Word("OFF")], &[Value]])]]).later(),
    Row::new(
        "CLIENT|SETINFO",
        &[&[One(&[&[Word("LIB-NAME"), Name], &[Word("LIB-VER"), Name], &[Name, Name]])]],
    )
    .later(),
    // Longer pauses would only be waited for.
    Row::new(
        "CLIENT|PAUSE",
        &[
            &[One(&[&[Word("0")], &[Word("1")], &[Word("-1")], &[Word("x")]])],
            &[Word("1"), One(&[&[Word("WRITE")], &[Word("all")], &[Value]])],
            &[Word("1"), Word("WRITE"), Value],
        ],
    )
    .exact(),
    Row::new("CLIENT|SETNAME", &[&[Name]]),
    Row::new("CLIENT|TRACKINGINFO", &[&[]]),
    Row::new("CLIENT|UNBLOCK", &[&[Int], &[Int, One(&[&[Word("TIMEOUT")], &[Word("ERROR")], &[Value]])]]),
    Row::new("CLIENT|UNPAUSE", &[&[]]),
    Row::new("ECHO", &[&[Value]]),
    Row::new(
        "HELLO",
        &[
            &[],
            &[One(&[&[Word("2")], &[Word("3")], &[Int]])],
            &[
                One(&[&[Word("2")], &[Word("3")], &[Word("4")]]),
                Any(&[
                    &[Word("AUTH"), Word("default"), Name],
                    &[Word("SETNAME"), Name],
                    &[Word("AUTH"), Name, Name],
                ]),
            ],
        ],
    ),
    Row::new("PING", &[&[], &[Value]]),
    Row::new("QUIT", &[&[]]),
    Row::new("RESET", &[&[]]),
    Row::new("SELECT", &[&[Db]]),
];
