//! The kinds of full sync, and what ends a link: what one side cannot send or the other not take.

use torc_tests::client::Client;
use torc_tests::clock;
use torc_tests::peer::Peer;
use torc_tests::replicas::{PATIENCE, Who, agree, field, follow, text};

/// Waits until INFO replication says so.
fn until(client: &mut Client, name: &str, is: impl Fn(&str) -> bool) -> String {
    let said = || Some(field(client, "replication", name)).filter(|value| is(value));
    let said = clock::poll(PATIENCE, said);
    said.unwrap_or_else(|| panic!("{name}: {}", text(&client.line("INFO replication"))))
}

#[test]
fn a_command_that_is_not_known_here_ends_the_link() {
    let primary = Who::Other(Peer::Redis).start(&[]);
    let replica = Who::Torc(2).start(&["--repl-timeout", "3"]);
    let (mut one, mut two) = (primary.client(), replica.client());
    follow(&mut two, primary.port);
    agree(&mut one, &mut two, "the full sync");
    one.line("SET a 1");
    one.line("PUBLISH nobody hears");
    agree(&mut one, &mut two, "before");
    let end = field(&mut two, "replication", "slave_repl_offset");
    one.line("LPUSH list 1");
    one.line("SET a 2");
    let error = until(&mut two, "master_link_error", |error| !error.is_empty());
    assert_eq!(error, format!("offset {end}: command 'LPUSH' of the primary: it is not known here"));
    assert_eq!(field(&mut two, "replication", "master_link_status"), "down");
    assert_eq!(field(&mut two, "replication", "slave_repl_offset"), end, "it does not count as applied");
    assert_eq!(text(&two.line("GET a")), "1", "nothing behind it is applied");
    let syncs = field(&mut one, "stats", "sync_full");
    // It tries a full sync, once each repl-timeout.
    let error = until(&mut two, "master_link_error", |error| error.contains("snapshot"));
    assert!(error.contains("key \"list\": list of") && error.contains("offset"), "{error}");
    assert_eq!(field(&mut one, "stats", "sync_full"), (syncs.parse::<u32>().unwrap_or(0) + 1).to_string());
    // Once the primary has nothing unknown left, it is followed again.
    one.line("DEL list");
    agree(&mut one, &mut two, "after");
    assert_eq!(field(&mut two, "replication", "master_link_error"), "");
}

#[test]
fn a_command_that_fails_here_alone_ends_the_link() {
    for shards in [1, 2, 3] {
        let primary = Who::Other(Peer::Redis).start(&[]);
        let replica = Who::Torc(shards).start(&["--repl-timeout", "2", "--replica-read-only", "no"]);
        let (mut one, mut two) = (primary.client(), replica.client());
        for key in ["a", "b", "c", "d"] {
            one.line(&format!("SET {key} 1"));
        }
        follow(&mut two, primary.port);
        agree(&mut one, &mut two, "before");
        for round in ["INCR b", "MULTI|INCR a|INCR b|EXEC"] {
            two.line("SET b text");
            round.split('|').for_each(|line| drop(one.line(line)));
            let error = until(&mut two, "master_link_error", |error| !error.is_empty());
            assert!(error.contains("command 'INCR': ERR value is not an integer"), "{error}");
            agree(&mut one, &mut two, "everything anew");
            assert_eq!(field(&mut two, "replication", "master_link_error"), "");
        }
    }
}
