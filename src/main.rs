//! `stargate-mirror`: argv in, exit code out. Started under a hook's name, it is that hook, and as
//! `git-remote-stargate` it is git's remote helper.
use std::{ffi::OsString, process::ExitCode};

use stargate_mirror::{cli, hook};

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    match args.first() {
        Some(program) if hook::is_hook_name(program) => hook::main(&args),
        Some(program) if cli::remote_helper::is_remote_helper(program) => cli::remote_helper::main(&args),
        _ => cli::main(),
    }
}
