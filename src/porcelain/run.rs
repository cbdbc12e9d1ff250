//! Push from a repository to configured remotes or URLs.
use std::{
    ffi::OsString,
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use bstr::{BStr, BString, ByteSlice};
use durable::clock::Clock;
use git_push::{self, Connection, Observer, lease::Lease, refspec::LocalRefs};
use git_push_transport::{Location, Remote, Settings, Shown, resolve_all};
use gix::Repository;

use super::{
    destination::{self, Branch, Chosen},
    driver::{Next, Order, Pushed, ReadBack, Steps, push_in_steps},
    error::PushError,
    pre_push,
    report::{Context, Fate, PushOutcome, PushReport, RefReport, Upstream},
    settings::{GitSettings, Signed, config_parameters},
    signing::ProgramSigner,
    submodules::{self, Recurse},
    tracking::Tracking,
};
use crate::{
    config::{Config, USER_AGENT},
    local_repository::{AllRefs, LocalRepository, RevisionError},
};

/// Keys of `stargate.*` that a push uses.
const SETTINGS: [&str; 2] = ["stargate.verify", "stargate.maxPackSize"];

/// Refs that a push is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Extent {
    /// Those of the refspecs, or of configuration.
    #[default]
    Refspecs,
    /// All branches (`--all`).
    AllBranches,
    /// All refs, by force. Others of the remote are deleted (`--mirror`).
    Mirror,
}

/// Options of a push, as on the command line. `None` leaves a choice to git configuration.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Name of a configured remote or of a group, URL or path. By default that of the branch.
    pub remote: Option<BString>,
    /// Refspecs. `tag NAME` takes two elements.
    pub refspecs: Vec<BString>,
    /// The refs without refspecs.
    pub extent: Extent,
    /// Push all tags, too.
    pub tags: bool,
    /// Push annotated tags that point into the pushed history, too.
    pub follow_tags: Option<bool>,
    /// Treat the refspecs as names of refs to delete.
    pub delete: bool,
    /// Delete refs of the remote that match a pattern and do not exist here.
    pub prune: bool,
    /// Force every update.
    pub force: bool,
    /// Values of `--force-with-lease=`.
    pub leases: Vec<BString>,
    /// Let a lease override a refusal only if the local branch had the remote's commit.
    pub force_if_includes: Option<bool>,
    /// Push all refs or none.
    pub atomic: bool,
    /// Make the pushed branches the upstream branches of the local ones.
    pub set_upstream: bool,
    /// Push options for the remote's hooks. None are those of `push.pushOption`.
    pub push_options: Vec<BString>,
    /// Ask the remote not to report progress.
    pub quiet: bool,
    /// Verbosity of a remote helper: 0 is quiet, 1 the default (gitremote-helpers).
    pub verbosity: u8,
    /// Send nothing.
    pub dry_run: bool,
    /// Do not run the hook `pre-push`.
    pub no_hook: bool,
    /// Send no deltas of objects that only the remote has.
    pub no_thin: bool,
    /// Program that receives the push, as a command line.
    pub receive_pack: Option<OsString>,
    /// Send a push certificate.
    pub signed: Option<Signed>,
    /// Commits of submodules.
    pub recurse_submodules: Option<Recurse>,
    /// Settings of git configuration, `key=value`.
    pub config: Vec<BString>,
    /// Ask a person for user and password over HTTP, if nothing else has them.
    pub prompts: bool,
    /// Make no more requests than git: trust a complete report, unless `stargate.verify` is set to true.
    pub trust_report: bool,
}

/// What a push needs from outside.
pub struct Outside<'a> {
    /// Reads a variable of the environment.
    pub environment: &'a dyn Fn(&str) -> Option<OsString>,
    /// The clock.
    pub clock: &'a dyn Clock,
    /// Receives the progress.
    pub observer: &'a dyn Observer,
    /// Returns a flag that becomes true when a person asks to stop. Called before a push to a path.
    pub interruptible: &'a dyn Fn() -> Arc<AtomicBool>,
    /// Called with each URL, without secrets, before the push to it.
    pub starts: &'a dyn Fn(&str),
    /// Called before the echo of the terminal is turned off for a password.
    pub before_hidden: fn(),
    /// Shows a line to a person, on standard error.
    pub says: &'a dyn Fn(&str),
    /// Called with the URL and the result of each push: one for each URL of the remote.
    pub ends: &'a mut dyn FnMut(&str, Result<PushReport, PushError>),
}

/// Pushes from the repository at `git_dir`, see [`push()`](super::push()). The results go to [`Outside::ends`].
///
/// # Errors
/// No push was started. See [`PushError`].
pub fn run(git_dir: &Path, options: &Options, outside: &mut Outside<'_>) -> Result<(), PushError> {
    let overrides = overrides(options, outside.environment)?;
    let mut local = LocalRepository::open_with(git_dir, &overrides)?;
    local.repository_mut().object_cache_size_if_unset(4 * 1024 * 1024);
    let repository = local.repository();
    let settings = GitSettings::new(repository);
    let AllRefs { ids, symbolic } = local.all_refs()?;
    let head = symbolic.get(b"HEAD".as_bstr()).cloned();
    let branch = head.as_ref().and_then(|head| Branch::read(head.as_bstr(), &settings));
    let refs = LocalRefs {
        ids,
        symbolic,
        object: &|_| None,
        null: repository.object_hash().null(),
    };
    let order = order(&local, options, &settings)?;
    let transport = Settings::from_environment(outside.environment)?
        .with_user_agent(USER_AGENT)
        .with_git_config(repository)?;
    let mut transport = if options.prompts {
        transport.with_prompts(outside.environment)?
    } else {
        transport
    };
    if let Some(prompts) = &mut transport.prompts {
        prompts.before_hidden = Some(outside.before_hidden);
    }
    for name in destination::remotes(options.remote.as_ref(), branch.as_ref(), &settings)? {
        let chosen = destination::choose(options, name.as_bstr(), branch.as_ref(), &refs, &settings)?;
        let mut transport = transport.clone();
        let program = || settings.program(&format!("remote.{name}.receivepack"));
        transport.receive_pack = options.receive_pack.clone().or_else(program);
        transport.helper.remote = Some(name.clone());
        transport.helper.verbosity = options.verbosity;
        transport.helper.progress = !options.quiet;
        transport.helper.dry_run = options.dry_run;
        let urls = resolve_all(name.as_bstr(), repository)?;
        let order = Order {
            refspecs: chosen.refspecs.clone(),
            force: order.force || chosen.mirror,
            ..order.clone()
        };
        let target = Target {
            local: &local,
            options,
            name: name.as_bstr(),
            chosen: &chosen,
            order,
            symbolic: &refs.symbolic,
            transport,
        };
        for (url, location) in urls {
            let shown = shown(name.as_bstr(), &url);
            (outside.starts)(&shown);
            let result = target.push(&url, &shown, location, outside);
            (outside.ends)(&shown, result);
        }
    }
    Ok(())
}

/// Returns the URL as git shows it, without user info and query.
fn shown(name: &BStr, url: &gix::Url) -> String {
    let shown = Shown(url).to_string();
    // gix does not keep every path as it was given.
    if shown.is_empty() { name.to_string() } else { shown }
}

/// Returns the settings of `-c` and of `GIT_CONFIG_PARAMETERS`.
fn overrides(options: &Options, environment: &dyn Fn(&str) -> Option<OsString>) -> Result<Vec<BString>, PushError> {
    let given = environment("GIT_CONFIG_PARAMETERS").unwrap_or_default();
    let given = gix::path::os_string_into_bstring(given);
    let given = given.map_err(|_| PushError::Fatal("GIT_CONFIG_PARAMETERS is not UTF-8".into()))?;
    let mut all = config_parameters(given.as_bstr())?;
    all.extend_from_slice(&options.config);
    Ok(all)
}

/// A push to the URLs of one remote.
struct Target<'a> {
    local: &'a LocalRepository,
    options: &'a Options,
    /// Name of the remote, or the given URL.
    name: &'a BStr,
    chosen: &'a Chosen,
    order: Order,
    symbolic: &'a std::collections::BTreeMap<BString, BString>,
    transport: Settings,
}

impl Target<'_> {
    fn push(
        &self,
        url: &gix::Url,
        shown: &str,
        location: Location,
        outside: &Outside<'_>,
    ) -> Result<PushReport, PushError> {
        let started = outside.clock.elapsed();
        let repository = self.local.repository();
        let configured = repository.try_find_remote(self.name).and_then(Result::ok);
        let tracking = Tracking::new(self.local, configured.as_ref());
        let signer = self.signer(shown)?;
        let raw = url.to_bstring();
        let is_written_directly = matches!(location, Location::Path(_)) && self.transport.receive_pack.is_none();
        let order = Order {
            // Hooks run there. The server ends by itself where there is one.
            interrupt: is_written_directly.then(outside.interruptible).unwrap_or_default(),
            shallow: self.pushes_shallow(&location)?,
            ..self.order.clone()
        };
        let steps = Steps {
            check: &|refs| self.check(raw.as_bstr(), refs, outside),
            signer: signer.as_ref().map(|(signer, if_asked)| (signer as _, *if_asked)),
        };
        let mut remote = Remote::open(location, &self.transport)?;
        let pushed = push_in_steps(&mut remote, self.local, &tracking, &order, &steps, outside.observer)?;
        let traffic = remote.traffic();
        Ok(PushReport {
            outcome: PushOutcome::of(&pushed.refs),
            remote: shown.to_owned(),
            context: self.context(&pushed, &tracking),
            refs: pushed.refs,
            http_requests: traffic.http_requests,
            bytes_sent: traffic.bytes_sent,
            elapsed_ms: (outside.clock.elapsed() - started).as_millis() as u64,
        })
    }

    /// Returns true if the history of a shallow clone may be pushed to where the rest is missing. A folder that is written
    /// directly could not keep where it ends.
    fn pushes_shallow(&self, location: &Location) -> Result<bool, PushError> {
        let is_served = !matches!(location, Location::Path(_)) || self.transport.receive_pack.is_some();
        let is_shallow = self.local.repository().is_shallow();
        let is_shallow = is_shallow.map_err(|error| PushError::Objects(git_push::causes(&error)))?;
        Ok(is_served && is_shallow)
    }

    fn signer(&self, shown: &str) -> Result<Option<(ProgramSigner, bool)>, PushError> {
        let repository = self.local.repository();
        let signed = match self.options.signed {
            Some(signed) => signed,
            None => GitSettings::new(repository).signed()?,
        };
        if signed == Signed::Never {
            return Ok(None);
        }
        Ok(Some((
            ProgramSigner::new(repository, shown)?,
            signed == Signed::IfAsked,
        )))
    }

    /// Runs the hook, and looks at submodules.
    fn check(&self, url: &BStr, refs: &[RefReport], outside: &Outside<'_>) -> Result<Next, PushError> {
        let repository = self.local.repository();
        if !self.options.no_hook {
            let is_named = |report: &&RefReport| report.source.is_some() || !self.chosen.mirror;
            let named: Vec<_> = refs.iter().filter(is_named).cloned().collect();
            pre_push::run(repository, self.name, url, &named)?;
        }
        let recurse = submodules::chosen(self.options.recurse_submodules, &GitSettings::new(repository))?;
        submodules::check(self.local, self.name, self.options, recurse, refs, outside.says)
    }

    fn context(&self, pushed: &Pushed, tracking: &Tracking<'_>) -> Context {
        let repository = self.local.repository();
        let is_there = |report: &&RefReport| matches!(report.fate, Fate::Accepted | Fate::ServerSide | Fate::UpToDate);
        let there = || pushed.refs.iter().filter(is_there);
        let tracked = there().flat_map(RefReport::effects);
        let tracked = tracked.filter_map(|effect| Some(tracking.name(effect.name)?.as_bstr().to_owned()));
        Context {
            id_width: pushed.id_width,
            head: self.symbolic.get(b"HEAD".as_bstr()).cloned(),
            muted: GitSettings::new(repository).muted_advice(),
            unpack_error: pushed.unpack_error.clone(),
            tracked: tracked.collect(),
            upstreams: if self.chosen.set_upstream {
                pushed.refs.iter().filter_map(|report| self.upstream(report)).collect()
            } else {
                Vec::new()
            },
            is_nothing_in_common: pushed.is_nothing_in_common,
        }
    }

    /// Returns the upstream that the source of a pushed branch gets.
    fn upstream(&self, report: &RefReport) -> Option<Upstream> {
        let is_fine = matches!(report.fate, Fate::Accepted | Fate::UpToDate | Fate::Planned);
        let source = report.source.as_ref().filter(|_| is_fine && !report.new.is_null())?;
        let branches = |name: &&BString| name.starts_with(b"refs/heads/");
        let source = self.symbolic.get(source).filter(branches).unwrap_or(source);
        Some(Upstream {
            branch: source.strip_prefix(b"refs/heads/")?.into(),
            remote: self.name.into(),
            merge: Some(&report.name).filter(branches)?.clone(),
        })
    }
}

fn order(local: &LocalRepository, options: &Options, git: &GitSettings<'_>) -> Result<Order, PushError> {
    let repository = local.repository();
    let config = configured(repository)?;
    let mut settings = git_push::Options::default();
    settings.atomic = options.atomic;
    settings.quiet = options.quiet;
    settings.push_options.clone_from(&options.push_options);
    if options.push_options.is_empty() {
        settings.push_options = git.push_options()?;
    }
    let chosen = |given: Option<bool>, key| match given {
        Some(given) => Ok(given),
        None => git.boolean(key).map(|value| value == Some(true)),
    };
    Ok(Order {
        force: options.force,
        leases: leases(local, &options.leases)?,
        force_if_includes: chosen(options.force_if_includes, "push.useForceIfIncludes")?,
        follow_tags: chosen(options.follow_tags, "push.followTags")?,
        thin: !options.no_thin,
        options: settings,
        dry_run: options.dry_run,
        max_pack_size: config.max_pack_size,
        read_back: read_back(repository, config.verify, options.trust_report),
        ..Order::default()
    })
}

/// Reads the settings of `stargate.*`. Only those of a push must be valid.
fn configured(repository: &Repository) -> Result<Config, PushError> {
    let config = Config::from_git_config(&repository.config_snapshot());
    match config
        .problems
        .iter()
        .find(|problem| SETTINGS.contains(&problem.key.as_str()))
    {
        Some(problem) => Err(problem.clone().into()),
        None => Ok(config),
    }
}

fn read_back(repository: &Repository, verify: bool, trust_report: bool) -> ReadBack {
    if !verify {
        ReadBack::Never
    } else if trust_report && repository.config_snapshot().string("stargate.verify").is_none() {
        ReadBack::WithoutReport
    } else {
        ReadBack::Always
    }
}

fn leases(local: &LocalRepository, texts: &[BString]) -> Result<Vec<Lease>, PushError> {
    let null = local.repository().object_hash().null();
    let lease = |text: &BString| {
        let mut found = None;
        let lease = Lease::parse(text.as_ref(), null, |expression| {
            found.insert(local.object(expression)).as_ref().ok().copied()
        });
        match (lease, found) {
            (_, Some(Err(RevisionError::Unreadable(error)))) => Err(error.into()),
            (lease, _) => lease.ok_or_else(|| PushError::Lease(text.clone())),
        }
    };
    texts.iter().map(lease).collect()
}
