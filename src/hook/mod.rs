//! Program that runs as git's hooks.
//!
//! git starts `stargate-hook` under the name of a hook, or from its configuration ([`configured`]). The hook runs in
//! `$GIT_DIR`, with the ref updates of the push as its standard input (githooks). [`pre_receive`] makes sure that the push
//! can be recorded, and rejects it otherwise.
//! [`post_receive`] records it in the [`journal`](crate::journal), whose sole consumer is the worker,
//! `stargate-mirror run`. The hook never contacts a mirror.
//!
//! `post-receive` runs after the refs have moved, so it cannot undo the push. It reports failures to the pusher
//! (standard error, which git shows as `remote: …`), in the log, and by its exit code, which git ignores.
//!
//! # Exit codes
//!
//! - 0: every mirrored ref update is durable, in the journal or (`pre-receive`) as an intent.
//! - 1: at least one update is not durable, an input line is invalid, or a chained hook failed. In `pre-receive`, this
//!   rejects the push.
//! - 2: neither the program's name nor an argument is a hook's name.
pub mod configured;
pub mod durability;
pub mod git_config;
pub mod identity;
pub mod input;
pub mod install;
pub mod owner;
pub mod post_receive;
pub mod pre_receive;
pub mod uninstall;

mod chained;
mod guard;
mod head;
mod hook_output;
mod install_error;
mod large_blobs;
mod lfs_objects;
mod meta;
mod new_objects;
mod object_folders;
mod push;
mod ref_names;
mod rejections;

use std::{
    ffi::{OsStr, OsString},
    io::Write,
    path::Path,
    process::ExitCode,
};

/// Text that identifies our hook programs. It is part of the usage message of [`main`], and so of every such program.
pub const MARKER: &str = "[stargate-mirror hook program]";
/// The name under which git starts the hook before the refs move.
pub const PRE_RECEIVE: &str = "pre-receive";
/// The name under which git starts the hook after the refs have moved.
pub const POST_RECEIVE: &str = "post-receive";

/// Looks up an environment variable.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Returns true if a program started as `program` (its `argv[0]`) must run as a hook.
pub fn is_hook_name(program: &OsStr) -> bool {
    Path::new(program).file_stem().and_then(hook_named).is_some()
}

/// Runs the hook named by `argv[0]`, or else by `argv[1]`, or by `argv[2]` after [`configured::ARGUMENT`]. Returns the exit code, see the module's documentation.
pub fn main(args: &[OsString]) -> ExitCode {
    let program = args.first().map(Path::new);
    if let Some((program, hook)) = program.and_then(|path| Some((path, hook_named(path.file_stem()?)?))) {
        return hook(chained::program(program).as_deref());
    }
    if let [_, flag, name, ..] = args
        && flag == configured::ARGUMENT
        && let (Some(hook), Some(name)) = (hook_named(name), name.to_str())
    {
        return configured::main(hook, name);
    }
    if let Some(hook) = args.get(1).and_then(|name| hook_named(name)) {
        return hook(None);
    }
    // If standard error is closed, there is nowhere to report it.
    let _ = writeln!(
        std::io::stderr(),
        "git runs stargate-hook as hooks/pre-receive and hooks/post-receive. Run `stargate-mirror install` to install \
         it there.\nTo run it by hand: stargate-hook post-receive, with lines of <old> <new> <ref> on standard input.\n\
         {MARKER} {}",
        env!("CARGO_PKG_VERSION")
    );
    ExitCode::from(2)
}

/// Function that runs a hook. Its argument is the chained hook.
type Hook = fn(Option<&Path>) -> ExitCode;

fn hook_named(name: &OsStr) -> Option<Hook> {
    match name.to_str()? {
        PRE_RECEIVE => Some(pre_receive::main),
        POST_RECEIVE => Some(post_receive::main),
        _ => None,
    }
}
