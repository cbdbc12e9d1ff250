//! Settings whose value is one of a few words.

/// Handling of the mirror's HEAD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DefaultBranch {
    /// The mirror's HEAD is set to the branch that the Stargate's HEAD names.
    #[default]
    Follow,
    /// The mirror's HEAD is left alone.
    Leave,
}

/// Kind of the mirror's server, for its REST API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForgeSetting {
    /// Known by its host, such as github.com.
    #[default]
    ByHost,
    /// GitHub Enterprise.
    GitHub,
    /// GitLab.
    GitLab,
    /// Gitea or Forgejo.
    Gitea,
    /// No REST API is used.
    None,
}

/// Handling of Git LFS objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LfsSetting {
    /// They are carried. Refs are pushed without them if the mirror has no LFS server, or the Stargate has no LFS objects.
    #[default]
    Auto,
    /// Pointers are not looked for.
    Off,
    /// No ref is pushed without its objects.
    Require,
}

/// Words of `stargate.lfs`.
pub(super) const LFS_WORDS: [(&str, LfsSetting); 3] = [
    ("auto", LfsSetting::Auto),
    ("off", LfsSetting::Off),
    ("require", LfsSetting::Require),
];

/// Words of `stargate.defaultBranch`.
pub(super) const DEFAULT_BRANCH_WORDS: [(&str, DefaultBranch); 2] =
    [("follow", DefaultBranch::Follow), ("leave", DefaultBranch::Leave)];

/// Words of `stargate.forge`.
pub(super) const FORGE_WORDS: [(&str, ForgeSetting); 4] = [
    ("github", ForgeSetting::GitHub),
    ("gitlab", ForgeSetting::GitLab),
    ("gitea", ForgeSetting::Gitea),
    ("none", ForgeSetting::None),
];
