//! The remotes and refspecs of a push, from arguments and git configuration. The decisions are functions of both.
use bstr::{BStr, BString, ByteSlice};
use git_push::refspec::{LocalRefs, Matching, Refspecs};

use super::{
    error::PushError,
    run::{Extent, Options},
    settings::{GitSettings, PushDefault},
};

const NO_DESTINATION: &str = "No configured push destination.
Either specify the URL from the command-line or configure a remote repository using

    git remote add <name> <url>

and then push using the remote name

    git push <name>
";

/// The branch that is checked out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Branch {
    /// The full name.
    pub(super) name: BString,
    /// `branch.<name>.remote`
    pub(super) remote: Option<BString>,
    /// `branch.<name>.merge`
    pub(super) merge: Vec<BString>,
}

/// Refspecs of a push to one remote.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) refspecs: Refspecs,
    /// All refs are mirrored, by force.
    pub(super) mirror: bool,
    pub(super) set_upstream: bool,
}

impl Branch {
    /// Reads the settings of the branch with this full name. `HEAD` may name something else.
    pub(super) fn read(name: &BStr, settings: &GitSettings<'_>) -> Option<Self> {
        let short = name.strip_prefix(b"refs/heads/")?.as_bstr();
        Some(Branch {
            name: name.into(),
            remote: settings.text(&format!("branch.{short}.remote")),
            merge: settings.list(&format!("branch.{short}.merge")),
        })
    }

    fn short(&self) -> &BStr {
        self.name.strip_prefix(b"refs/heads/").unwrap_or(&self.name).as_bstr()
    }

    fn remote_or_default(&self, settings: &GitSettings<'_>) -> BString {
        self.remote.clone().unwrap_or_else(|| default_remote(settings))
    }
}

/// Returns the only remote, else `origin`.
fn default_remote(settings: &GitSettings<'_>) -> BString {
    match &settings.remotes()[..] {
        [only] => only.clone(),
        _ => "origin".into(),
    }
}

/// Returns the names or URLs to push to: the given one, or the members of the group of this name (`remotes.<group>`), or the
/// default of the branch.
pub(super) fn remotes(
    given: Option<&BString>,
    branch: Option<&Branch>,
    settings: &GitSettings<'_>,
) -> Result<Vec<BString>, PushError> {
    if let Some(given) = given {
        let is_remote = settings.remotes().contains(given);
        let group = settings.list(&format!("remotes.{given}"));
        return Ok(if is_remote || group.is_empty() {
            vec![given.clone()]
        } else {
            let names = group.iter().flat_map(|names| names.fields());
            names.map(BString::from).collect()
        });
    }
    let push_remote = branch.and_then(|branch| settings.text(&format!("branch.{}.pushRemote", branch.short())));
    let explicit = push_remote
        .or_else(|| settings.text("remote.pushDefault"))
        .or_else(|| branch.and_then(|branch| branch.remote.clone()));
    if let Some(explicit) = explicit {
        return Ok(vec![explicit]);
    }
    let default = default_remote(settings);
    if settings.remotes().contains(&default) {
        Ok(vec![default])
    } else {
        Err(PushError::Fatal(NO_DESTINATION.into()))
    }
}

/// Decides what to push to the remote of this name.
pub(super) fn choose(
    options: &Options,
    remote: &BStr,
    branch: Option<&Branch>,
    local: &LocalRefs<'_>,
    settings: &GitSettings<'_>,
) -> Result<Chosen, PushError> {
    let configured = settings.list(&format!("remote.{remote}.push"));
    let mirror =
        options.extent == Extent::Mirror || settings.boolean(&format!("remote.{remote}.mirror"))? == Some(true);
    let fatal = |what: &str| Err(PushError::Fatal(what.into()));
    if options.delete && options.refspecs.is_empty() {
        return fatal("--delete doesn't make sense without any refs");
    }
    if !options.refspecs.is_empty() && options.extent == Extent::AllBranches {
        return fatal("--all can't be combined with refspecs");
    }
    if !options.refspecs.is_empty() && mirror {
        return fatal("--mirror can't be combined with refspecs");
    }
    let mut texts = given(options, &configured, local, branch_settings(settings)?)?;
    let mut set_upstream = options.set_upstream;
    if texts.is_empty() && options.extent != Extent::AllBranches {
        texts.clone_from(&configured);
        if texts.is_empty() && !mirror {
            let (refspec, sets) = default(branch, remote, settings)?;
            set_upstream |= sets;
            texts.push(refspec);
        }
    }
    let mut refspecs = Refspecs::parse(texts)?;
    if mirror {
        refspecs = refspecs.with_matching(Matching::AllRefs);
    } else if options.extent == Extent::AllBranches {
        refspecs = refspecs.with_matching(Matching::AllBranches);
    }
    Ok(Chosen {
        refspecs: refspecs.with_prune(options.prune),
        mirror,
        set_upstream,
    })
}

/// Reads the upstream branches of local branches, if `push.default` uses them.
fn branch_settings<'a>(settings: &'a GitSettings<'a>) -> Result<impl Fn(&BStr) -> Option<BString> + 'a, PushError> {
    let is_upstream = settings.push_default()? == PushDefault::Upstream;
    Ok(move |name: &BStr| {
        let branch = Branch::read(name, settings).filter(|branch| is_upstream && branch.remote.is_some())?;
        match &branch.merge[..] {
            [only] => Some(only.clone()),
            _ => None,
        }
    })
}

/// Returns the refspecs of the command line: those of tags, names to delete, and names that configuration maps.
fn given(
    options: &Options,
    configured: &[BString],
    local: &LocalRefs<'_>,
    upstream: impl Fn(&BStr) -> Option<BString>,
) -> Result<Vec<BString>, PushError> {
    let mut texts: Vec<BString> = Vec::new();
    if options.tags {
        texts.push("refs/tags/*".into());
    }
    let map = Refspecs::parse(configured)?;
    let mut given = options.refspecs.iter();
    while let Some(text) = given.next() {
        let name = if text == "tag" {
            let Some(tag) = given.next() else {
                return Err(PushError::Fatal("tag shorthand without <tag>".into()));
            };
            [b"refs/tags/", tag.as_bytes()].concat().into()
        } else {
            text.clone()
        };
        if options.delete {
            if name.is_empty() || name.contains(&b':') {
                return Err(PushError::DeleteTakesNames(name));
            }
            texts.push([b":", name.as_bytes()].concat().into());
        } else if name.contains(&b':') || text == "tag" {
            texts.push(name);
        } else {
            texts.push(mapped(name, &map, local, &upstream));
        }
    }
    Ok(texts)
}

/// Returns the refspec for a name without a destination: as `remote.<name>.push` maps it, to its upstream branch, or itself.
fn mapped(
    name: BString,
    map: &Refspecs,
    local: &LocalRefs<'_>,
    upstream: impl Fn(&BStr) -> Option<BString>,
) -> BString {
    let Some(full) = local.only(name.as_bstr()) else {
        return name;
    };
    if let Some(mapped) = map.mapped(full.as_bstr()) {
        return mapped;
    }
    match upstream(full.as_bstr()) {
        Some(upstream) => [&name[..], b":", &upstream].concat().into(),
        None => name,
    }
}

/// Returns the refspec of a push without any, and whether the branch gets an upstream by it.
fn default(branch: Option<&Branch>, remote: &BStr, settings: &GitSettings<'_>) -> Result<(BString, bool), PushError> {
    let rule = settings.push_default()?;
    match rule {
        PushDefault::Matching => return Ok((":".into(), false)),
        PushDefault::Nothing => {
            let what = "You didn't specify any refspecs to push, and push.default is \"nothing\".";
            return Err(PushError::Fatal(what.into()));
        }
        _ => {}
    }
    let Some(branch) = branch else {
        return Err(PushError::Fatal(detached(remote)));
    };
    let auto = settings.boolean("push.autoSetupRemote")? == Some(true);
    let same_remote = branch.remote_or_default(settings) == remote;
    let destination = match rule {
        PushDefault::Upstream if !same_remote => return Err(PushError::Fatal(other_remote(branch, remote))),
        PushDefault::Upstream => upstream(branch, remote, auto)?,
        PushDefault::Unspecified | PushDefault::Simple if same_remote => {
            let upstream = upstream(branch, remote, auto)?;
            if upstream != branch.name {
                return Err(PushError::Fatal(other_name(&upstream, remote, rule, settings)));
            }
            upstream
        }
        _ => branch.name.clone(),
    };
    let refspec = [&branch.name[..], b":", &destination].concat().into();
    Ok((refspec, auto && branch.merge.is_empty()))
}

/// Returns the upstream branch of a branch.
fn upstream(branch: &Branch, remote: &BStr, auto: bool) -> Result<BString, PushError> {
    let name = branch.short();
    if branch.merge.is_empty() && auto {
        return Ok(branch.name.clone());
    }
    match (&branch.merge[..], &branch.remote) {
        ([], _) | (_, None) => {
            let advice = if auto {
                ""
            } else {
                "\nTo have this happen automatically for branches without a tracking\n\
                 upstream, see 'push.autoSetupRemote' in 'git help config'.\n"
            };
            Err(PushError::Fatal(format!(
                "The current branch {name} has no upstream branch.\n\
                 To push the current branch and set the remote as upstream, use\n\n    \
                 git push --set-upstream {remote} {name}\n{advice}"
            )))
        }
        ([only], _) => Ok(only.clone()),
        _ => Err(PushError::Fatal(format!(
            "The current branch {name} has multiple upstream branches, refusing to push."
        ))),
    }
}

fn detached(remote: &BStr) -> String {
    format!(
        "You are not currently on a branch.\n\
         To push the history leading to the current (detached HEAD)\nstate now, use\n\n    \
         git push {remote} HEAD:<name-of-remote-branch>\n"
    )
}

fn other_remote(branch: &Branch, remote: &BStr) -> String {
    format!(
        "You are pushing to remote '{remote}', which is not the upstream of\n\
         your current branch '{}', without telling me what to push\nto update which remote branch.",
        branch.short()
    )
}

fn other_name(upstream: &BString, remote: &BStr, rule: PushDefault, settings: &GitSettings<'_>) -> String {
    let short = upstream.strip_prefix(b"refs/heads/").unwrap_or(upstream).as_bstr();
    let by_default = if rule == PushDefault::Unspecified {
        "\nTo choose either option permanently, see push.default in 'git help config'.\n"
    } else {
        ""
    };
    let is_simple = settings
        .text("branch.autoSetupMerge")
        .is_some_and(|value| value == "simple");
    let automatic = if is_simple {
        ""
    } else {
        "\nTo avoid automatically configuring an upstream branch when its name\n\
         won't match the local branch, see option 'simple' of branch.autoSetupMerge\nin 'git help config'.\n"
    };
    format!(
        "The upstream branch of your current branch does not match\n\
         the name of your current branch.  To push to the upstream branch\non the remote, use\n\n    \
         git push {remote} HEAD:{short}\n\n\
         To push to the branch of the same name on the remote, use\n\n    git push {remote} HEAD\n{by_default}{automatic}"
    )
}
