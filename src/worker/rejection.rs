//! Rejections by the mirror's server: its words, and advice where they are recognised.
//!
//! GitHub, GitLab, Gitea and Forgejo explain a rejection in sideband 2 only (gitprotocol-pack, *Packfile Data*). The
//! words are shown as they are. Only a line of advice depends on them.
use serde::{Deserialize, Serialize};

/// Rejection of a group, as remembered for `status` and for the hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// Label of the group.
    pub group: String,
    /// Refs of the group. The hook shows the rejection to the next pusher of one of them.
    pub refs: Vec<String>,
    /// Human-readable lines from the server.
    pub server_words: Vec<String>,
    /// Instruction, if the cause is recognised.
    pub advice: Option<String>,
    /// True if nothing was rejected: the refs are on the mirror, without LFS objects that the words name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub alone: bool,
}

/// Recognised cause of a rejection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectionCause {
    /// A file is larger than the server accepts.
    LargeFile,
    /// The branch or tag is protected.
    ProtectedRef,
    /// A commit has an e-mail address that its owner keeps private.
    PrivateEmail,
    /// The server does not have an LFS object.
    MissingLfsObject,
    /// A commit contains a secret.
    Secret,
    /// Another rule of the repository is violated.
    Rule,
}

/// Lower-case phrases of servers with their causes. The first phrase that occurs decides: GitHub reports secrets as a
/// violation of a rule.
const PHRASES: &[(&str, RejectionCause)] = &[
    ("cannot contain secrets", RejectionCause::Secret),
    ("secrets detected", RejectionCause::Secret),
    ("error: gh001:", RejectionCause::LargeFile),
    ("larger than the allowed size of", RejectionCause::LargeFile),
    ("files which exceed the", RejectionCause::LargeFile),
    ("error: gh008:", RejectionCause::MissingLfsObject),
    ("lfs objects are missing", RejectionCause::MissingLfsObject),
    ("error: gh007:", RejectionCause::PrivateEmail),
    ("error: gh006:", RejectionCause::ProtectedRef),
    ("code to protected branches", RejectionCause::ProtectedRef),
    ("code to a protected branch", RejectionCause::ProtectedRef),
    ("to delete protected branches", RejectionCause::ProtectedRef),
    ("protected tags cannot be", RejectionCause::ProtectedRef),
    ("push to protected branch", RejectionCause::ProtectedRef),
    (" is protected", RejectionCause::ProtectedRef),
    ("error: gh013:", RejectionCause::Rule),
    ("does not follow the pattern", RejectionCause::Rule),
];

impl RejectionCause {
    /// Returns the cause that these words name, if it is known.
    pub fn of(server_words: &[String]) -> Option<Self> {
        let lines: Vec<String> = server_words.iter().map(|line| line.to_lowercase()).collect();
        let is_said = |phrase: &str| lines.iter().any(|line| line.contains(phrase));
        let found = PHRASES.iter().find(|(phrase, _)| is_said(phrase));
        found.map(|(_, cause)| *cause)
    }

    /// Returns an instruction in one line.
    pub fn advice(self) -> &'static str {
        match self {
            RejectionCause::LargeFile => {
                "raise the mirror's limit for files, or rewrite the commits without the file (Git LFS can hold it)"
            }
            RejectionCause::ProtectedRef => {
                "allow the mirror's account to push there: change the protection of the branch or tag on the mirror"
            }
            RejectionCause::PrivateEmail => {
                "allow pushes with this e-mail address in the settings of its owner, or rewrite the commits with another one"
            }
            RejectionCause::MissingLfsObject => {
                "run `git lfs push --all` to the mirror, in a clone that has the LFS objects"
            }
            RejectionCause::Secret => {
                "revoke the secret, then allow it on the mirror (with the URL that it gives, if any) or rewrite the commits without it"
            }
            RejectionCause::Rule => "change the mirror's rule, or let the mirror's account bypass it",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use RejectionCause::{LargeFile, MissingLfsObject, PrivateEmail, ProtectedRef, Rule, Secret};

    /// Words as the servers print them, without empty lines.
    const SAID: &[(Option<RejectionCause>, &str)] = &[
        (
            Some(LargeFile),
            "error: Trace: 8d1daee3e9422245a2a0fa9935b3bb8b\n\
             error: See https://gh.io/lfs for more information.\n\
             error: File big.bin is 145.33 MB; this exceeds GitHub's file size limit of 100.00 MB\n\
             error: GH001: Large files detected. You may want to try Git Large File Storage - https://git-lfs.github.com.",
        ),
        // A warning does not reject anything.
        (
            None,
            "warning: See https://gh.io/lfs for more information.\n\
             warning: File a.obj is 62.40 MB; this is larger than GitHub's recommended maximum file size of 50.00 MB\n\
             warning: GH001: Large files detected. You may want to try Git Large File Storage - https://git-lfs.github.com.",
        ),
        (
            Some(ProtectedRef),
            "error: GH006: Protected branch update failed for refs/heads/main.\n\
             - Changes must be made through a pull request.",
        ),
        (
            Some(ProtectedRef),
            "error: GH006: Protected branch update failed for refs/heads/master.\n\
             error: Cannot force-push to a protected branch",
        ),
        (
            Some(PrivateEmail),
            "error: GH007: Your push would publish a private email address.\n\
             You can make your email public or disable this protection by visiting:\n\
             http://github.com/settings/emails",
        ),
        (
            Some(MissingLfsObject),
            "error: GH008: Your push referenced at least 3 unknown Git LFS objects:\n\
             \u{20}   d2d36233d085db6ebd5aa073a3fff219f1c67e0e7a2243da1b2f761cdc404290\n\
             \u{20}   ...\n\
             Try to push them with 'git lfs push --all'.",
        ),
        (
            Some(Secret),
            "error: GH013: Repository rule violations found for refs/heads/main.\n\
             - GITHUB PUSH PROTECTION\n\
             \u{20} —————————————————————————————————————————\n\
             \u{20}   Resolve the following violations before pushing again\n\
             \u{20}   - Push cannot contain secrets\n\
             \u{20}     —— GitHub Personal Access Token ——————————————————————\n\
             \u{20}      locations:\n\
             \u{20}        - commit: 5477a7dd26384ed3c8b3814ee677f755ad27a597\n\
             \u{20}          path: src/api/github.ts:34\n\
             \u{20}      (?) To push, remove secret from commit(s) or follow this URL to allow the secret.",
        ),
        (
            Some(Rule),
            "error: GH013: Repository rule violations found for refs/tags/v1.2.0.\n\
             Review all repository rules at https://github.com/o/r/rules?ref=refs%2Ftags%2Fv1.2.0\n\
             - Cannot update this protected ref.",
        ),
        (
            Some(ProtectedRef),
            "GitLab: You are not allowed to push code to protected branches on this project.",
        ),
        (
            Some(ProtectedRef),
            "GitLab: You are not allowed to force push code to a protected branch on this project.",
        ),
        (
            Some(LargeFile),
            "GitLab: File \"file.bin\" is larger than the allowed size of 1 MiB. Use Git LFS to manage this file.",
        ),
        (
            Some(LargeFile),
            "GitLab: You are attempting to check in one or more files which exceed the 100MiB limit:\n\
             - 257cc5642cb1a054f08cc83f2d943e56fd3ebe99 (123 MiB)",
        ),
        (
            Some(MissingLfsObject),
            "GitLab: LFS objects are missing. Ensure LFS is properly set up or try a manual \"git lfs push --all\".",
        ),
        (
            Some(Secret),
            "PUSH BLOCKED: Secrets detected in code changes\n\
             Secret push protection found the following secrets in commit: 37e54de5e78c31d9e3c3821fd15f7069e3d375b6\n\
             -- test.txt:2 GitLab Personal Access Token\n\
             To push your changes you must remove the identified secrets.",
        ),
        (
            Some(ProtectedRef),
            "Gitea: Not allowed to push to protected branch main",
        ),
        (Some(ProtectedRef), "Gitea: Branch main is protected from force push"),
        (Some(ProtectedRef), "Gitea: Tag v1 is protected"),
        (
            Some(ProtectedRef),
            "Forgejo: Not allowed to push to protected branch main",
        ),
        (None, "GitLab: The project you were looking for could not be found."),
        (None, "Gitea: User permission denied for writing."),
        (None, "ask the owner of this repository"),
        (None, ""),
    ];

    #[test]
    fn words_of_servers_are_recognised() {
        for (expected, said) in SAID {
            let words: Vec<String> = said.lines().map(ToOwned::to_owned).collect();
            assert_eq!(RejectionCause::of(&words), *expected, "{said}");
        }
    }

    #[test]
    fn every_cause_is_recognised_and_has_advice_in_one_line() {
        for cause in [LargeFile, ProtectedRef, PrivateEmail, MissingLfsObject, Secret, Rule] {
            assert!(SAID.iter().any(|(known, _)| *known == Some(cause)), "{cause:?}");
            assert!(!cause.advice().is_empty() && !cause.advice().contains('\n'));
        }
    }
}
