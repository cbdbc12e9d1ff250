//! `stargate-hook`: argv in, exit code out. See [`stargate_mirror::hook`].
use std::process::ExitCode;

fn main() -> ExitCode {
    stargate_mirror::hook::main(&std::env::args_os().collect::<Vec<_>>())
}
