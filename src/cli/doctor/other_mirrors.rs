//! Checks for another mirror beside this one, which pushes the same repository to the same remote. It would overwrite refs
//! and delete watermarks.
//!
//! Three kinds leave traces in the repository:
//!
//! - `git push` in a hook script: in the hooks folder, in a chained hook, in `hooks/*.d`, and in GitLab's `custom_hooks`.
//! - A `[remote]` with settings for pushes: `mirror = true`, or `push = …`.
//! - A push mirror of Gitea or Forgejo: a `[remote "remote_mirror_<random>"]` with both. GitLab used the same name with a URL
//!   alone.
//!
//! # Limitations
//!
//! - GitLab 14 and later keep push mirrors in their database and leave nothing in the repository.
//! - Hooks that are not scripts, programs that a script runs, and the text after the first MiB of a script are not
//!   read.
//! - A remote that has several push URLs, or none that is valid, is not compared.
use std::{
    fs, io,
    path::{Path, PathBuf},
};

use bstr::{BStr, ByteSlice};
use durable::ownership::is_executable;
use git_push_transport::{Location, resolve};

use super::{
    checks::{
        check::{Check, Name, Verdict},
        commands::{Commands, quoted},
    },
    hook_script::{ScriptPush, ScriptRemote, pushes},
};
use crate::hook::install;

/// Beginning of the names that Gitea, Forgejo and GitLab give to the remotes of push mirrors.
const FORGE_MIRROR: &str = "remote_mirror_";
/// Largest hook script that is read, in bytes.
const MAX_SCRIPT: u64 = 1 << 20;
const DAMAGE: &str = "it can overwrite refs and delete watermarks that this mirror has set";

/// Checks for other mirrors to the remote of this name or URL. Returns none if there are none.
pub(super) fn checks(name: &str, repository: &gix::Repository, commands: &Commands) -> Vec<Check> {
    // An invalid location is reported by the check of the mirror.
    let Ok(own) = resolve(BStr::new(name), Some(repository)) else {
        return Vec::new();
    };
    let mut checks = remotes(name, &own, repository, commands);
    for folder in hook_folders(repository.git_dir()) {
        match scripts(&folder) {
            Ok(scripts) => checks.extend(scripts.iter().flat_map(|script| in_script(script, &own, repository))),
            Err(error) => checks.push(unread(&folder, &error)),
        }
    }
    checks
}

/// Checks the remotes of the configuration.
fn remotes(own_name: &str, own: &Location, repository: &gix::Repository, commands: &Commands) -> Vec<Check> {
    let mut checks = Vec::new();
    for name in repository.remote_names() {
        let name = name.as_bstr();
        let of_forge = name.starts_with(FORGE_MIRROR.as_bytes());
        let Some(how) = pushes_by_itself(name, repository).or(of_forge.then_some("a url")) else {
            continue;
        };
        // The worker itself uses the remote of this mirror, unless a forge created that remote.
        let is_other = name != own_name || of_forge;
        if is_other && resolve(name, Some(repository)).is_ok_and(|location| is_same(own, &location)) {
            checks.push(configured(name, how, of_forge, commands));
        }
    }
    checks
}

fn configured(name: &BStr, how: &str, of_forge: bool, commands: &Commands) -> Check {
    if of_forge {
        let found = format!("[remote \"{name}\"] is the push mirror of a forge to the same remote: {DAMAGE}");
        return Check::new(Name::OtherMirror, Verdict::Warning, found)
            .hint("delete the push mirror in the settings of the repository (Gitea, Forgejo or GitLab)");
    }
    let found = format!("[remote \"{name}\"] has {how} and the URL of the same remote: {DAMAGE}");
    Check::new(Name::OtherMirror, Verdict::Warning, found).hint(format!(
        "stop the program that pushes to it, then run {}",
        commands.git(&format!("remote remove {}", quoted(&name.to_str_lossy())))
    ))
}

/// Returns the setting that makes a refspec unnecessary in `git push <name>`.
fn pushes_by_itself(name: &BStr, repository: &gix::Repository) -> Option<&'static str> {
    let config = repository.config_snapshot();
    if config.boolean(format!("remote.{name}.mirror").as_str()) == Some(true) {
        return Some("mirror = true");
    }
    config
        .string(format!("remote.{name}.push").as_str())
        .map(|_| "push refspecs")
}

/// Checks one hook script.
fn in_script(script: &Path, own: &Location, repository: &gix::Repository) -> Vec<Check> {
    let text = match read_script(script) {
        Ok(text) => text,
        Err(error) => return vec![unread(script, &error)],
    };
    let other = pushes(&text)
        .into_iter()
        .filter(|push| is_other_mirror(push, own, repository));
    other.map(|push| scripted(script, &push)).collect()
}

fn scripted(script: &Path, push: &ScriptPush) -> Check {
    let command = if push.mirror { "git push --mirror" } else { "git push" };
    let whereto = match push.remote {
        ScriptRemote::Unknown => "to a remote in a variable, which may be the same",
        ScriptRemote::Default | ScriptRemote::Named(_) => "to the same remote",
    };
    let found = format!(
        "{}:{} runs `{command}` {whereto}: {DAMAGE}",
        script.display(),
        push.line
    );
    Check::new(Name::OtherMirror, Verdict::Warning, found)
        .hint("remove the command from the hook, unless it pushes elsewhere")
}

/// Returns true for a push to the same remote, and for `--mirror` to an unknown one.
fn is_other_mirror(push: &ScriptPush, own: &Location, repository: &gix::Repository) -> bool {
    let name = match &push.remote {
        ScriptRemote::Unknown => return push.mirror,
        ScriptRemote::Named(name) => name.clone(),
        ScriptRemote::Default => {
            let default = repository.remote_default_name(gix::remote::Direction::Push);
            default.map_or_else(|| "origin".to_owned(), |name| name.to_string())
        }
    };
    resolve(BStr::new(&name), Some(repository)).is_ok_and(|location| is_same(own, &location))
}

fn unread(path: &Path, error: &io::Error) -> Check {
    let found = format!("cannot read {}: {error}", path.display());
    Check::new(Name::OtherMirror, Verdict::Warning, found).hint("run as root or as the owner of the repository")
}

/// Returns the folders in which git and GitLab look for hooks.
fn hook_folders(git_dir: &Path) -> Vec<PathBuf> {
    // A folder that cannot be found is reported by the check of the hooks.
    let hooks = install::look(git_dir).unwrap_or_default().into_iter();
    let hooks = hooks.filter_map(|(hook, _)| Some(hook.parent()?.to_owned())).next();
    hooks.into_iter().chain([git_dir.join("custom_hooks")]).collect()
}

/// Returns the programs in the folder and in its folders `*.d`.
fn scripts(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut scripts = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in listed(&folder)? {
            let Some(found) = present(fs::metadata(&path))? else {
                continue;
            };
            if found.is_file() && is_run(&path, &found) {
                scripts.push(path);
            } else if found.is_dir() && path.extension().is_some_and(|extension| extension == "d") {
                folders.push(path);
            }
        }
    }
    scripts.sort();
    Ok(scripts)
}

fn listed(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = present(fs::read_dir(folder))?.into_iter().flatten();
    entries.map(|entry| Ok(entry?.path())).collect()
}

/// Returns none for a file that does not exist, such as the target of a dangling link, and for a folder that is a file, such
/// as `/dev/null`.
fn present<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    use io::ErrorKind::{NotADirectory, NotFound};
    match found {
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => Ok(None),
        found => found.map(Some),
    }
}

/// Returns true for a program. The samples in git's template are programs, too, but git runs none.
fn is_run(path: &Path, found: &fs::Metadata) -> bool {
    path.extension().is_none_or(|extension| extension != "sample") && is_executable(found)
}

/// Reads the beginning of a script. Other programs are not read.
fn read_script(path: &Path) -> io::Result<String> {
    use io::Read;
    let mut start = Vec::new();
    fs::File::open(path)?.take(MAX_SCRIPT).read_to_end(&mut start)?;
    let is_script = !start.contains(&0);
    Ok(if is_script {
        start.to_str_lossy().into_owned()
    } else {
        String::new()
    })
}

/// Returns true if both lead to the same repository, regardless of protocol and user.
fn is_same(one: &Location, other: &Location) -> bool {
    match (url_of(one), url_of(other)) {
        (Some(one), Some(other)) => {
            let ports = one.scheme != other.scheme || one.port_or_default() == other.port_or_default();
            ports && host_and_path(one) == host_and_path(other)
        }
        (None, None) => folder_of(one) == folder_of(other),
        _ => false,
    }
}

fn url_of(location: &Location) -> Option<&gix::Url> {
    match location {
        Location::Http(url) | Location::Ssh(url) | Location::Git(url) => Some(url),
        _ => None,
    }
}

fn folder_of(location: &Location) -> Option<PathBuf> {
    match location {
        Location::Path(path) => Some(path.canonicalize().unwrap_or_else(|_| path.clone())),
        _ => None,
    }
}

fn host_and_path(url: &gix::Url) -> (Option<String>, String) {
    let path = url.path.to_str_lossy().to_lowercase();
    let path = path.trim_matches('/');
    let host = url.host().map(str::to_lowercase);
    (host, path.strip_suffix(".git").unwrap_or(path).to_owned())
}
