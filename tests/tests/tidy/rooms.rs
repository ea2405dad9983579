//! The arrows between the rooms of the server, and what stays behind the await line.

use crate::source::{self, Source, Token, texts};

/// The rooms in dependency order: one imports only those before it.
const ROOMS: &[&str] = &[
    "limits",
    "config",
    "resp",
    "structures",
    "keyspace",
    "rdb",
    "commands",
    "shard",
    "runtime",
    "transaction",
    "log",
    "replication",
    "session",
    "node",
];

/// The first room that may wait, read a clock or touch the machine.
const AWAIT_LINE: &str = "runtime";

/// Words that no room above the await line uses: waiting, clocks, sockets, atomics, thread-locals, the machine.
const BEHIND_THE_LINE: &[&str] = &[
    "async",
    "await",
    "Instant",
    "SystemTime",
    "thread_local",
    "TcpStream",
    "TcpListener",
    "UnixStream",
    "UnixListener",
    "glommio",
    "io_uring",
    "socket2",
    "libc",
    "signal_hook",
];

/// What a room above the line may use all the same: the slot tables map and unmap pages of memory.
const MEMORY: &[(&str, &str)] = &[("structures", "libc")];

fn order(room: &str) -> Option<usize> {
    ROOMS.iter().position(|other| *other == room)
}

/// The room a file of the server belongs to.
fn room(source: &Source) -> Option<&str> {
    let inner = source.path.strip_prefix("server/src/")?;
    let first = inner.split('/').next()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    order(name).map(|_| name)
}

fn rooms() -> Vec<(usize, Source)> {
    let rooms: Vec<(usize, Source)> =
        source::rust().into_iter().filter_map(|file| Some((order(room(&file)?)?, file))).collect();
    assert!(rooms.len() > 5, "the server has rooms");
    rooms
}

/// Names that follow `crate::` (also in a braced list), and those that `super` steps reach from the crate's root.
fn imports(source: &Source) -> Vec<(String, usize)> {
    let tokens = source.tokens();
    let depth = source.path.trim_start_matches("server/src/").matches('/').count()
        + usize::from(!source.path.ends_with("/mod.rs"));
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        if texts(&tokens[at..], &["crate", ":", ":"]) || texts(&tokens[at..], &["torc_server", ":", ":"]) {
            collect(&tokens[at + 3..], &mut found);
        }
        let mut end = at;
        while texts(&tokens[end..], &["super", ":", ":"]) {
            end += 3;
        }
        let begins = at < 3 || !texts(&tokens[at - 3..], &["super", ":", ":"]);
        if begins && end > at && (end - at) / 3 >= depth {
            collect(&tokens[end..], &mut found);
        }
    }
    found
}

/// The first name of a path, or of each path of a braced list.
fn collect(tokens: &[Token], found: &mut Vec<(String, usize)>) {
    let Some(first) = tokens.first() else { return };
    if first.text != "{" {
        found.push((first.text.clone(), first.line));
        return;
    }
    let inside = tokens[1..].iter().take_while(|token| token.depth > first.depth);
    let mut fresh = true;
    for token in inside.filter(|token| token.depth == first.depth + 1) {
        if fresh {
            found.push((token.text.clone(), token.line));
        }
        fresh = token.text == ",";
    }
}

#[test]
fn a_room_imports_only_rooms_above_it() {
    let mut wrong = Vec::new();
    for (own, file) in rooms() {
        for (name, line) in imports(&file) {
            if order(&name).is_some_and(|other| other > own) {
                wrong.push(format!("{}:{line}: `{}` imports `{name}`", file.path, ROOMS[own]));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that point down:\n{}", wrong.join("\n"));
}

#[test]
fn nothing_above_the_await_line_waits_or_touches_the_machine() {
    let line = order(AWAIT_LINE).expect("the line is a room");
    let mut wrong = Vec::new();
    for (room, file) in rooms().into_iter().filter(|(room, _)| *room < line) {
        for token in file.tokens_outside_tests() {
            let word = token.text.trim_start_matches("r#");
            if MEMORY.contains(&(ROOMS[room], word)) {
                continue;
            }
            if BEHIND_THE_LINE.contains(&word) || (word.starts_with("Atomic") && word.len() > 6) {
                wrong.push(format!("{}:{}: `{word}`", file.path, token.line));
            }
        }
    }
    assert!(wrong.is_empty(), "only below the await line:\n{}", wrong.join("\n"));
}

#[test]
fn the_crate_declares_its_rooms_in_order() {
    let files = source::rust();
    let lib =
        files.iter().find(|file| file.path == "server/src/lib.rs").expect("the server is a library too");
    let tokens = lib.tokens();
    let declared: Vec<&str> =
        tokens.windows(2).filter(|pair| pair[0].text == "mod").map(|pair| pair[1].text.as_str()).collect();
    let places: Vec<Option<usize>> = declared.iter().map(|name| order(name)).collect();
    assert!(places.iter().all(Option::is_some), "a room that this test does not know: {declared:?}");
    assert!(places.is_sorted(), "{declared:?}");
}

#[test]
fn imports_are_found_in_every_form() {
    let text = "use crate::limits; use crate::{resp::Argv, node}; fn f() { crate::shard::x(); super::super::log::y() }";
    let file = Source { path: "server/src/config/file.rs".to_owned(), text: text.to_owned(), is_test: false };
    let names: Vec<String> = imports(&file).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["limits", "resp", "node", "shard", "log"]);
}
