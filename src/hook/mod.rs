//! What runs inside git's hooks.
//!
//! `stargate-hook` is started by git under the name of a hook, in `$GIT_DIR`, and told on its standard input what the
//! push does (githooks). [`pre_receive`] makes sure that it can be recorded, and rejects it otherwise; [`post_receive`]
//! records it in the [`journal`](crate::journal), whose sole consumer is the worker, `stargate-mirror run`: the hook
//! queues, and never talks to a mirror.
//!
//! `post-receive` runs after the refs have moved: whatever it does, the push stands. So it says what went wrong, and to
//! whom: the pusher (standard error, which git shows as `remote: …`), the log, and its exit code, which git ignores and
//! a person who runs it by hand sees.
//!
//! # Exit codes
//!
//! 0: every mirrored ref update is durable, in the journal or (`pre-receive`) as an intent. 1: at least one is not, a line
//! could not be understood, or a chained hook failed; in `pre-receive` this rejects the push. 2: started under a name, and with an argument, that is no hook.
pub mod durability;
pub mod identity;
pub mod input;
pub mod install;
pub mod owner;
pub mod post_receive;
pub mod pre_receive;

mod account;
mod chained;
mod guard;
mod head;
mod large_blobs;
mod meta;
mod objects;
mod push;

use std::{
    ffi::{OsStr, OsString},
    io::Write,
    path::Path,
    process::ExitCode,
};

/// What tells our own hook programs from others: it is in the text that [`main`] shows when it is misused, and so in
/// every program that contains that.
pub const MARKER: &str = "[stargate-mirror hook program]";
/// The name under which git starts the hook before the refs move.
pub const PRE_RECEIVE: &str = "pre-receive";
/// The name under which git starts the hook after the refs have moved.
pub const POST_RECEIVE: &str = "post-receive";

/// Looks up an environment variable.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Whether a program that is started as `program` (its `argv[0]`) is to be a hook.
pub fn is_hook_name(program: &OsStr) -> bool {
    Path::new(program).file_stem().and_then(hook_named).is_some()
}

/// Runs the hook that `argv[0]` names, or else `argv[1]`, and gives the exit code: see the module's documentation.
pub fn main(args: &[OsString]) -> ExitCode {
    let program = args.first().map(Path::new);
    if let Some((program, hook)) = program.and_then(|path| Some((path, hook_named(path.file_stem()?)?))) {
        return hook(chained::program(program).as_deref());
    }
    if let Some(hook) = args.get(1).and_then(|name| hook_named(name)) {
        return hook(None);
    }
    // Nobody is left to tell when this fails.
    let _ = writeln!(
        std::io::stderr(),
        "stargate-hook is run by git, under the name of a hook: hooks/pre-receive and hooks/post-receive, where \
         `stargate-mirror install` puts it.\nBy hand: stargate-hook post-receive, with lines of <old> <new> <ref> on \
         standard input.\n\
         {MARKER} {}",
        env!("CARGO_PKG_VERSION")
    );
    ExitCode::from(2)
}

/// What runs a hook, given the one that is chained to it.
type Hook = fn(Option<&Path>) -> ExitCode;

fn hook_named(name: &OsStr) -> Option<Hook> {
    match name.to_str()? {
        PRE_RECEIVE => Some(pre_receive::main),
        POST_RECEIVE => Some(post_receive::main),
        _ => None,
    }
}
