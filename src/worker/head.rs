//! HEAD of the mirror: the branch that a clone of the mirror checks out.
use std::fmt;

use bstr::{BString, ByteSlice};
use git_push::Error;
use git_push_transport::{Forge, Head, Location, Remote};
use serde::{Deserialize, Serialize};

use super::Stargate;
use crate::{config::ForgeSetting, ref_pattern::RefPatterns, refs::LocalRef};

/// Start of the names of branches.
const BRANCHES: &str = "refs/heads/";

/// Branch that the Stargate's HEAD names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StargateHead {
    /// A mirrored branch.
    Mirrored(BString),
    /// A mirrored branch that does not exist.
    Unborn(BString),
    /// HEAD cannot be read, for this reason.
    Unreadable(String),
    /// No mirrored branch.
    Other,
}

/// HEAD of a mirror that differs from the Stargate's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadDifference {
    /// Branch that the Stargate's HEAD names.
    pub stargate: String,
    /// Branch that the mirror's HEAD names; none if it is detached, or the server does not report the name.
    pub mirror: Option<String>,
    /// True if the mirror's HEAD names a branch that the mirror does not have.
    pub dangling: bool,
    /// True if the worker has set it to the Stargate's branch.
    pub set: bool,
    /// Reason why the worker could not set it.
    pub error: Option<String>,
}

impl fmt::Display for HeadDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.mirror, self.dangling) {
            (Some(branch), false) => write!(f, "the mirror's HEAD names {branch}")?,
            (Some(branch), true) => write!(f, "the mirror's HEAD names {branch}, which does not exist there")?,
            (None, false) => f.write_str("the mirror's HEAD names no branch")?,
            (None, true) => f.write_str("the mirror's HEAD names a branch that does not exist there")?,
        }
        write!(f, "; the Stargate's HEAD names {}", self.stargate)
    }
}

/// Reads the Stargate's HEAD.
pub fn stargate_head(stargate: &Stargate, refs: &RefPatterns) -> StargateHead {
    let (read, name) = stargate.head();
    let is_mirrored = name.starts_with_str(BRANCHES) && refs.matches(name.as_bstr());
    match read {
        LocalRef::Unreadable(why) => StargateHead::Unreadable(why.to_string()),
        LocalRef::Id(_) if is_mirrored => StargateHead::Mirrored(name),
        LocalRef::Absent if is_mirrored => StargateHead::Unborn(name),
        LocalRef::Id(_) | LocalRef::Absent => StargateHead::Other,
    }
}

/// Compares the mirror's HEAD with `branch`, the one that the Stargate's names. Returns none if they are equal.
///
/// # Errors
/// The mirror cannot be read.
pub fn compare_head(remote: &mut Remote, branch: &BString) -> Result<Option<HeadDifference>, Error> {
    let remembered = remote.reading().is_some();
    let head = match remote.head() {
        // The remote drops the remembered capabilities after an error, so the second call requests them.
        Err(_) if remembered => remote.head()?,
        read => read?,
    };
    let (mirror, dangling) = match head {
        Head::Names(name) if name == *branch => return Ok(None),
        Head::Names(name) => (Some(name.to_string()), false),
        Head::Dangles(name) => (name.map(|name| name.to_string()), true),
        Head::Detached(_) => (None, false),
    };
    Ok(Some(HeadDifference {
        stargate: branch.to_string(),
        mirror,
        dangling,
        set: false,
        error: None,
    }))
}

/// Returns the forge at `location`, if it is known by its host or by the setting.
pub fn forge_at(location: &Location, setting: ForgeSetting) -> Option<Forge> {
    match (setting, location) {
        (ForgeSetting::GitHub, _) => Some(Forge::GitHub),
        (ForgeSetting::GitLab, _) => Some(Forge::GitLab),
        (ForgeSetting::Gitea, _) => Some(Forge::Gitea),
        (ForgeSetting::ByHost, Location::Http(url)) => Forge::of_host(url.host().unwrap_or_default()),
        (ForgeSetting::ByHost | ForgeSetting::None, _) => None,
    }
}
