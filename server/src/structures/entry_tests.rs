//! Entries: every form of key, value and expiry, written, rewritten and freed.

use super::{Content, Draft, EntryRef, Object, OwnedEntry, Payload, same};
use crate::structures::heap::Heap;

fn draft<'a>(key: &'a [u8], expire: Option<i64>, content: Content<'a>) -> Draft<'a> {
    Draft { key, meta: 7, access: 0xab_cdef, expire, content }
}

fn text(entry: EntryRef<'_>) -> Vec<u8> {
    match entry.payload() {
        Payload::Int(value) => value.to_string().into_bytes(),
        Payload::Bytes(bytes) => bytes.to_vec(),
        Payload::Object(Object::Str(bytes)) => bytes.clone(),
    }
}

fn contents(nth: usize) -> (Content<'static>, Vec<u8>) {
    match nth {
        0 => (Content::Int(-42), b"-42".to_vec()),
        1 => (
            Content::Bytes(b"a value of thirty-two bytes, yes"),
            b"a value of thirty-two bytes, yes".to_vec(),
        ),
        2 => (Content::Bytes(b""), Vec::new()),
        _ => (Content::Object(Box::new(Object::Str(vec![b'x'; 3000]))), vec![b'x'; 3000]),
    }
}

#[test]
fn every_form_reads_back_and_is_freed() {
    let mut heap = Heap::new();
    let (short, long, longer) = (vec![b'k'; 16], vec![b'k'; 300], vec![b'k'; 5000]);
    for key in [&b""[..], &short, &long, &longer] {
        for expire in [None, Some(1), Some(i64::MAX)] {
            for nth in 0..4 {
                let (content, expected) = contents(nth);
                let entry = OwnedEntry::new(draft(key, expire, content), &mut heap);
                let view = entry.view();
                assert!(view.has_key(key) && !view.has_key(b"other"));
                assert_eq!(
                    (view.key(), view.expire(), view.meta(), view.access()),
                    (key, expire, 7, 0xab_cdef)
                );
                assert_eq!(text(view), expected);
                assert_eq!(view.memory(), heap.used());
                entry.free(&mut heap);
                assert_eq!(heap.used(), 0);
            }
        }
    }
}

#[test]
fn sixteen_and_thirty_two_bytes_take_fifty_six() {
    let mut heap = Heap::new();
    let entry = OwnedEntry::new(draft(&[1; 16], None, Content::Bytes(&[2; 32])), &mut heap);
    assert_eq!(entry.view().memory(), 56);
    entry.free(&mut heap);
}

#[test]
fn overwriting_keeps_the_block_when_it_can() {
    let mut heap = Heap::new();
    for from in 0..4 {
        for to in 0..4 {
            for (before, after) in [(None, Some(5)), (Some(5), None), (None, None)] {
                let mut entry = OwnedEntry::new(draft(b"key", before, contents(from).0), &mut heap);
                let (content, expected) = contents(to);
                let size = |key: usize, expire: Option<i64>, nth: usize| {
                    let value = contents(nth);
                    let value = if matches!(value.0, Content::Bytes(_)) { value.1.len() } else { 8 };
                    (8 + key + value + expire.map_or(0, |_| 8)).next_multiple_of(8)
                };
                let fits = size(3, before, from) == size(3, after, to);
                match entry.overwrite(draft(b"key", after, content), &mut heap) {
                    Ok(()) => assert!(fits),
                    Err(draft) => {
                        assert!(!fits);
                        std::mem::replace(&mut entry, OwnedEntry::new(draft, &mut heap)).free(&mut heap);
                    }
                }
                assert_eq!((text(entry.view()), entry.view().expire()), (expected, after));
                assert_eq!(entry.view().memory(), heap.used());
                entry.free(&mut heap);
            }
        }
    }
    assert_eq!(heap.used(), 0);
}

#[test]
fn expiry_comes_and_goes_without_touching_the_value() {
    let mut heap = Heap::new();
    for nth in 0..4 {
        let (content, expected) = contents(nth);
        let mut entry = OwnedEntry::new(draft(b"key", None, content), &mut heap);
        for expire in [Some(1), Some(2), None, None, Some(3)] {
            entry.set_expire(expire, &mut heap);
            entry.set_access(expire.unwrap_or(0) as u32);
            assert_eq!(entry.view().expire(), expire);
            assert_eq!(entry.view().access(), expire.unwrap_or(0) as u32);
            assert_eq!(text(entry.view()), expected);
            assert_eq!(entry.view().memory(), heap.used());
        }
        let object = entry.into_object(&mut heap);
        assert_eq!(object.is_some(), nth == 3);
        assert_eq!(heap.used(), 0);
    }
}

#[test]
fn editing_counts_the_buffer() {
    let mut heap = Heap::new();
    let mut entry = OwnedEntry::new(draft(b"key", None, contents(3).0), &mut heap);
    let before = heap.used();
    let grown = entry.edit(&mut heap, |Object::Str(bytes)| bytes.extend_from_slice(&[0; 100_000]));
    assert!(grown.is_some() && heap.used() > before + 100_000);
    assert_eq!(entry.view().memory(), heap.used());
    entry.free(&mut heap);
    assert_eq!(heap.used(), 0);
}

#[test]
fn keys_compare_over_their_whole_length() {
    for length in 0..70 {
        let key = vec![3u8; length];
        assert!(same(&key, &key.clone()));
        for at in 0..length {
            let mut other = key.clone();
            other[at] = 4;
            assert!(!same(&key, &other));
        }
    }
}
