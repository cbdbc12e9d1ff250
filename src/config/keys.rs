//! Names of all settings.

/// Key of [`Config::append_only`](super::Config::append_only). If its value is a [`Problem`](super::Problem), the guarded
/// paths are unknown.
pub const APPEND_ONLY: &str = "stargate.appendOnly";

/// Every key of the section, as in the documentation.
pub const KEYS: [&str; 34] = [
    "stargate.alertCommand",
    "stargate.alertSecretFile",
    "stargate.alertUrl",
    "stargate.allowNfs",
    APPEND_ONLY,
    "stargate.attempts",
    "stargate.defaultBranch",
    "stargate.deletes",
    "stargate.force",
    "stargate.forge",
    // Read by the transport, as insecureHttp, those of ssh and tokenFile below.
    "stargate.githubApp",
    "stargate.githubAppKey",
    "stargate.initialDelay",
    "stargate.insecureHttp",
    "stargate.lfs",
    "stargate.lfsStore",
    "stargate.lfsUrl",
    "stargate.localHooks",
    "stargate.lockTimeout",
    "stargate.maxDelay",
    "stargate.maxPackSize",
    "stargate.pusherEnv",
    "stargate.pushesPerMinute",
    "stargate.ref",
    "stargate.remote",
    "stargate.repoId",
    "stargate.retention",
    "stargate.sshClient",
    "stargate.sshKey",
    "stargate.sshKnownHosts",
    "stargate.sshPassphraseFile",
    "stargate.staleAfter",
    "stargate.tokenFile",
    "stargate.verify",
];

/// Keys of `[stargate "<url>"]`.
pub const URL_KEYS: [&str; 3] = ["githubApp", "githubAppKey", "tokenFile"];
/// Keys that a mirror's own section may set, without `stargate.`.
pub const MIRROR_KEYS: [&str; 23] = [
    "alertCommand",
    "alertSecretFile",
    "alertUrl",
    "attempts",
    "defaultBranch",
    "deletes",
    "force",
    "forge",
    "initialDelay",
    "lfs",
    "lfsStore",
    "lfsUrl",
    "maxDelay",
    "maxPackSize",
    "pushesPerMinute",
    "ref",
    "remote",
    // The transport reads the keys of ssh.
    "sshClient",
    "sshKey",
    "sshKnownHosts",
    "sshPassphraseFile",
    "staleAfter",
    "verify",
];
