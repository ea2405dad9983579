//! The size ratchet, file headers, `unsafe`, and words that have no place in a finished tree.

use crate::source::{self, Source, Token, texts};

const FILE_LINES: usize = 800;
const FUNCTION_LINES: usize = 70;

/// Rooms in which `unsafe` may stand.
const UNSAFE_ROOMS: &[&str] = &["server/src/structures/", "server/src/runtime/"];

/// Lines above an `unsafe` among which its reason must stand.
const REASON_LINES: usize = 8;

fn fail_if_any(what: &str, wrong: Vec<String>) {
    assert!(wrong.is_empty(), "{what}:\n{}", wrong.join("\n"));
}

/// Name, first line and number of lines of every function with a body, those inside macros included.
fn functions(tokens: &[Token]) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for at in 0..tokens.len().saturating_sub(1) {
        let (word, name) = (&tokens[at], &tokens[at + 1]);
        let named = name.text.starts_with(|first: char| first.is_alphabetic() || first == '_');
        if word.text != "fn" || !named {
            continue;
        }
        let rest = tokens[at..].iter().filter(|token| token.depth == word.depth);
        let body = rest.take_while(|token| token.text != ";").find(|token| token.text == "{");
        if let Some(body) = body {
            found.push((name.text.clone(), word.line, body.end - word.line + 1));
        }
    }
    found
}

#[test]
fn files_and_functions_stay_short() {
    let mut wrong = Vec::new();
    for file in source::rust() {
        let lines = file.text.lines().count();
        if lines > FILE_LINES {
            wrong.push(format!("{}: {lines} lines", file.path));
        }
        for (name, line, lines) in functions(&file.tokens()) {
            if lines > FUNCTION_LINES {
                wrong.push(format!("{}:{line}: fn {name}, {lines} lines", file.path));
            }
        }
    }
    fail_if_any(&format!("files over {FILE_LINES} lines, functions over {FUNCTION_LINES}"), wrong);
}

#[test]
fn every_file_says_what_lives_there() {
    let silent = source::rust().into_iter().filter(|file| !file.text.starts_with("//! "));
    fail_if_any("files that do not begin with `//!`", silent.map(|file| file.path).collect());
}

#[test]
fn unsafe_stands_where_it_may_and_says_why() {
    let mut wrong = Vec::new();
    for file in source::rust() {
        let allowed = UNSAFE_ROOMS.iter().any(|room| file.path.starts_with(room));
        let tokens = file.tokens();
        for (at, token) in tokens.iter().enumerate().filter(|(_, token)| token.text == "unsafe") {
            if !allowed {
                wrong.push(format!("{}:{}: unsafe in this room", file.path, token.line));
            } else if !texts(&tokens[at + 1..], &["fn", "("]) && !has_reason(&file, token.line) {
                wrong.push(format!("{}:{}: no SAFETY: above", file.path, token.line));
            }
        }
    }
    fail_if_any("unsafe", wrong);
}

fn has_reason(file: &Source, line: usize) -> bool {
    (line.saturating_sub(REASON_LINES)..=line)
        .any(|number| ["SAFETY:", "# Safety"].iter().any(|word| file.line(number).contains(word)))
}

#[test]
fn nothing_is_left_half_done() {
    let macros = ["todo", "unimplemented", "dbg"];
    let mut wrong = Vec::new();
    for file in source::rust() {
        let tokens = file.tokens();
        for pair in
            tokens.windows(2).filter(|pair| macros.contains(&pair[0].text.as_str()) && pair[1].text == "!")
        {
            wrong.push(format!("{}:{}: {}!", file.path, pair[0].line, pair[0].text));
        }
        let silenced = ["#", "[", "allow", "(", "dead_code"];
        for at in (0..tokens.len()).filter(|at| texts(&tokens[*at..], &silenced)) {
            wrong.push(format!("{}:{}: allow(dead_code)", file.path, tokens[at].line));
        }
        if file.path.ends_with("utils.rs") {
            wrong.push(format!("{}: name the room after its noun", file.path));
        }
    }
    fail_if_any("left over", wrong);
}

#[test]
fn only_tests_unwrap() {
    let mut wrong = Vec::new();
    for file in source::rust() {
        let tokens = file.tokens_outside_tests();
        let unwraps = tokens.windows(3).filter(|three| texts(three, &[".", "unwrap", "("]));
        wrong.extend(unwraps.map(|three| format!("{}:{}", file.path, three[1].line)));
    }
    fail_if_any("`expect` says why it cannot fail; `unwrap` does not", wrong);
}

#[test]
fn a_macro_has_a_written_reason() {
    let mut wrong = Vec::new();
    for file in source::rust() {
        let tokens = file.tokens();
        for pair in tokens.windows(2).filter(|pair| pair[0].text == "macro_rules" && pair[1].text == "!") {
            let above =
                (pair[0].line.saturating_sub(3)..pair[0].line).map(|number| file.line(number).trim_start());
            if !above.into_iter().any(|line| line.starts_with("//")) {
                wrong.push(format!("{}:{}", file.path, pair[0].line));
            }
        }
    }
    fail_if_any("macros without a comment above", wrong);
}

#[test]
fn no_file_names_the_place_it_was_written_in() {
    let words =
        [concat!("/wo", "rk/"), concat!("/tmp/", "setup"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
    let endings =
        [".rs", ".md", ".toml", ".py", ".js", ".sh", ".conf", ".service", "run", "install", "check"];
    let mut wrong = Vec::new();
    for file in source::files(&endings) {
        for (number, line) in file.text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word)) {
                wrong.push(format!("{}:{}: {}", file.path, number + 1, line.trim()));
            }
        }
    }
    fail_if_any("paths of one machine", wrong);
}

#[test]
fn functions_are_measured_whatever_they_contain() {
    let text = "fn a() {\n let s = \"}\"; // }\n let c = '{';\n}\ntrait T { fn b(); }\nm! { fn c() -> u8 {\n\n 1 } }\n\
                type F = fn(u8) -> u8;\n";
    let file = Source { path: "x.rs".to_owned(), text: text.to_owned(), is_test: false };
    assert_eq!(functions(&file.tokens()), [("a".to_owned(), 1, 4), ("c".to_owned(), 6, 3)]);
    let tested = Source {
        path: "x.rs".to_owned(),
        text: "fn a() {}\n#[cfg(test)]\nmod tests { fn b() {} }\nfn c() {}".to_owned(),
        is_test: false,
    };
    let outside: Vec<String> = tested.tokens_outside_tests().into_iter().map(|token| token.text).collect();
    assert!(outside.contains(&"c".to_owned()) && !outside.contains(&"b".to_owned()));
}
