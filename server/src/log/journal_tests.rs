//! The policy, action by action.

use super::*;

const ENOSPC: i32 = 28;
const EIO: i32 = 5;

/// A log with its first increment open and nothing in it.
fn open(policy: AppendFsync) -> Journal {
    let mut journal = Journal::fresh("a", b"REDIS".to_vec(), 100, policy);
    journal.append(b"early", 0);
    let steps = steps(&mut journal, 0);
    assert_eq!(journal.next(0), None, "nothing else before the file is open");
    journal.stepped(steps.len(), 0, 0);
    journal
}

fn steps(journal: &mut Journal, now: u64) -> Vec<Step> {
    match journal.next(now) {
        Some(Action::Steps(steps)) => steps,
        other => panic!("steps, not {other:?}"),
    }
}

/// Takes a write of `bytes` at `offset` and lets it end so.
fn write(journal: &mut Journal, now: u64, at: u64, expected: &[u8], count: usize, error: i32) {
    let Some(Action::Write { offset, bytes, through }) = journal.next(now) else { panic!("{journal:?}") };
    assert_eq!((offset, bytes.as_slice()), (at, expected));
    assert_eq!(through, journal.policy == AppendFsync::Always);
    journal.wrote(bytes, count, error, now);
    journal.check_invariants();
}

fn flush(journal: &mut Journal, now: u64, error: i32) {
    assert_eq!(journal.next(now), Some(Action::Flush));
    journal.flushed(error);
    journal.check_invariants();
}

/// A short form of steps.
fn shown(steps: &[Step]) -> Vec<String> {
    let show = |step: &Step| match step {
        Step::Put { name, bytes } => format!("put {name}: {}", String::from_utf8_lossy(bytes)),
        Step::Open { name, length } => format!("open {name} at {length}"),
        Step::Rename { from, to } => format!("rename {from} to {to}"),
        Step::Remove { name } => format!("remove {name}"),
        Step::FlushDirectory => "flush".to_owned(),
    };
    steps.iter().map(show).collect()
}

#[test]
fn a_fresh_log_stands_before_its_manifest_names_it() {
    let mut journal = Journal::fresh("a", b"REDIS".to_vec(), 7, AppendFsync::Always);
    assert_eq!((journal.durable(), journal.written()), (0, 7));
    assert_eq!(
        shown(&steps(&mut journal, 0)),
        [
            "put temp-a.1.base.rdb: REDIS",
            "rename temp-a.1.base.rdb to a.1.base.rdb",
            "open a.1.incr.aof at 0",
            "flush",
            "put temp-a.manifest: file a.1.base.rdb seq 1 type b\nfile a.1.incr.aof seq 1 type i startoffset 7\n",
            "rename temp-a.manifest to a.manifest",
            "flush",
        ]
    );
}

#[test]
fn one_write_through_to_the_disk_serves_all_that_came_during_the_last() {
    let mut journal = open(AppendFsync::Always);
    let Some(Action::Write { bytes, through: true, .. }) = journal.next(0) else { panic!("{journal:?}") };
    journal.append(b"one", 0);
    journal.append(b"two", 0);
    assert_eq!((journal.next(0), journal.durable()), (None, 100), "one operation at a time");
    journal.wrote(bytes, 5, 0, 0);
    assert_eq!((journal.durable(), journal.written()), (105, 105));
    write(&mut journal, 0, 5, b"onetwo", 6, 0);
    assert_eq!((journal.durable(), journal.next(0), journal.wake()), (111, None, None));
}

#[test]
fn what_was_written_before_always_is_flushed_first() {
    let mut journal = open(AppendFsync::No);
    write(&mut journal, 0, 0, b"early", 5, 0);
    journal.append(b"one", 0);
    journal.set_policy(AppendFsync::Always);
    assert_eq!(journal.next(0), Some(Action::Flush));
    assert_eq!(journal.next(0), None, "a write through to the disk says nothing of what is before it");
    journal.flushed(0);
    write(&mut journal, 0, 5, b"one", 3, 0);
    assert_eq!((journal.durable(), journal.next(0)), (108, None));
}

#[test]
fn a_write_through_that_fails_may_have_written_more_than_it_says() {
    let mut journal = open(AppendFsync::Always);
    write(&mut journal, 0, 0, b"early", 0, EIO);
    let trouble = Trouble { doing: Doing::Writing, error: EIO, refuses: true };
    assert_eq!((journal.trouble(), journal.durable()), (Some(trouble), 100));
    assert_eq!(journal.next(0), Some(Action::Truncate { length: 0 }));
    journal.truncated(0, 0);
    journal.append(b"more", 10);
    write(&mut journal, 1000, 0, b"earlymore", 9, 0);
    assert_eq!((journal.trouble(), journal.durable()), (None, 109));
}

#[test]
fn a_write_and_a_flush_go_side_by_side() {
    let mut journal = open(AppendFsync::Everysec);
    write(&mut journal, 0, 0, b"early", 5, 0);
    assert_eq!(journal.next(1000), Some(Action::Flush));
    journal.append(b"one", 1000);
    let Some(Action::Write { bytes, .. }) = journal.next(1000) else { panic!("a write beside the flush") };
    journal.append(b"two", 1000);
    assert_eq!(journal.next(3000), None, "one write and one flush at a time");
    journal.flushed(0);
    journal.wrote(bytes, 3, 0, 1000);
    assert_eq!((journal.durable(), journal.written()), (105, 108));
    write(&mut journal, 2000, 8, b"two", 3, 0);
    flush(&mut journal, 2000, 0);
    assert_eq!((journal.durable(), journal.next(2000), journal.wake()), (111, None, None));
}

#[test]
fn everysec_flushes_a_second_after_the_first_byte() {
    let mut journal = open(AppendFsync::Everysec);
    write(&mut journal, 10, 0, b"early", 5, 0);
    assert_eq!((journal.next(999), journal.wake()), (None, Some(1000)));
    journal.append(b"one", 900);
    write(&mut journal, 900, 5, b"one", 3, 0);
    flush(&mut journal, 1000, 0);
    assert_eq!((journal.durable(), journal.wake()), (108, None));
    journal.append(b"two", 5000);
    write(&mut journal, 5000, 8, b"two", 3, 0);
    assert_eq!(journal.wake(), Some(6000));
    journal.set_policy(AppendFsync::No);
    assert_eq!((journal.next(9000), journal.wake()), (None, None));
    journal.close();
    assert!(!journal.is_settled());
    flush(&mut journal, 9000, 0);
    assert!(journal.is_settled());
}

#[test]
fn half_a_batch_is_cut_off_before_it_is_written_again() {
    let mut journal = open(AppendFsync::No);
    write(&mut journal, 0, 0, b"early", 5, 0);
    journal.append(b"batch", 0);
    write(&mut journal, 0, 5, b"batch", 2, ENOSPC);
    let trouble = Trouble { doing: Doing::Writing, error: ENOSPC, refuses: true };
    assert_eq!(journal.trouble(), Some(trouble));
    assert_eq!(journal.next(0), Some(Action::Truncate { length: 5 }));
    assert_eq!(journal.next(5000), None);
    journal.truncated(EIO, 10);
    assert_eq!((journal.next(1009), journal.wake()), (None, Some(1010)));
    assert_eq!(journal.next(1010), Some(Action::Truncate { length: 5 }));
    journal.truncated(0, 1010);
    journal.append(b"more", 1020);
    assert_eq!(journal.next(2009), None);
    write(&mut journal, 2010, 5, b"batchmore", 0, ENOSPC);
    assert_eq!(journal.next(3009), None, "with nothing in the file there is nothing to cut off");
    write(&mut journal, 3010, 5, b"batchmore", 9, 0);
    assert_eq!(journal.trouble(), None);
    journal.close();
    flush(&mut journal, 3010, 0);
    assert_eq!(journal.durable(), 114);
}

#[test]
fn a_rotation_begins_an_increment_at_the_cut_once_all_before_it_is_flushed() {
    let mut journal = open(AppendFsync::No);
    journal.append(b"before|behind", 0);
    assert!(journal.rotate(112));
    assert!(!journal.rotate(112), "one rewrite at a time");
    write(&mut journal, 0, 0, b"earlybefore|", 12, 0);
    flush(&mut journal, 0, 0);
    let given = steps(&mut journal, 0);
    assert_eq!(
        shown(&given),
        [
            "open a.2.incr.aof at 0",
            "flush",
            "put temp-a.manifest: file a.1.base.rdb seq 1 type b\n\
             file a.1.incr.aof seq 1 type i startoffset 100\n\
             file a.2.incr.aof seq 2 type i startoffset 112\n",
            "rename temp-a.manifest to a.manifest",
            "flush",
        ]
    );
    journal.stepped(2, ENOSPC, 0);
    let trouble = Trouble { doing: Doing::Rotating, error: ENOSPC, refuses: true };
    assert_eq!((journal.trouble(), journal.wake()), (Some(trouble), Some(1000)));
    journal.rebase("temp-b".to_owned());
    assert_eq!(journal.next(999), None);
    assert_eq!(steps(&mut journal, 1000), &given[2..], "goes on with the step that failed");
    journal.stepped(3, 0, 1000);
    assert_eq!((journal.durable(), journal.trouble()), (112, None));
    let rebasing = steps(&mut journal, 1000);
    write(&mut journal, 1000, 0, b"behind", 6, 0);
    assert_eq!(
        shown(&rebasing),
        [
            "rename temp-b to a.2.base.rdb",
            "flush",
            "put temp-a.manifest: file a.2.base.rdb seq 2 type b\n\
             file a.1.base.rdb seq 1 type h\nfile a.1.incr.aof seq 1 type h startoffset 100\n\
             file a.2.incr.aof seq 2 type i startoffset 112\n",
            "rename temp-a.manifest to a.manifest",
            "flush",
        ]
    );
    journal.stepped(0, ENOSPC, 1000);
    assert_eq!(
        journal.trouble().map(|trouble| (trouble.doing, trouble.refuses)),
        Some((Doing::Rebasing, false))
    );
    assert_eq!(steps(&mut journal, 2000).len(), 5);
    journal.stepped(5, 0, 2000);
    assert!(!journal.is_rewriting());
    let cleaning = shown(&steps(&mut journal, 2000));
    assert_eq!(cleaning[..3], ["remove a.1.base.rdb", "remove a.1.incr.aof", "flush"]);
    assert!(
        cleaning[3]
            .ends_with(": file a.2.base.rdb seq 2 type b\nfile a.2.incr.aof seq 2 type i startoffset 112\n")
    );
    journal.stepped(6, 0, 2000);
    assert_eq!(journal.manifest().history(), []);
    assert_eq!(journal.next(2000), None);
}

/// A rewrite at the stream's end, with the steps that clean up behind it. Nothing else is due.
fn rewrite(journal: &mut Journal, prelude: &[u8]) -> Vec<String> {
    journal.set_prelude(prelude.to_vec());
    assert!(journal.rotate(journal.end));
    let mut taken = Vec::new();
    while let Some(action) = journal.next(0) {
        match action {
            Action::Write { bytes, .. } => {
                let count = bytes.len();
                journal.wrote(bytes, count, 0, 0);
            }
            Action::Flush => journal.flushed(0),
            Action::Truncate { .. } => unreachable!("nothing fails"),
            Action::Steps(steps) => {
                taken = shown(&steps);
                journal.stepped(steps.len(), 0, 0);
            }
        }
        if journal.rewriting && journal.cut.is_none() && journal.base.is_none() && journal.task.is_none() {
            journal.rebase("temp-b".to_owned());
        }
    }
    assert!(!journal.is_rewriting());
    taken
}

fn places(journal: &Journal, from: u64) -> Vec<(String, u64)> {
    journal.locate(from).map(|(name, offset)| (name.to_owned(), offset)).collect()
}

#[test]
fn what_a_rewrite_replaces_is_kept_for_replicas() {
    let place = |name: &str, offset| (name.to_owned(), offset);
    let mut journal = open(AppendFsync::Always);
    journal.keep_history(250);
    journal.append(&[b'x'; 95], 0);
    let cleaned = rewrite(&mut journal, b"");
    assert_eq!(cleaned[0], "remove a.1.base.rdb", "{cleaned:?}");
    assert_eq!(cleaned[1], "flush", "the increment stays");
    journal.append(&[b'y'; 100], 0);
    rewrite(&mut journal, b"SELECT 3");
    assert_eq!((journal.oldest(), journal.written()), (Some(100 + LONGEST_PRELUDE), 300));
    assert_eq!(places(&journal, 150), [place("a.1.incr.aof", 50)]);
    assert_eq!(places(&journal, 250), [place("a.2.incr.aof", 50)]);
    assert_eq!(places(&journal, 300), [place("a.2.incr.aof", 100), place("a.3.incr.aof", 8)]);
    // Of three that begin within a few bytes, each may be the one.
    journal.append(b"abcde", 0);
    rewrite(&mut journal, b"SELECT 3");
    assert_eq!(
        places(&journal, 300),
        [place("a.2.incr.aof", 100), place("a.3.incr.aof", 8), place("a.4.incr.aof", 3)]
    );
    journal.append(&[b'z'; 100], 0);
    let cleaned = rewrite(&mut journal, b"");
    assert_eq!(
        cleaned[..3],
        ["remove a.4.base.rdb", "remove a.1.incr.aof", "flush"],
        "the oldest goes first"
    );
    assert_eq!(journal.oldest(), Some(200 + LONGEST_PRELUDE));
    journal.keep_history(0);
    assert_eq!(steps(&mut journal, 0).len(), 3 + 4, "none, from now on");
}

#[test]
fn a_gap_in_the_stream_ends_what_history_is_good_for() {
    let mut journal = open(AppendFsync::Always);
    journal.keep_history(1000);
    rewrite(&mut journal, b"");
    assert_eq!(journal.oldest(), Some(100 + LONGEST_PRELUDE));
    journal.append(b"lost", 0);
    journal.condemned = true;
    journal.unsound = Some(EIO);
    let cleaned = rewrite(&mut journal, b"");
    assert_eq!(cleaned[1..4], ["remove a.1.incr.aof", "remove a.2.incr.aof", "flush"], "{cleaned:?}");
    assert_eq!(journal.oldest(), Some(109 + LONGEST_PRELUDE));
}

#[test]
fn a_failed_flush_condemns_the_file_until_a_rewrite() {
    let mut journal = open(AppendFsync::Everysec);
    write(&mut journal, 0, 0, b"early", 5, 0);
    flush(&mut journal, 1000, EIO);
    let trouble = Trouble { doing: Doing::Flushing, error: EIO, refuses: true };
    assert_eq!((journal.trouble(), journal.needs_rewrite()), (Some(trouble), true));
    journal.append(b"before|behind", 10);
    assert_eq!(journal.next(9000), None, "nothing goes behind what may be lost");
    assert!(journal.rotate(112) && !journal.needs_rewrite());
    assert_eq!(shown(&steps(&mut journal, 9000)), ["open a.2.incr.aof at 0", "flush"], "not listed yet");
    journal.stepped(2, 0, 9000);
    write(&mut journal, 9000, 0, b"behind", 6, 0);
    flush(&mut journal, 10_000, 0);
    assert_eq!((journal.durable(), journal.trouble()), (100, Some(trouble)));
    journal.rebase("temp-b".to_owned());
    let rebasing = steps(&mut journal, 9000);
    journal.stepped(rebasing.len(), 0, 9000);
    assert_eq!((journal.durable(), journal.trouble()), (118, None));
    let names: Vec<&str> = journal.manifest().files().map(|part| part.name.as_str()).collect();
    assert_eq!(names, ["a.2.base.rdb", "a.2.incr.aof"]);
}

#[test]
fn a_rewrite_that_fails_behind_a_condemned_file_is_begun_anew() {
    let mut journal = open(AppendFsync::Everysec);
    write(&mut journal, 0, 0, b"early", 5, 0);
    flush(&mut journal, 1000, EIO);
    assert!(journal.rotate(105));
    let opening = steps(&mut journal, 0);
    journal.stepped(opening.len(), 0, 0);
    journal.abandon();
    assert!(journal.needs_rewrite());
    journal.append(b"more", 0);
    assert!(journal.rotate(109));
    write(&mut journal, 0, 0, b"more", 4, 0);
    flush(&mut journal, 0, 0);
    let opening = shown(&steps(&mut journal, 0));
    assert_eq!(opening, ["open a.3.incr.aof at 0", "remove a.2.incr.aof", "flush"]);
}

#[test]
fn a_log_that_is_turned_on_counts_from_its_base_on() {
    let mut journal = Journal::begin(Manifest::new("a"), 40, AppendFsync::Always, Vec::new());
    assert!(!journal.is_founded() && journal.is_rewriting());
    let opening = steps(&mut journal, 0);
    assert_eq!(shown(&opening), ["open a.1.incr.aof at 0", "flush"]);
    journal.stepped(2, 0, 0);
    journal.append(b"bytes", 0);
    write(&mut journal, 0, 0, b"bytes", 5, 0);
    assert_eq!((journal.durable(), journal.trouble()), (0, None));
    journal.rebase("temp-b".to_owned());
    let rebasing = steps(&mut journal, 0);
    journal.stepped(rebasing.len(), 0, 0);
    assert!(journal.is_founded());
    assert_eq!((journal.durable(), journal.length()), (45, 5));
}

#[test]
fn a_loaded_log_goes_on_behind_its_last_whole_unit() {
    let manifest = b"file a.1.base.rdb seq 1 type b\nfile a.4.incr.aof seq 4 type i\nfile old seq 1 type h";
    let manifest = Manifest::parse("a", manifest).expect("a manifest");
    let mut journal = Journal::resume(manifest, 70, 20, AppendFsync::Always);
    let opening = steps(&mut journal, 0);
    assert_eq!(shown(&opening), ["open a.4.incr.aof at 70", "flush"]);
    journal.stepped(2, 0, 0);
    assert_eq!(shown(&steps(&mut journal, 0))[0], "remove old");
    journal.append(b"bytes", 0);
    write(&mut journal, 0, 70, b"bytes", 5, 0);
    assert_eq!((journal.written(), journal.durable(), journal.length()), (25, 25, 75));
    let mut adopted = Journal::resume(Manifest::adopt("a", "a"), 0, 0, AppendFsync::No);
    let opening = shown(&steps(&mut adopted, 0));
    assert_eq!(
        opening[2],
        "put temp-a.manifest: file a seq 1 type b\nfile a.1.incr.aof seq 1 type i startoffset 0\n"
    );
}

#[test]
fn a_prelude_is_in_the_file_and_not_in_the_stream() {
    let mut journal = open(AppendFsync::Always);
    write(&mut journal, 0, 0, b"early", 5, 0);
    journal.append(&[b'x'; 95], 0);
    journal.set_prelude(b"SELECT 3".to_vec());
    assert!(journal.rotate(200));
    journal.append(&[b'y'; 50], 0);
    write(&mut journal, 0, 5, &[b'x'; 95], 95, 0);
    let opening = steps(&mut journal, 0);
    assert_eq!(shown(&opening)[..2], ["put a.2.incr.aof: SELECT 3", "open a.2.incr.aof at 8"]);
    journal.stepped(opening.len(), 0, 0);
    write(&mut journal, 0, 8, &[b'y'; 50], 50, 0);
    assert_eq!((journal.written(), journal.length()), (250, 58));
    let (first, second) = ("a.1.incr.aof".to_owned(), "a.2.incr.aof".to_owned());
    assert_eq!(places(&journal, 150), [(first.clone(), 50)]);
    // The stream's bytes up to 200 are in the first file; the second repeats none of them.
    assert_eq!(places(&journal, 195), [(first.clone(), 95), (second.clone(), 3)]);
    assert_eq!(places(&journal, 205), [(first, 105), (second.clone(), 13)]);
    assert_eq!(places(&journal, 240), [(second, 48)]);
    assert_eq!(journal.oldest(), Some(100 + LONGEST_PRELUDE));
    assert!(journal.locate(110).next().is_none(), "it may be a prelude, for all that is known");
    let manifest = Manifest::adopt("a", "a");
    let mut early = Journal::begin(manifest, 3, AppendFsync::No, b"SELECT 3".to_vec());
    let opening = steps(&mut early, 0);
    early.stepped(opening.len(), 0, 0);
    assert_eq!((early.oldest(), early.locate(5).count()), (None, 0), "it begins before the stream does");
}
