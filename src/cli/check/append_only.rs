//! `stargate-mirror check append-only`: the append-only rule in CI.
use std::path::PathBuf;

use bstr::ByteSlice;
use gix::ObjectId;

use super::{
    super::report::{Exit, Failure, REFS_HINT},
    findings::{Format, Report},
};
use crate::{
    append_only::{self, DEFAULT_PATH, Error, Malformed, OddName, Paths, Range, Relation, Signatures},
    git_objects::Error as ObjectError,
    local_repository::{LocalRepository, RevisionError},
};

const EXAMPLES: &str = "\
Examples:
  stargate-mirror check append-only --base origin/main
  stargate-mirror check append-only --base \"$BEFORE\" --head \"$AFTER\" \\
    --replace --format github
  stargate-mirror check append-only --base v1.0 --path events/ --path audit/
  stargate-mirror check append-only --base origin/main --schema \\
    --signatures=required
  stargate-mirror check append-only --base origin/main \\
    --format sarif > append-only.sarif

Exit codes: 0 the rule is kept, 1 it is violated, 5 no verdict (an unknown
revision, missing history)";

/// Hint for a clone that is too shallow.
const WHOLE_HISTORY: &str =
    "fetch the whole history: run `git fetch --unshallow`, or set fetch-depth: 0 for actions/checkout";

/// Check that no commit between base and head changes, removes or renames a file below a path
///
/// Every commit that is reachable from head, but not from base, is compared with each of its parents. So a file that
/// was deleted and added again is found, too. Additions are allowed, and so is everything outside the paths.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The revision to compare with; an id of zeros checks all of head's history
    #[arg(long, value_name = "REV")]
    base: String,
    /// The revision to check
    #[arg(long, value_name = "REV", default_value = "HEAD")]
    head: String,
    /// A folder or file to guard; repeatable; `.` is everything
    #[arg(long = "path", value_name = "PATH", default_value = DEFAULT_PATH)]
    paths: Vec<String>,
    /// Head replaces base, as in a forced push: files that base has and head lacks count as removed
    #[arg(long)]
    replace: bool,
    /// Check also that each new file is an event, at the path of that event
    #[arg(long)]
    schema: bool,
    /// Check also the signatures of new events; with =required, each new event must be signed
    #[arg(long, value_name = "WHICH", num_args = 0..=1, require_equals = true, value_enum,
        default_missing_value = "optional")]
    signatures: Option<SignaturesName>,
    /// Treat a new path that differs from another one only in case, or that has bidirectional or invisible characters, as
    /// a violation instead of a warning
    #[arg(long)]
    strict_names: bool,
    /// The repository [default: GIT_DIR, else found from the current directory]
    #[arg(long, value_name = "DIR")]
    repo: Option<PathBuf>,
    /// Output format
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum SignaturesName {
    /// A signature must be valid if there is one
    Optional,
    /// Each new event must have a signature
    Required,
}

impl From<SignaturesName> for Signatures {
    fn from(name: SignaturesName) -> Self {
        match name {
            SignaturesName::Optional => Signatures::Optional,
            SignaturesName::Required => Signatures::Required,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// The rule cannot be checked: an unknown revision, missing history, a damaged object.
pub(super) fn main(args: &Args) -> Result<Exit, Failure> {
    let paths = Paths::new(&args.paths).map_err(|error| Failure::new(Exit::Usage, error))?;
    let git_dir = super::super::repository(args.repo.as_deref())?;
    let mut local = LocalRepository::open(&git_dir)?;
    let repository = local.repository_mut();
    repository.object_cache_size_if_unset(16 << 20);
    // Check the real objects, not local replacements (git-replace).
    repository.objects.ignore_replacements = true;
    let clone = Clone(local);

    let range = Range {
        base: clone.base(&args.base)?,
        head: clone.resolve(&args.head)?,
        relation: if args.replace {
            Relation::Replacement
        } else {
            Relation::Proposal
        },
    };
    clone.warn_of_absent(&args.paths, range);
    let signatures = args.signatures.map(Signatures::from);
    let (findings, malformed, badly_signed) = clone
        .check(&paths, range, args.schema, signatures)
        .map_err(|error| clone.failure(&error))?;
    let odd_names = clone.odd_names(&paths, range, args.strict_names)?;
    let report = Report {
        paths: &paths,
        range,
        findings: &findings,
        odd_names: &odd_names,
        strict_names: args.strict_names,
        malformed: malformed.as_ref(),
        badly_signed: badly_signed.as_ref(),
    };
    report.print(args.format);
    Ok(if report.is_clean() {
        Exit::Done
    } else {
        Exit::Incomplete
    })
}

/// Findings, and the malformed and badly signed new files, if these were requested.
type Checked = (append_only::Findings, Option<Vec<Malformed>>, Option<Vec<Malformed>>);

/// Repository, possibly a shallow one.
struct Clone(LocalRepository);

impl Clone {
    fn repository(&self) -> &gix::Repository {
        self.0.repository()
    }

    fn check(
        &self,
        paths: &Paths,
        range: Range,
        schema: bool,
        signatures: Option<Signatures>,
    ) -> Result<Checked, Error> {
        // If the list of shallow commits is unreadable, their parents are missing objects, which is an error, too.
        let shallow = self.repository().shallow_commits().ok().flatten();
        let ends_at = |id: ObjectId| shallow.as_ref().is_some_and(|commits| commits.contains(&id));
        let objects = &self.repository().objects;
        let with_added = schema || signatures.is_some();
        let findings = append_only::check(objects, paths, range, &ends_at, with_added)?;
        let malformed = schema.then(|| append_only::malformed(objects, &findings.added));
        let badly_signed = signatures.map(|which| append_only::badly_signed(objects, &findings.added, which));
        Ok((findings, malformed.transpose()?, badly_signed.transpose()?))
    }

    /// Warns of guarded paths that neither base nor head has: they may be misspelt, so that nothing is guarded.
    fn warn_of_absent(&self, paths: &[String], range: Range) {
        let has = |commit: ObjectId, path: &str| {
            let tree = self.repository().find_object(commit)?.peel_to_tree()?;
            Ok::<_, gix::Error>(tree.lookup_entry_by_path(path)?.is_some())
        };
        for path in paths.iter().filter(|path| path.trim_matches('/') != ".") {
            let mut commits = range.base.into_iter().chain([range.head]);
            // An object that cannot be read is an error of the check itself.
            if !commits.any(|commit| has(commit, path.trim_matches('/')).unwrap_or(true)) {
                tracing::warn!("neither base nor head has {path}: check the spelling of --path");
            }
        }
    }

    /// Returns the odd new paths. If there are too many new files, that is only a warning, like odd names themselves.
    fn odd_names(&self, paths: &Paths, range: Range, strict: bool) -> Result<Vec<OddName>, Failure> {
        match append_only::odd_names(&self.repository().objects, paths, range.base, range.head) {
            Err(error @ Error::Object(ObjectError::TooMany(..))) if !strict => {
                tracing::warn!("the names of new files were not checked: {error}");
                Ok(Vec::new())
            }
            found => found.map_err(|error| self.failure(&error)),
        }
    }

    /// Resolves the base. GitHub's events have an id of zeros if there was no ref before.
    fn base(&self, revision: &str) -> Result<Option<ObjectId>, Failure> {
        let digits = self.repository().object_hash().len_in_hex();
        if revision.len() == digits && revision.bytes().all(|digit| digit == b'0') {
            Ok(None)
        } else {
            self.resolve(revision).map(Some)
        }
    }

    fn resolve(&self, revision: &str) -> Result<ObjectId, Failure> {
        self.0.object(revision.as_bytes().as_bstr()).map_err(|error| {
            let error = match error {
                RevisionError::Unreadable(error) => return Failure::new(Exit::Failed, error).hint(REFS_HINT),
                RevisionError::Unknown(reason) => reason,
            };
            let what = format!(
                "there is no revision {revision:?} in {}: {error}",
                self.repository().git_dir().display()
            );
            let hint = if self.is_shallow() {
                WHOLE_HISTORY
            } else {
                "fetch it, or use another revision"
            };
            Failure::new(Exit::Failed, what).hint(hint)
        })
    }

    fn failure(&self, error: &Error) -> Failure {
        let hint = match error {
            Error::Shallow { .. } | Error::Apart { .. } => WHOLE_HISTORY,
            Error::Object(ObjectError::Missing { .. }) if self.is_shallow() => WHOLE_HISTORY,
            Error::Object(ObjectError::Missing { .. }) => {
                "fetch it; the check needs all trees, so a partial clone with filter=tree:0 does not work, but one with \
                 filter=blob:none does"
            }
            Error::Object(ObjectError::Damaged { .. }) => "run `git fsck` in the repository",
            Error::Object(ObjectError::NotACommit(_)) => "use a commit, a branch or a tag of a commit",
            Error::Object(ObjectError::TooMany(..)) => "use a base that is closer to the head",
        };
        let what = format!("cannot check the append-only rule: {error}");
        Failure::new(Exit::Failed, what).hint(hint)
    }

    fn is_shallow(&self) -> bool {
        self.repository().is_shallow().unwrap_or(false)
    }
}
