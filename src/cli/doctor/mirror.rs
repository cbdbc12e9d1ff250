//! Checks of each mirror: the worker that pushes to it, its answer, and what is pending.
use std::{collections::BTreeMap, path::Path};

use bstr::{BStr, ByteSlice};
use git_push::{Advertisement, Connection, ErrorKind};
use git_push_transport::{Forge, Location, Remote, Settings, resolve};
use jiff::Timestamp;

use super::{
    Subject,
    checks::{
        check::{Check, Name, Verdict},
        clock,
        commands::quoted,
        large_files, pending, remote_name, worker as worker_checks,
    },
    facts, head, lfs, other_mirrors, token,
};
use crate::{
    cli::{environment, output::counted, report::Failure},
    config::USER_AGENT,
    worker::{self, Chosen, RepositoryStatus},
};

/// Checks each mirror, or the one that `--remote` names.
pub(super) fn checks(subject: &Subject<'_>, now: Timestamp) -> Result<Vec<Check>, Failure> {
    let (mirrors, remote) = (&subject.settings, subject.options.remote.as_deref());
    let chosen = if remote.is_some() {
        vec![Chosen::new(mirrors.clone(), remote, subject.stargate.repository())?]
    } else {
        Chosen::each(mirrors).collect()
    };
    let mut checks = Vec::new();
    // A journal that cannot be read has a check of its own.
    let statuses = match subject.backlog.as_ref().map(|_| worker::status(subject.git_dir, now)) {
        None => Vec::new(),
        Some(Ok(statuses)) => statuses,
        Some(Err(error)) => {
            let hint = "run as root or as the owner of the repository";
            checks.push(Check::new(Name::Worker, Verdict::Problem, error.to_string()).hint(hint));
            Vec::new()
        }
    };
    for chosen in chosen {
        let name = chosen.name_among_several();
        let status = statuses.iter().find(|status| status.mirror.as_deref() == name);
        let found = OneMirror {
            subject,
            chosen: &chosen,
        }
        .checks(status, now);
        checks.extend(found.into_iter().map(|check| Check {
            mirror: name.map(str::to_owned),
            ..check
        }));
    }
    Ok(checks)
}

/// A problem by an error of the mirror or of its settings.
pub(super) fn failed(name: Name, error: &git_push::Error) -> Check {
    let check = Check::new(name, Verdict::Problem, error.to_string());
    match (error.hint(), error.kind()) {
        (Some(hint), _) => check.hint(hint),
        (None, ErrorKind::Transient) => check.hint(
            "check the host and the port in the URL, the network, the firewall and the proxy; the worker retries",
        ),
        (None, _) => check,
    }
}

struct OneMirror<'a> {
    subject: &'a Subject<'a>,
    chosen: &'a Chosen,
}

impl OneMirror<'_> {
    fn checks(&self, status: Option<&RepositoryStatus>, now: Timestamp) -> Vec<Check> {
        let Some(name) = self.chosen.remote(self.subject.options, &environment) else {
            let found = "no mirror is configured: nothing is pushed (local-only)";
            let install = self.subject.commands.mirror("install --remote URL");
            return vec![
                Check::new(Name::Mirror, Verdict::Warning, found)
                    .hint(format!("set stargate.remote with {install}, or set GITHUB_REPO_URL")),
            ];
        };
        let mut checks = Vec::new();
        if let Some(status) = status {
            checks.extend(self.worker(status, now));
            checks.extend(pending::checks(&status.groups, &self.subject.commands));
        }
        checks.extend(self.remote(&name));
        checks.extend(lfs::check(
            &self.subject.stargate,
            self.chosen.config(),
            &self.subject.commands,
        ));
        checks.extend(other_mirrors::checks(
            &name,
            self.subject.stargate.repository(),
            &self.subject.commands,
        ));
        checks
    }

    fn worker(&self, status: &RepositoryStatus, now: Timestamp) -> Vec<Check> {
        match facts::worker::read(self.subject.git_dir, self.chosen, status, now) {
            Ok(facts) => worker_checks::checks(&facts, &self.subject.commands),
            Err(error) => {
                let found = format!("the files of the worker cannot be read: {error}");
                let hint = "run as root or as the owner of the repository";
                vec![Check::new(Name::Worker, Verdict::Warning, found).hint(hint)]
            }
        }
    }

    /// Checks the mirror of this name or URL with the credentials of a push.
    fn remote(&self, name: &str) -> Vec<Check> {
        match resolve(BStr::new(name), Some(self.subject.stargate.repository())) {
            Ok(location) => self
                .at(location)
                .unwrap_or_else(|error| vec![failed(Name::Mirror, &error)]),
            Err(error) => vec![self.unresolved(name, &error)],
        }
    }

    /// Suggests a remote with a similar name.
    fn unresolved(&self, name: &str, error: &git_push::Error) -> Check {
        let check = failed(Name::Mirror, error);
        let names = self.subject.stargate.repository().remote_names();
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let Some(nearest) = remote_name::nearest(name, &names) else {
            return check;
        };
        let set = self
            .subject
            .commands
            .set(&self.chosen.config().key("remote"), &quoted(nearest));
        check.hint(format!("the nearest remote is {nearest}: run {set}"))
    }

    fn at(&self, location: Location) -> Result<Vec<Check>, git_push::Error> {
        let repository = self.subject.stargate.repository();
        let config = self.chosen.config();
        if is_folder(&location, repository.git_dir()) {
            return Ok(vec![self.itself(&location)]);
        }
        let settings = self.settings()?;
        if !Remote::has_credentials(&location, &settings) {
            let found = format!("there are no credentials for {location}: nothing is pushed (local-only)");
            let hint = "set GITHUB_PAT to a token, or GITHUB_PAT_FILE or stargate.tokenFile to a file with one";
            return Ok(vec![Check::new(Name::Mirror, Verdict::Warning, found).hint(hint)]);
        }
        let mut checks: Vec<Check> = token::file(&location, &settings).into_iter().collect();
        let proxy = Remote::proxy(&location, &settings)?;
        let forge = worker::forge_at(&location, config.forge);
        let mut remote = Remote::open(location, &settings)?;
        let advertisement = match remote.advertisement() {
            Ok(advertisement) => advertisement,
            Err(error) => {
                let memory = self.chosen.memory_path(repository.git_dir());
                let error = by_proxy(token::explained(error, &mut remote, &memory), proxy.as_deref());
                checks.push(failed(Name::Mirror, &error));
                checks.extend(remote.clock_ahead().map(clock::check));
                return Ok(checks);
            }
        };
        checks.push(self.offers(&remote, &advertisement));
        checks.extend(remote.clock_ahead().map(clock::check));
        checks.extend(token::checks(forge, &mut remote));
        checks.extend(self.watermarks(&mut remote, &advertisement));
        checks.extend(head::check(
            &self.subject.stargate,
            config,
            &mut remote,
            &self.subject.commands,
        ));
        if forge == Some(Forge::GitHub) {
            checks.extend(self.large_files(&advertisement));
        }
        Ok(checks)
    }

    fn itself(&self, location: &Location) -> Check {
        let found = format!("{location} is this repository itself: nothing is mirrored");
        let set = self.subject.commands.set(&self.chosen.config().key("remote"), "URL");
        Check::new(Name::Mirror, Verdict::Problem, found).hint(format!("run {set} with the URL of the mirror"))
    }

    fn settings(&self) -> Result<Settings, git_push::Error> {
        let repository = self.subject.stargate.repository();
        let settings = Settings::from_environment(environment)?
            .with_user_agent(USER_AGENT)
            .with_git_config(repository)?;
        match self.chosen.config().section.as_ref() {
            Some(section) => settings.with_section(repository, section.as_ref()),
            None => Ok(settings),
        }
    }

    /// Checks that the mirror offers everything that a push needs.
    fn offers(&self, remote: &Remote, advertisement: &Advertisement) -> Check {
        let shown = remote.location();
        let format = advertisement.capabilities.value("object-format");
        let theirs = format.map_or_else(|| gix::hash::Kind::Sha1.to_string(), ToString::to_string);
        let ours = self.subject.stargate.repository().object_hash().to_string();
        let problem = |found: String| Check::new(Name::Mirror, Verdict::Problem, found);
        if theirs != ours {
            return problem(format!(
                "{shown} uses the object format {theirs}, but this repository uses {ours}"
            ))
            .hint(format!(
                "create the mirror again with `git init --bare --object-format={ours}`, on a server that supports it"
            ));
        }
        if !advertisement.capabilities.offers("atomic") {
            return problem(format!("{shown} does not offer atomic pushes, so nothing is pushed")).hint(
                "run `git config receive.advertiseAtomic true` in the mirror, or use a server that offers atomic pushes",
            );
        }
        let refs = counted(advertisement.refs.len() as u64, "ref");
        Check::new(Name::Mirror, Verdict::Ok, format!("{shown} answers and has {refs}"))
    }

    /// Checks that each watermark on the mirror is contained in its ledger there.
    fn watermarks(&self, remote: &mut Remote, advertisement: &Advertisement) -> Vec<Check> {
        let repository = self.subject.stargate.repository();
        let memory = self.chosen.memory_path(repository.git_dir());
        let refs = &self.chosen.config().refs;
        match worker::false_watermarks(&memory, remote, repository, &advertisement.refs, refs) {
            Err(error) => vec![failed(Name::Watermark, &error)],
            Ok(found) => {
                let run = self.subject.commands.mirror("run");
                let check = |found: &worker::FalseWatermark| {
                    Check::new(Name::Watermark, Verdict::Problem, found.to_string()).hint(format!(
                        "run {run}; if it happens again, the server offers atomic pushes without honouring them"
                    ))
                };
                found.iter().map(check).collect()
            }
        }
    }

    /// Checks the files of pending commits.
    fn large_files(&self, advertisement: &Advertisement) -> Option<Check> {
        let refs = &self.chosen.config().refs;
        let pending = self.subject.backlog.iter().flat_map(|backlog| &backlog.pending);
        let updates = pending.map(|located| &located.entry.update);
        let newest: BTreeMap<_, _> = updates
            .filter(|update| refs.matches(update.name.as_bstr()) && !update.new.is_null())
            .map(|update| (update.name.as_bstr(), update.new))
            .collect();
        let known = advertisement.refs.values().copied();
        let repository = self.subject.stargate.repository();
        match facts::commits::large_files(repository, newest.into_values(), known) {
            Ok(files) => large_files::check(&files, self.subject.commands.repository()),
            Err(error) => {
                let found = format!("the files of pending commits cannot be read: {error}");
                let hint = format!("run {} to see what is damaged", self.subject.commands.git("fsck"));
                Some(Check::new(Name::LargeFiles, Verdict::Warning, found).hint(hint))
            }
        }
    }
}

/// Returns true if the location is the repository in this folder. A folder that does not exist has another error.
fn is_folder(location: &Location, git_dir: &Path) -> bool {
    let Location::Path(path) = location else { return false };
    let is_it = |path: &Path| {
        path.canonicalize()
            .is_ok_and(|path| git_dir.canonicalize().is_ok_and(|own| own == path))
    };
    is_it(path) || is_it(&path.join(".git"))
}

/// Adds the proxy to the error of a connection that may have failed there.
fn by_proxy(error: git_push::Error, proxy: Option<&str>) -> git_push::Error {
    match proxy {
        Some(proxy) if error.kind() == ErrorKind::Transient => {
            let what = format!("{error} (through the proxy {proxy})");
            error.reworded(what).with_hint(format!(
                "check http.proxy in git's configuration, HTTPS_PROXY and http_proxy, and that the proxy {proxy} runs; NO_PROXY \
                 lists hosts that are reached directly"
            ))
        }
        _ => error,
    }
}
