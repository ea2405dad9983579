//! Any bytes, cut anywhere, come to the same commands and the same error as in one piece; nothing panics.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| torc_fuzz::resp::fuzzing::parser(data));
