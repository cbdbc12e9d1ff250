//! `stargate-mirror`: argv in, exit code out. Started under a hook's name, it is that hook.
use std::process::ExitCode;

fn main() -> ExitCode {
    stargate_mirror::cli::main()
}
