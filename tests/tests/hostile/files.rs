//! Files that are not as they should be at the start: it refuses, says which and what to do, and leaves them as they are.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use torc_tests::node::Node;
use torc_tests::process::Server;
use torc_tests::reply::Reply;
use torc_tests::torc;

use super::start::{refusal, refusal_of};

/// What Torc says that refuses to start over `dir`; it must name all of `named`, in one line.
fn refuses(dir: &Path, options: &[&str], named: &[&str]) {
    let dir = dir.to_string_lossy();
    let words = [&["--shards", "2", "--dir", &dir], options].concat();
    let log = refusal(&words);
    let whole = |line: &&str| named.iter().all(|word| line.contains(word));
    assert!(log.lines().any(|line| whole(&line)), "no line has {named:?}:\n{log}");
    assert!(!log.contains("panicked") && !log.contains("ready to serve"), "{log}");
}

/// Names and bytes of a directory's files.
fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = std::fs::read_dir(dir).expect("it is there").flatten();
    let read = |path: &Path| std::fs::read(path).expect("a file of ours");
    files.map(|file| (file.file_name().to_string_lossy().into_owned(), read(&file.path()))).collect()
}

/// A directory with a log of one key.
fn logged() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let node = Node::start(dir.path(), 2, &[]);
    node.client().line("SET a 1");
    node.stop();
    dir
}

#[test]
fn a_log_without_its_manifest_is_not_written_over() {
    if torc::is_stand_in() {
        return;
    }
    let dir = logged();
    let folder = dir.path().join("appendonlydir");
    let manifest = folder.join("appendonly.aof.manifest");
    let aside = dir.path().join("aside");
    std::fs::rename(&manifest, &aside).expect("it is there");
    let before = contents(&folder);
    refuses(
        dir.path(),
        &["--appendonly", "yes"],
        &[
            &folder.to_string_lossy(),
            "'appendonly.aof.1.base.rdb'",
            "restore the manifest",
            "move the files away",
        ],
    );
    assert_eq!(contents(&folder), before);
    let node = Node::start(dir.path(), 2, &["--appendonly", "no", "--save", ""]);
    let mut client = node.client();
    client.line("CONFIG SET appendonly yes");
    client.line("SET b 1");
    node.stop();
    assert_eq!(contents(&folder), before, "nor when the log is turned on");
    std::fs::rename(&aside, &manifest).expect("it is there");
    let node = Node::start(dir.path(), 1, &[]);
    assert_eq!(node.client().line("GET a"), Reply::Bulk(b"1".to_vec()));
}

#[test]
fn what_a_crash_left_of_a_logs_foundation_is_begun_anew() {
    if torc::is_stand_in() {
        return;
    }
    let dir = logged();
    let folder = dir.path().join("appendonlydir");
    let note = folder.join("temp-appendonly.aof.manifest");
    std::fs::remove_file(folder.join("appendonly.aof.manifest")).expect("it is there");
    std::fs::write(&note, "").expect("it is ours");
    std::fs::remove_file(dir.path().join("dump.rdb")).expect("it was saved at the stop");
    let node = Node::start(dir.path(), 2, &["--appendfsync", "always"]);
    assert_eq!(node.client().line("EXISTS a"), Reply::Int(0));
    node.client().line("SET b 1");
    node.kill();
    assert!(!note.exists(), "a manifest has taken its place");
    let node = Node::start(dir.path(), 1, &[]);
    assert_eq!(node.client().line("GET b"), Reply::Bulk(b"1".to_vec()));
}

#[test]
fn a_log_that_cannot_be_written_is_no_start() {
    if torc::is_stand_in() {
        return;
    }
    let dir = logged();
    let folder = dir.path().join("appendonlydir");
    let increment = folder.join("appendonly.aof.1.incr.aof");
    // Root may write everywhere but on what is mounted read-only.
    let mount = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && exec \"$@\"";
    let arguments = |port: u16, _: &Path| {
        let namespace = ["--user", "--map-root-user", "--mount", "sh", "-c", mount].map(OsString::from);
        let command = [folder.clone().into_os_string(), torc::program().into()];
        let dir = ["--dir".into(), dir.path().into()];
        namespace.into_iter().chain(command).chain(torc::arguments(port, 2, &[])).chain(dir).collect()
    };
    let log = refusal_of(Server::spawn("torc", Path::new("unshare"), &arguments), "a read-only log");
    let line = format!("cannot open '{}' for writing: Read-only file system", increment.display());
    assert!(log.contains(&line) && !log.contains("ready to serve"), "{log}");

    let manifest = folder.join("appendonly.aof.manifest");
    std::fs::write(manifest, "file appendonly.aof.1.base.rdb seq 1 type b\n").expect("it is ours");
    std::fs::remove_file(&increment).expect("it is there");
    std::fs::create_dir(&increment).expect("it is gone");
    refuses(dir.path(), &["--appendonly", "yes"], &[&increment.to_string_lossy(), "Is a directory"]);
}

#[test]
fn a_directory_that_is_not_there_is_not_made() {
    if torc::is_stand_in() {
        return;
    }
    let home = tempfile::tempdir().expect("a temporary directory");
    let file = home.path().join("file");
    std::fs::write(&file, "").expect("it is ours");
    let missing = home.path().join("a/b");
    for (dir, error) in [(&missing, "No such file or directory"), (&file, "Not a directory")] {
        let option = format!("'dir {}'", dir.display());
        for appendonly in ["yes", "no"] {
            refuses(dir, &["--appendonly", appendonly], &[&option, error]);
        }
    }
    assert!(!home.path().join("a").exists());
}

#[test]
fn what_cannot_be_loaded_is_named_with_its_file_and_offset() {
    if torc::is_stand_in() {
        return;
    }
    let dir = logged();
    let folder = dir.path().join("appendonlydir");
    // A list, whose type Torc has not got yet, in a snapshot without a checksum.
    let list = b"\x12\x01l\x01\x02\x0a\x0a\0\0\0\x01\0\x81a\x02\xff";
    let snapshot = [&b"REDIS0010\xfe\0"[..], list, b"\xff\0\0\0\0\0\0\0\0"].concat();
    let dump = dir.path().join("dump.rdb");
    std::fs::write(&dump, &snapshot).expect("it is ours");
    let what = ["offset 14: key \"l\": ", "is not supported"];
    refuses(dir.path(), &["--appendonly", "no"], &[&[&*dump.to_string_lossy()][..], &what].concat());

    let increment = folder.join("appendonly.aof.1.incr.aof");
    let named = format!("'{}' cannot be applied: ", increment.display());
    let good = std::fs::read(&increment).expect("it is there");
    for (command, place, why) in [
        (
            "*2\r\n$3\r\nFOO\r\n$1\r\na\r\n",
            format!("offset {}: ", good.len()),
            "command 'FOO': it is not known here",
        ),
        (
            "*1\r\n$3\r\nGET\r\n",
            format!("offset {}: ", good.len()),
            "command 'GET': its number of arguments is wrong",
        ),
        ("*1\r\n$4\r\nSYNC\r\n", "between the offsets 0 and ".to_owned(), "it asks for replication"),
    ] {
        std::fs::write(&increment, [&good, command.as_bytes()].concat()).expect("it is ours");
        refuses(dir.path(), &["--appendonly", "yes"], &[&named, &place, why]);
    }
    let base = folder.join("appendonly.aof.1.base.rdb");
    std::fs::write(&base, &snapshot).expect("it is ours");
    refuses(dir.path(), &["--appendonly", "yes"], &[&[&*base.to_string_lossy()][..], &what].concat());
}
