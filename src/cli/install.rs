//! `stargate-mirror install`: the hook in place, and the next step told.
use std::{
    env,
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::{
    hook::install::{Change, InstallError, Installation, Report, install},
    storage::Disk,
};

/// Put the hook in place, so that every push to this repository is recorded for its mirror
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The bare repository [default: GIT_DIR, else the one around the current directory]
    #[arg(long, value_name = "DIR")]
    pub repo: Option<PathBuf>,
    /// Keep a post-receive hook that exists, and run it first
    #[arg(long)]
    pub chain: bool,
}

/// Installs the hook in the repository at `git_dir`, and writes to `out` what is in place and what to do next.
///
/// # Errors
/// See [`InstallError`]; also when the program itself cannot be found, or `out` not be written.
pub fn run(args: &Args, git_dir: &Path, out: &mut impl Write) -> Result<(), InstallError> {
    let (program, apart) = hook_program().map_err(|source| InstallError::Io {
        what: "find",
        path: "stargate-hook".into(),
        source,
    })?;
    let installation = Installation {
        git_dir,
        program: &program,
        chain: args.chain,
    };
    let report = install(&Disk, installation)?;
    let program = (!apart).then_some(program.as_path());
    out.write_all(text(&report, git_dir, program).as_bytes())
        .map_err(|source| InstallError::Io {
            what: "write to",
            path: "standard output".into(),
            source,
        })
}

/// The program to install: `stargate-hook` beside this one (true), or this one itself (false), which can be the hook
/// too, and is larger.
fn hook_program() -> io::Result<(PathBuf, bool)> {
    // Without /proc there is still the path under which this was started.
    let this = env::current_exe().or_else(|error| env::args_os().next().map(PathBuf::from).ok_or(error))?;
    let hook = this.with_file_name(format!("stargate-hook{}", env::consts::EXE_SUFFIX));
    Ok(if hook.is_file() { (hook, true) } else { (this, false) })
}

fn text(report: &Report, git_dir: &Path, whole_program: Option<&Path>) -> String {
    let (hook, repo) = (report.hook.display(), git_dir.display());
    let mut text = match report.change {
        Change::Installed => format!("Installed {hook}.\n"),
        Change::Updated => format!("Updated {hook}, which was another version.\n"),
        Change::Chained => format!("Installed {hook}; the hook that was there is kept.\n"),
        Change::Unchanged => format!("{hook} is in place already; nothing was changed.\n"),
    };
    if let Some(program) = whole_program {
        let program = program.display();
        text +=
            &format!("There is no stargate-hook beside {program}, so the hook is a copy of that; it does the same.\n");
    }
    if let Some(chained) = &report.chained {
        text += &format!("{} runs first, with the same input.\n", chained.display());
    }
    if report.outside {
        text += "core.hooksPath leads out of this repository: every repository that uses it runs this hook.\n";
    }
    text + &format!(
        "It appends every accepted update of a mirrored ref to {journal}.\n\
         The worker, `stargate-mirror run`, is the journal's sole consumer.\n\
         \n\
         Next, name the mirror (if that is not done) and carry what is pushed to it, from cron or by hand:\n\
         \n    git config -f {config} stargate.remote https://github.com/OWNER/NAME.git\
         \n    GITHUB_PAT=... stargate-mirror run --repo {repo}\n",
        journal = crate::journal::path_in(git_dir).display(),
        config = git_dir.join("config").display(),
    )
}
