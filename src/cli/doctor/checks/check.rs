//! One check: its name, its verdict, the finding, and what mends it.
use serde::{Serialize, Serializer};

/// Names of the checks. `docs/doctor.md` lists all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// The repository can be opened.
    Repository,
    /// Patterns of mirrored refs.
    MirroredRefs,
    /// Keys and values of the settings.
    Settings,
    /// The hooks that record pushes.
    Hook,
    /// Durability of git's own files.
    Fsync,
    /// File systems of the repository.
    Disk,
    /// Mirrored refs and their objects.
    Refs,
    /// Commits before the refs.
    History,
    /// Owners and modes of files.
    Owner,
    /// The journal.
    Journal,
    /// Names of refs that look alike.
    RefNames,
    /// The worker's last cycle.
    Worker,
    /// Groups that were tried in vain.
    Pending,
    /// Files that the host does not take.
    LargeFiles,
    /// The mirror's answer.
    Mirror,
    /// The token for the mirror.
    Token,
    /// The clocks of both machines.
    Clock,
    /// Watermarks on the mirror.
    Watermark,
    /// HEAD of both sides.
    Head,
    /// Objects of Git LFS.
    Lfs,
    /// Other programs that push to the mirror.
    OtherMirror,
}

impl Name {
    /// Returns the name as it is printed.
    pub fn word(self) -> &'static str {
        match self {
            Name::Repository => "repository",
            Name::MirroredRefs => "mirrored refs",
            Name::Settings => "settings",
            Name::Hook => "hook",
            Name::Fsync => "core.fsync",
            Name::Disk => "disk",
            Name::Refs => "refs",
            Name::History => "history",
            Name::Owner => "owner",
            Name::Journal => "journal",
            Name::RefNames => "ref names",
            Name::Worker => "worker",
            Name::Pending => "pending",
            Name::LargeFiles => "large files",
            Name::Mirror => "mirror",
            Name::Token => "token",
            Name::Clock => "clock",
            Name::Watermark => "watermark",
            Name::Head => "HEAD",
            Name::Lfs => "lfs",
            Name::OtherMirror => "other mirror",
        }
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

/// Verdicts, from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing to do.
    Ok,
    /// Pushes are mirrored, but something may go wrong.
    Warning,
    /// Pushes are lost, rejected or not mirrored.
    Problem,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name.
    pub check: Name,
    /// Name of the mirror among several. Omitted if there is a single one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<String>,
    /// Its verdict.
    pub verdict: Verdict,
    /// Finding.
    pub found: String,
    /// Instruction for the operator. Commands are in backquotes.
    pub hint: Option<String>,
}

impl Check {
    /// Creates a check without a hint.
    pub fn new(check: Name, verdict: Verdict, found: impl Into<String>) -> Self {
        Check {
            check,
            mirror: None,
            verdict,
            found: found.into(),
            hint: None,
        }
    }

    /// Adds an instruction.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const ALL: [Name; 21] = [
        Name::Repository,
        Name::MirroredRefs,
        Name::Settings,
        Name::Hook,
        Name::Fsync,
        Name::Disk,
        Name::Refs,
        Name::History,
        Name::Owner,
        Name::Journal,
        Name::RefNames,
        Name::Worker,
        Name::Pending,
        Name::LargeFiles,
        Name::Mirror,
        Name::Token,
        Name::Clock,
        Name::Watermark,
        Name::Head,
        Name::Lfs,
        Name::OtherMirror,
    ];

    #[test]
    fn the_page_about_doctor_lists_every_check_with_cause_and_mend() {
        // One more variant makes this list incomplete, because names are counted from zero.
        assert_eq!(Name::OtherMirror as usize + 1, ALL.len());
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/doctor.md");
        let page = std::fs::read_to_string(path).expect("the page about doctor");
        let rows = page.lines().filter(|line| line.starts_with("| `"));
        let mut listed = BTreeSet::new();
        for row in rows {
            let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
            assert_eq!(cells.len(), 4, "check, finding, cause, mend: {row}");
            assert!(cells.iter().all(|cell| !cell.is_empty()), "{row}");
            listed.insert(cells[0].trim_matches('`').to_owned());
        }
        let names: BTreeSet<String> = ALL.iter().map(|name| name.word().to_owned()).collect();
        assert_eq!(listed, names);
    }
}
