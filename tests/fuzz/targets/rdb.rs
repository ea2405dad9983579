//! Any bytes come to the same items and the same damage however they are cut; what is read can be written again.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    torc_fuzz::rdb::fuzzing::file(data);
    torc_fuzz::rdb::fuzzing::payload(data);
});
