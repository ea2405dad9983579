//! Only canonical integers are integers; what is printed reads back.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| torc_fuzz::resp::fuzzing::number(data));
