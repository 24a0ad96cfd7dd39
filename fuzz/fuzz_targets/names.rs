#![no_main]

#[path = "../targets/names.rs"]
mod target;
#[path = "../targets/input.rs"]
mod input;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
