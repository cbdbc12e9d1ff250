//! `stargate-mirror install`: the hooks in place, and the next step told.
use std::{
    env,
    path::{Path, PathBuf},
};

use durable::storage::Disk;

use super::report::{Exit, Failure};
use crate::{
    hook::{
        durability::make_durable,
        install::{Change, InPlace, Installation, Report, install},
        owner::as_owner,
    },
    journal,
    ref_pattern::{DEFAULT_PATTERNS, RefPatterns},
};

const EXAMPLES: &str = "\
Examples:
  stargate-mirror install --repo /srv/git/o/r.git
  stargate-mirror install --repo /srv/git/o/r.git --chain
  stargate-mirror install --repo /srv/git/o/r.git --fsync-committed";

/// Install the hooks that record every push to a repository for its mirror.
///
/// pre-receive records the push before git accepts it, so that a crash loses nothing, and rejects a push that cannot be
/// recorded. post-receive writes the journal entries.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The bare repository [default: GIT_DIR, else found from the current directory]
    #[arg(long, value_name = "DIR")]
    repo: Option<PathBuf>,
    /// Keep existing hooks, and run them first under their own names
    #[arg(long)]
    chain: bool,
    /// Do not install pre-receive
    #[arg(long)]
    no_pre_receive: bool,
    /// Set core.fsync to `committed` in the repository, so that git waits for the disk, too
    #[arg(long)]
    fsync_committed: bool,
}

/// Runs the command.
///
/// # Errors
/// See [`InstallError`](crate::hook::install::InstallError); also when the program itself cannot be found.
pub fn main(args: &Args) -> Result<Exit, Failure> {
    let git_dir = super::repository(args.repo.as_deref())?;
    let (program, apart) = hook_program()?;
    let installation = Installation {
        git_dir: &git_dir,
        program: &program,
        chain: args.chain,
        pre_receive: !args.no_pre_receive,
    };
    let mut report = install(&Disk, installation)?;
    let harden = args.fsync_committed && !report.git_is_durable;
    if harden {
        report.git_is_durable = make_durable(&Disk, &git_dir)?;
    }
    let program = (!apart).then_some(program.as_path());
    let set = setting(&git_dir)?;
    print!("{}", text(&report, &git_dir, &set, program));
    if let Some(kept_out) = journal::kept_out(&git_dir) {
        eprintln!("{kept_out}");
    }
    if harden && !report.git_is_durable {
        eprintln!("core.fsync is set to committed, but another file of git's configuration overrules it.");
    }
    Ok(Exit::Done)
}

/// The program to install: `stargate-hook` beside this one (true), or this one itself (false), which can be the hook
/// too, and is larger.
pub(super) fn hook_program() -> Result<(PathBuf, bool), Failure> {
    // Without /proc there is still the path under which this was started.
    let this = env::current_exe().or_else(|error| env::args_os().next().map(PathBuf::from).ok_or(error));
    let this =
        this.map_err(|error| Failure::new(Exit::Failed, format!("cannot find the program to install: {error}")))?;
    let hook = this.with_file_name(format!("stargate-hook{}", env::consts::EXE_SUFFIX));
    Ok(if hook.is_file() { (hook, true) } else { (this, false) })
}

/// The beginning of a command that sets a key of the repository's configuration. Run by root, `git config` would write the
/// file anew, and leave it to root.
pub(super) fn setting(git_dir: &Path) -> Result<String, Failure> {
    let as_owner = as_owner(git_dir)
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot look at {}: {error}", git_dir.display())))?;
    Ok(format!("{as_owner}git config -f {}", git_dir.join("config").display()))
}

/// `set` is what [`setting()`] gives.
fn text(report: &Report, git_dir: &Path, set: &str, whole_program: Option<&Path>) -> String {
    let repo = git_dir.display();
    let mut text: String = report.hooks.iter().map(about).collect();
    if let Some(program) = whole_program {
        let program = program.display();
        text +=
            &format!("There is no stargate-hook beside {program}, so the hook is a copy of that; it does the same.\n");
    }
    if report.outside {
        text += "core.hooksPath leads out of this repository: every repository that uses it runs these hooks.\n";
    }
    text += &format!(
        "The hook appends every accepted update of a mirrored ref to {journal},\n\
         and says so to the pusher. Of a push without mirrored refs it says nothing.\n\
         The worker, `stargate-mirror run`, is the journal's sole consumer.\n",
        journal = journal::path_in(git_dir).display(),
    );
    text += &mirrored(&report.refs, set);
    if !report.git_is_durable {
        text += &format!(
            "\nGit itself does not wait for the disk, so a power cut can take back a push that was accepted. If it is to, \
             install with --fsync-committed, which does\n\
             \n    {set} core.fsync committed\n"
        );
    }
    text + &format!(
        "\nNext, name the mirror (if that is not done) and carry what is pushed to it, from cron or by hand:\n\
         \n    {set} stargate.remote https://github.com/OWNER/NAME.git\
         \n    GITHUB_PAT=... stargate-mirror run --repo {repo}\n"
    )
}

/// Which refs are mirrored, and how branches are.
fn mirrored(refs: &RefPatterns, set: &str) -> String {
    let text = format!("\nMirrored refs: {refs}\n");
    if refs.matches("refs/heads/main".into()) {
        return text;
    }
    // What is configured takes the place of the default.
    let (beside, defaults) = match *refs == RefPatterns::default() {
        true => (
            ", beside these, which are mirrored only as long as nothing is set",
            DEFAULT_PATTERNS.map(|pattern| format!("    {set} --add stargate.ref '{pattern}'\n")),
        ),
        false => Default::default(),
    };
    text + &format!(
        "Branches are not mirrored. If they are to be{beside}:\n\
         \n{}    {set} --add stargate.ref 'refs/heads/*'\n",
        defaults.concat()
    )
}

fn about(in_place: &InPlace) -> String {
    let hook = in_place.hook.display();
    let text = match in_place.change {
        Change::Installed => format!("Installed {hook}.\n"),
        Change::Updated => format!("Updated {hook}, which was another version.\n"),
        Change::Chained => format!("Installed {hook}; the hook that was there is kept.\n"),
        Change::Unchanged => format!("{hook} is in place already; nothing was changed.\n"),
    };
    match (&in_place.chained, &in_place.runs_as) {
        (Some(kept), Some(name)) => {
            let (kept, name) = (kept.display(), name.display());
            text + &format!("{kept} runs first, with the same input, as {name}.\n")
        }
        (Some(kept), None) => text + &format!("{} runs first, with the same input.\n", kept.display()),
        (None, _) => text,
    }
}
