//! `stargate-mirror install`: installs the hooks, configures the mirror, and prints the next step.
mod choice;
mod for_all;

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use durable::storage::Disk;

use self::choice::{Choice, Preset};
use super::{
    create::{Host, NewMirror},
    report::{Exit, Failure},
    shell::quoted_path,
};
use crate::{
    hook::{
        configured::install::Scope,
        durability::make_durable,
        install::{Change, InPlace, Installation, Report, install},
        owner::as_owner,
    },
    journal,
    ref_pattern::{DEFAULT_PATTERNS, RefPatterns},
    worker::{self, NothingMirrored, SettingsFinding},
};

const EXAMPLES: &str = "\
Examples:
  stargate-mirror install --repo r.git --mirror branches \\
    --remote https://github.com/o/r.git
  stargate-mirror install --repo r.git --chain
  stargate-mirror install --repo r.git --fsync-committed
  stargate-mirror install --system";

/// Install the hooks that record every push, and configure the mirror.
///
/// pre-receive records the push before git accepts it, so that a crash loses nothing, and rejects a push that cannot be
/// recorded. post-receive writes the journal entries.
///
/// With --system or --global, git's configuration names the hooks, for all repositories. They record pushes to those that
/// have stargate.remote, and do nothing in the others.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The bare repository [default: GIT_DIR, else found from the current directory]
    #[arg(long, value_name = "DIR")]
    repo: Option<PathBuf>,
    /// Install into the system's git configuration, for all repositories (git 2.54 and later)
    #[arg(long, conflicts_with_all = ["global", "repo", "remote", "mirror", "chain", "fsync_committed"])]
    system: bool,
    /// Install into this user's git configuration, for all repositories (git 2.54 and later)
    #[arg(long, conflicts_with_all = ["repo", "remote", "mirror", "chain", "fsync_committed"])]
    global: bool,
    /// Set stargate.remote: the mirror's URL, its path, or the name of a remote
    #[arg(long, value_name = "URL")]
    remote: Option<String>,
    /// Set stargate.ref to the refs of a preset
    #[arg(long, value_name = "PRESET")]
    mirror: Option<Preset>,
    /// Create the mirror first: an empty private repository, as `stargate-mirror create` does
    #[arg(long, requires = "remote")]
    create: bool,
    /// With --create: kind of the host, if its name does not show it
    #[arg(long, value_name = "KIND", requires = "create")]
    host: Option<Host>,
    /// With --create: URL for pushes, named in the description
    #[arg(long, value_name = "URL", requires = "create")]
    source: Option<String>,
    /// Keep existing hooks, and run them first, under their own names
    #[arg(long)]
    chain: bool,
    /// Do not install pre-receive
    #[arg(long)]
    no_pre_receive: bool,
    /// Set core.fsync to `committed` in the repository, so that git waits for the disk, too
    #[arg(long)]
    fsync_committed: bool,
}

impl Args {
    /// Returns the extent of an installation in git's configuration, if one is requested.
    fn scope(&self) -> Option<Scope> {
        if self.system {
            Some(Scope::System)
        } else {
            self.global.then_some(Scope::Global)
        }
    }

    fn new_mirror<'a>(&'a self, git_dir: &'a Path) -> NewMirror<'a> {
        NewMirror {
            git_dir: Some(git_dir),
            remote: self.remote.as_deref(),
            host: self.host,
            source: self.source.as_deref(),
        }
    }
}

/// Runs the command.
///
/// # Errors
/// See [`InstallError`](crate::hook::install::InstallError). Also, the program itself cannot be found, or a different
/// mirror or different refs are configured already.
pub fn main(args: &Args) -> Result<Exit, Failure> {
    if let Some(scope) = args.scope() {
        return for_all::main(scope, !args.no_pre_receive);
    }
    let git_dir = super::repository(args.repo.as_deref())?;
    let choice = Choice::new(&git_dir, args.remote.as_deref(), args.mirror)?;
    let (program, apart) = hook_program()?;
    if args.create {
        print!("{}", args.new_mirror(&git_dir).make()?);
    }
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
    let settings = choice.apply(&git_dir)?;
    report.refs = settings.refs;
    let program = (!apart).then_some(program.as_path());
    let set = setting(&git_dir)?;
    let next = next_step(&git_dir, &set, settings.has_remote);
    print!("{}{}{next}", text(&report, &git_dir, &set, program), choice);
    for finding in worker::review_settings(&git_dir)? {
        eprintln!("{finding}");
        if let SettingsFinding::NothingMirrored(_) = finding {
            eprintln!("  {}", NothingMirrored::HINT);
        }
    }
    if let Some(kept_out) = journal::kept_out(&git_dir) {
        eprintln!("{kept_out}");
    }
    if harden && !report.git_is_durable {
        eprintln!("core.fsync is set to committed, but another configuration file of git overrides it.");
    }
    Ok(Exit::Done)
}

/// Returns the program to install: `stargate-hook` in the folder of this program (true), or this program itself
/// (false), which is larger but can be the hook, too.
pub(super) fn hook_program() -> Result<(PathBuf, bool), Failure> {
    // Without /proc, the operating system does not report the path of the program.
    let this = env::current_exe()
        .or_else(|error| started_as(env::args_os().next(), env::var_os("PATH")).ok_or(error))
        .map_err(|error| {
            Failure::new(Exit::Failed, format!("cannot find the program to install: {error}"))
                .hint("start stargate-mirror by its full path, such as /usr/local/bin/stargate-mirror")
        })?;
    let hook = this.with_file_name(format!("stargate-hook{}", env::consts::EXE_SUFFIX));
    Ok(if hook.is_file() { (hook, true) } else { (this, false) })
}

/// Returns the path of the program that was started with this first argument. As in a shell, a name without a folder is
/// searched for in the folders of PATH.
fn started_as(first_argument: Option<OsString>, path: Option<OsString>) -> Option<PathBuf> {
    let name = PathBuf::from(first_argument?);
    if name.components().count() > 1 {
        return Some(name);
    }
    env::split_paths(&path?)
        .map(|folder| folder.join(&name))
        .find(|program| program.is_file())
}

/// Returns the start of a command that sets a key of the repository's configuration. It runs as the owner, because
/// `git config` run by root would replace the file by one that root owns.
pub(super) fn setting(git_dir: &Path) -> Result<String, Failure> {
    let as_owner = as_owner(git_dir)
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot read {}: {error}", git_dir.display())))?;
    Ok(format!(
        "{as_owner}git config -f {}",
        quoted_path(&git_dir.join("config"))
    ))
}

/// Returns the text to print. `set` comes from [`setting()`].
fn text(report: &Report, git_dir: &Path, set: &str, whole_program: Option<&Path>) -> String {
    let mut text: String = report.hooks.iter().map(about).collect();
    if let Some(program) = whole_program {
        let program = program.display();
        text += &format!(
            "There is no stargate-hook beside {program}, so the hook is a copy of that program, which works the same \
             way.\n"
        );
    }
    if report.outside {
        text += "core.hooksPath is outside this repository: every repository that uses it runs these hooks.\n";
    }
    text += &format!(
        "The hook appends every accepted update of a mirrored ref to {journal},\n\
         and reports it to the pusher. It is silent about a push without mirrored refs.\n\
         `stargate-mirror run` and `watch` read the journal and push to the mirror.\n",
        journal = journal::path_in(git_dir).display(),
    );
    text += &mirrored(&report.refs, set);
    if !report.git_is_durable {
        text += &format!(
            "\nGit itself does not wait for the disk, so a power cut can lose a push that was accepted. To make git wait, \
            install with --fsync-committed, or run\n\
             \n    {set} core.fsync committed\n"
        );
    }
    text
}

/// Returns the instruction for the first cycle. `set` comes from [`setting()`].
fn next_step(git_dir: &Path, set: &str, has_remote: bool) -> String {
    let run = format!(
        "\n    GITHUB_PAT=... stargate-mirror run --repo {}\n",
        quoted_path(git_dir)
    );
    if has_remote {
        return format!("\nNext, push to the mirror, from cron or by hand:\n{run}");
    }
    format!(
        "\nNext, set the mirror, and push to it, from cron or by hand:\n\
         \n    {set} stargate.remote https://github.com/OWNER/NAME.git{run}"
    )
}

/// Returns the text about mirrored refs, with the commands to mirror branches.
fn mirrored(refs: &RefPatterns, set: &str) -> String {
    let mut text = format!("\nMirrored refs: {refs}\n");
    if refs.leaves_out() {
        text += "Refs that forges create, such as refs/pull/*, are left out. To mirror some, name them in \
                 stargate.ref.\n";
    }
    if refs.matches("refs/heads/main".into()) {
        return text;
    }
    // A configured pattern replaces the defaults.
    let (and_defaults, defaults) = if *refs == RefPatterns::default() {
        (
            " as well, also set the defaults, because any setting replaces them",
            DEFAULT_PATTERNS.map(|pattern| format!("    {set} --add stargate.ref '{pattern}'\n")),
        )
    } else {
        Default::default()
    };
    text + &format!(
        "Branches are not mirrored. To mirror them{and_defaults}:\n\
         \n{}    {set} --add stargate.ref 'refs/heads/*'\n",
        defaults.concat()
    )
}

fn about(in_place: &InPlace) -> String {
    let hook = in_place.hook.display();
    let text = match in_place.change {
        Change::Installed => format!("Installed {hook}.\n"),
        Change::Updated => format!("Updated {hook}, which was a different version.\n"),
        Change::Chained => format!("Installed {hook}, and kept the existing hook.\n"),
        Change::Unchanged => format!("{hook} is already installed; nothing was changed.\n"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_without_a_folder_is_found_in_path() {
        let [empty, bin] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
        let path = env::join_paths([empty.path(), bin.path()]).expect("no colon");
        let program = bin.path().join("stargate-mirror");
        std::fs::write(&program, "").expect("a file");
        let found = |name: &str| started_as(Some(name.into()), Some(path.clone()));
        assert_eq!(found("stargate-mirror"), Some(program));
        assert_eq!(found("another"), None);
        assert_eq!(found("./another"), Some("./another".into()), "it has a folder");
        assert_eq!(started_as(Some("stargate-mirror".into()), None), None);
        assert_eq!(started_as(None, Some(path.clone())), None);
    }
}
