//! Patterns match what their definition says, within the promised steps.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| torc_fuzz::resp::fuzzing::glob(data));
