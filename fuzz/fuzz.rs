//! Passes libFuzzer's bytes to the target that the environment names. See `fuzz/run`.
#![no_main]

#[path = "../tests/push/fuzzed/properties/mod.rs"]
mod properties;

use std::{env, sync::OnceLock};

use properties::{TARGETS, Target};

static TARGET: OnceLock<Target> = OnceLock::new();

fn named() -> Target {
    let name = env::var("FUZZ_TARGET").unwrap_or_default();
    let target = TARGETS.into_iter().find(|(target, _)| *target == name);
    target.unwrap_or_else(|| {
        panic!(
            "FUZZ_TARGET is {name:?}, expected one of {:?}",
            TARGETS.map(|(name, _)| name)
        )
    })
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (_, check) = TARGET.get_or_init(named);
    check(bytes);
});
