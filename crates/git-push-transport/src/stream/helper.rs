//! Programs that connect to a remote in their own way (gitremote-helpers): `git-remote-NAME` for `NAME::ADDRESS` and
//! `NAME://…`.
use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use bstr::BString;
use git_push::{Error, ErrorKind};

use super::child::Program;
use super::helper_session::Session;
use crate::child_environment::without_secrets;
use crate::location::HelperAddress;
use crate::settings::{HelperSettings, Settings};

/// A helper and the remote to reach with it.
#[derive(Debug)]
pub(super) struct Helper {
    pub(super) address: HelperAddress,
    pub(super) settings: HelperSettings,
    /// The program for the server's side of a push, if it is not `git-receive-pack`.
    pub(super) receive_pack: Option<OsString>,
    path: PathBuf,
    git_dir: Option<PathBuf>,
    top: Option<PathBuf>,
    pub(super) idle_timeout: Duration,
}

impl Helper {
    /// Finds the program.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn new(address: &HelperAddress, settings: &Settings) -> Result<Self, Error> {
        let program = format!("git-remote-{}", address.name);
        Ok(Helper {
            path: found(&program, &settings.helper).ok_or_else(|| missing(&address.name, &program))?,
            address: address.clone(),
            settings: settings.helper.clone(),
            receive_pack: settings.receive_pack.clone(),
            git_dir: settings.git_dir.clone(),
            top: settings.top.clone(),
            idle_timeout: settings.idle_timeout,
        })
    }

    /// Returns the name of the program.
    pub(super) fn program(&self) -> String {
        format!("git-remote-{}", self.address.name)
    }

    /// Starts the program, and asks for its capabilities.
    ///
    /// # Errors
    /// The program ends, or it needs something that is unknown.
    pub(super) fn start(&self) -> Result<Session, Error> {
        let name = self.program();
        let mut command = Command::new(&self.path);
        let remote = self.settings.remote.clone().unwrap_or_else(|| self.address.url());
        command.args([argument(remote)?, argument(self.address.address.clone())?]);
        without_secrets(&mut command);
        command.env_remove("GIT_PROTOCOL");
        if let Some(git_dir) = &self.git_dir {
            command.env("GIT_DIR", git_dir);
        }
        if let Some(top) = &self.top {
            command.current_dir(top);
        }
        let started = Program::start(command, &name, self.idle_timeout, ended);
        let program = started.map_err(|error| {
            let what = format!("the remote helper {name} cannot be started: {error}");
            Error::new(ErrorKind::Misconfigured, what).with_hint(format!("check the program {name}"))
        })?;
        Session::start(program, self)
    }
}

fn missing(name: &str, program: &str) -> Error {
    let what = format!("unable to find remote helper for '{name}'");
    let hint = format!("install the program {program} in a folder of PATH, or correct the URL");
    Error::new(ErrorKind::Misconfigured, what).with_hint(hint)
}

fn argument(text: BString) -> Result<OsString, Error> {
    let argument = gix::path::from_bstring(text);
    argument.map(PathBuf::into_os_string).map_err(|_| {
        Error::new(
            ErrorKind::Misconfigured,
            "the URL cannot be an argument of a program on this system",
        )
    })
}

/// Finds the program in `GIT_EXEC_PATH`, in `PATH`, or among the programs of an installed git.
fn found(name: &str, settings: &HelperSettings) -> Option<PathBuf> {
    let file = format!("{name}{}", env::consts::EXE_SUFFIX);
    let in_path = settings.path.iter().flat_map(env::split_paths);
    let folders = settings.exec_path.iter().map(PathBuf::from).chain(in_path);
    // An empty folder is the current one, whose content nobody vouches for.
    let mut paths = folders
        .filter(|folder| !folder.as_os_str().is_empty())
        .map(|folder| folder.join(&file));
    let found = paths.find(|path| is_program(path));
    let of_git = || {
        settings
            .path
            .as_ref()
            .and_then(|_| gix::path::env::core_dir_program(name))
    };
    // The program starts in another folder.
    std::path::absolute(found.or_else(of_git)?).ok()
}

#[cfg(unix)]
fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(path: &Path) -> bool {
    path.is_file()
}

/// Returns the error for the end of a program that connects in its own way. None if it is in order.
pub(super) fn ended(program: &str, status: Option<ExitStatus>, words: &str) -> Option<Error> {
    let says = if words.is_empty() {
        String::new()
    } else {
        format!(": {words}")
    };
    let how = match status {
        Some(status) if status.success() && words.is_empty() => return None,
        Some(status) if status.success() => "ended".to_owned(),
        Some(status) => format!("failed ({status})"),
        None => "was ended".to_owned(),
    };
    let hint = "check that the program reaches the remote as the user of this process, and that the URL is right";
    Some(Error::new(ErrorKind::Transient, format!("{program} {how}{says}")).with_hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn a_program_is_found_in_the_folders_of_git_first() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let [exec, path] = ["exec", "path"].map(|name| folder.path().join(name));
        let file = |folder: &Path, mode| {
            std::fs::create_dir_all(folder).expect("a folder");
            let file = folder.join("git-remote-near");
            std::fs::write(&file, "").expect("written");
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("a mode");
            file
        };
        let (plain, program) = (file(&exec, 0o644), file(&path, 0o755));
        let settings = HelperSettings {
            exec_path: Some(exec.clone().into()),
            path: Some(env::join_paths([Path::new(""), &exec, &path]).expect("a list")),
            ..HelperSettings::default()
        };
        assert_eq!(
            found("git-remote-near", &settings),
            Some(program),
            "{}",
            plain.display()
        );
        let program = file(&exec, 0o755);
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("a mode");
        assert_eq!(found("git-remote-near", &settings), Some(program));
        assert_eq!(found("git-remote-nowhere", &settings), None);
        assert_eq!(found("git-remote-near", &HelperSettings::default()), None);
    }
}
