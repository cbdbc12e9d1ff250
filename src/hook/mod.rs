//! What runs inside git's hooks.
//!
//! `stargate-hook` is started by git under the name of a hook, in `$GIT_DIR`, and told on its standard input what the
//! push did (githooks). [`post_receive`] records it in the [`journal`](crate::journal), whose sole consumer is the
//! worker, `stargate-mirror run`: the hook queues, and never talks to a mirror.
//!
//! `post-receive` runs after the refs have moved: whatever it does, the push stands. So it says what went wrong, and to
//! whom: the pusher (standard error, which git shows as `remote: …`), the log, and its exit code, which git ignores and
//! a person who runs it by hand sees.
//!
//! # Exit codes
//!
//! 0: every mirrored ref update is durable in the journal. 1: at least one is not, a line could not be understood, or a
//! chained hook failed. 2: started under a name, and with an argument, that is no hook.
pub mod identity;
pub mod install;
pub mod post_receive;

mod account;
mod chained;
mod meta;

use std::{
    ffi::{OsStr, OsString},
    io::Write,
    path::Path,
    process::ExitCode,
};

/// What tells our own hook programs from others: it is in the text that [`main`] shows when it is misused, and so in
/// every program that contains that.
pub const MARKER: &str = "[stargate-mirror hook program]";
/// The name under which git starts the hook.
pub const POST_RECEIVE: &str = "post-receive";

/// Looks up an environment variable.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Whether a program that is started as `program` (its `argv[0]`) is to be a hook.
pub fn is_hook_name(program: &OsStr) -> bool {
    Path::new(program).file_stem() == Some(OsStr::new(POST_RECEIVE))
}

/// Runs the hook that `argv[0]` names, or else `argv[1]`, and gives the exit code: see the module's documentation.
pub fn main(args: &[OsString]) -> ExitCode {
    let named = args.first().is_some_and(|program| is_hook_name(program));
    if named || args.get(1).is_some_and(|name| name == POST_RECEIVE) {
        let chained = args
            .first()
            .filter(|_| named)
            .map(|program| chained::beside(Path::new(program)));
        return post_receive::main(chained.as_deref());
    }
    // Nobody is left to tell when this fails.
    let _ = writeln!(
        std::io::stderr(),
        "stargate-hook is run by git, under the name of a hook: hooks/post-receive, where `stargate-mirror install` \
         puts it.\nBy hand: stargate-hook post-receive, with lines of <old> <new> <ref> on standard input.\n\
         {MARKER} {}",
        env!("CARGO_PKG_VERSION")
    );
    ExitCode::from(2)
}
