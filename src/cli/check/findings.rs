//! Report of `check append-only`, in its formats.
use base64::{Engine, prelude::BASE64_STANDARD};
use bstr::{BStr, BString, ByteSlice};
use gix::ObjectId;
use serde::Serialize;

use super::{junit, sarif};
use crate::{
    append_only::{Findings, Malformed, OddName, Paths, RULE, Range, Violation},
    odd_name::Oddity,
};

/// Output format.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum Format {
    /// Lines for people
    Human,
    /// Workflow commands of GitHub Actions
    Github,
    /// One JSON object
    Json,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// XML of JUnit, for reports of tests
    Junit,
}

/// What is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    AppendOnly,
    Schema,
    Signature,
    Name,
}

impl Rule {
    pub(super) const ALL: [Rule; 4] = [Rule::AppendOnly, Rule::Schema, Rule::Signature, Rule::Name];

    pub(super) fn title(self) -> &'static str {
        match self {
            Rule::AppendOnly => "append-only",
            Rule::Schema => "event schema",
            Rule::Signature => "event signature",
            Rule::Name => "odd name",
        }
    }

    /// Returns the rule as a sentence without a full stop.
    pub(super) fn text(self) -> &'static str {
        match self {
            Rule::AppendOnly => RULE,
            Rule::Schema => "each new file must be an event at the path of that event",
            Rule::Signature => "the signature of each new event must be valid",
            Rule::Name => "a new path should not be mistaken for another one",
        }
    }
}

/// Severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Error,
    Warning,
}

impl Level {
    pub(super) fn word(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warning => "warning",
        }
    }
}

/// A finding, as annotations and reports for other programs show it.
pub(super) struct Finding<'a> {
    pub(super) rule: Rule,
    pub(super) level: Level,
    pub(super) path: &'a BString,
    /// The commit that made the change. Odd names are looked for at the end of the range only.
    pub(super) commit: Option<ObjectId>,
    pub(super) text: String,
}

/// Report on a check.
pub(super) struct Report<'a> {
    pub(super) paths: &'a Paths,
    pub(super) range: Range,
    pub(super) findings: &'a Findings,
    /// New paths that may be mistaken for another one.
    pub(super) odd_names: &'a [OddName],
    /// Report odd names as violations instead of warnings.
    pub(super) strict_names: bool,
    /// Malformed new files, if they were requested.
    pub(super) malformed: Option<&'a Vec<Malformed>>,
    /// New files with a bad signature, if they were requested.
    pub(super) badly_signed: Option<&'a Vec<Malformed>>,
}

/// JSON object of `--format json`.
#[derive(Serialize)]
struct Object<'a> {
    outcome: &'static str,
    base: Option<String>,
    head: String,
    paths: Vec<String>,
    commits: usize,
    violations: Vec<ViolationObject>,
    violation_count: usize,
    odd_names: Vec<OddNameObject>,
    #[serde(skip_serializing_if = "Option::is_none")]
    malformed: Option<Vec<MalformedObject<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    badly_signed: Option<Vec<MalformedObject<'a>>>,
}

#[derive(Serialize)]
struct ViolationObject {
    status: &'static str,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_b64: Option<String>,
    old_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    old_path_b64: Option<String>,
    commit: String,
}

#[derive(Serialize)]
struct OddNameObject {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_b64: Option<String>,
    oddity: &'static str,
    problem: String,
}

#[derive(Serialize)]
struct MalformedObject<'a> {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_b64: Option<String>,
    commit: String,
    problems: &'a [String],
}

impl Report<'_> {
    /// Returns true if there is no violation.
    pub(super) fn is_clean(&self) -> bool {
        let names = !self.strict_names || self.odd_names.is_empty();
        self.findings.is_clean() && self.malformed().is_empty() && self.badly_signed().is_empty() && names
    }

    /// Prints the report to stdout.
    pub(super) fn print(&self, format: Format) {
        match format {
            Format::Human => self.print_lines(),
            Format::Github => self.print_annotations(),
            Format::Json => println!(
                "{}",
                serde_json::to_string(&self.object()).expect("a report is always JSON")
            ),
            Format::Sarif => println!("{}", sarif::log(&self.listed(), &self.summary())),
            Format::Junit => print!("{}", junit::document(&self.listed(), &self.checked(), &self.summary())),
        }
    }

    /// Rules that were checked.
    fn checked(&self) -> Vec<Rule> {
        let is_checked = |rule: &Rule| match rule {
            Rule::AppendOnly | Rule::Name => true,
            Rule::Schema => self.malformed.is_some(),
            Rule::Signature => self.badly_signed.is_some(),
        };
        Rule::ALL.into_iter().filter(is_checked).collect()
    }

    /// Listed findings of all rules.
    fn listed(&self) -> Vec<Finding<'_>> {
        let violations = self.findings.violations.iter().map(|violation| Finding {
            rule: Rule::AppendOnly,
            level: Level::Error,
            path: violation.to.as_ref().unwrap_or(&violation.path),
            commit: Some(violation.commit),
            text: format!("{}\n{RULE}", line(violation)),
        });
        let schema = of_files(Rule::Schema, self.malformed());
        let signatures = of_files(Rule::Signature, self.badly_signed());
        let level = if self.strict_names {
            Level::Error
        } else {
            Level::Warning
        };
        let names = self.odd_names.iter().map(|name| Finding {
            rule: Rule::Name,
            level,
            path: &name.path,
            commit: None,
            text: format!("the name {}", name.oddity),
        });
        violations.chain(schema).chain(signatures).chain(names).collect()
    }

    fn malformed(&self) -> &[Malformed] {
        self.malformed.map_or(&[], Vec::as_slice)
    }

    fn badly_signed(&self) -> &[Malformed] {
        self.badly_signed.map_or(&[], Vec::as_slice)
    }

    fn print_lines(&self) {
        for violation in &self.findings.violations {
            println!("{}", line(violation));
        }
        for file in self.malformed().iter().chain(self.badly_signed()) {
            let problems = file.problems.join("; ");
            println!("A  {}  {}  {problems}", readable(&file.path), short(file.commit));
        }
        let severity = if self.strict_names { "" } else { "warning: " };
        for name in self.odd_names {
            println!("{severity}A  {}  {}", readable(&name.path), name.oddity);
        }
        println!("{}", self.summary());
    }

    /// Prints one annotation per finding (GitHub Actions, *Workflow commands*). GitHub shows the first ten of a step next
    /// to the files, and all of them in the log.
    fn print_annotations(&self) {
        for finding in self.listed() {
            println!("{}", annotation(&finding));
        }
        println!("{}", data(&self.summary()));
    }

    fn summary(&self) -> String {
        let Findings {
            violation_count,
            commits,
            violations,
            ..
        } = self.findings;
        let checked = format!("{} in {}", self.paths, counted(*commits, "new commit"));
        let mut parts = Vec::new();
        if *violation_count > violations.len() {
            parts.push(format!("{} are listed", violations.len()));
        }
        match self.malformed() {
            [] => {}
            files => parts.push(format!("{} malformed", counted(files.len(), "new file"))),
        }
        match self.badly_signed() {
            [] => {}
            files => parts.push(format!("{} badly signed", counted(files.len(), "new file"))),
        }
        if self.strict_names && !self.odd_names.is_empty() {
            parts.push(counted(self.odd_names.len(), "odd name"));
        }
        match violation_count {
            0 if parts.is_empty() => format!("append-only: {checked}: kept"),
            0 => format!("append-only: {checked}: {}", parts.join(", ")),
            count => {
                parts.insert(0, counted(*count, "violation"));
                format!("append-only: {checked}: {}: {RULE}", parts.join(", "))
            }
        }
    }

    fn object(&self) -> Object<'_> {
        Object {
            outcome: if self.is_clean() { "clean" } else { "violated" },
            base: self.range.base.map(|id| id.to_string()),
            head: self.range.head.to_string(),
            paths: self.paths.names().collect(),
            commits: self.findings.commits,
            violations: self.findings.violations.iter().map(ViolationObject::from).collect(),
            violation_count: self.findings.violation_count,
            odd_names: self.odd_names.iter().map(OddNameObject::from).collect(),
            malformed: self.malformed.map(|files| objects(files)),
            badly_signed: self.badly_signed.map(|files| objects(files)),
        }
    }
}

impl From<&Violation> for ViolationObject {
    fn from(violation: &Violation) -> Self {
        let (path, old) = match &violation.to {
            Some(to) => (to, Some(&violation.path)),
            None => (&violation.path, None),
        };
        ViolationObject {
            status: violation.letter.as_str(),
            path: path.to_str_lossy().into_owned(),
            path_b64: base64(path.as_bstr()),
            old_path: old.map(|old| old.to_str_lossy().into_owned()),
            old_path_b64: old.and_then(|old| base64(old.as_bstr())),
            commit: violation.commit.to_string(),
        }
    }
}

impl From<&OddName> for OddNameObject {
    fn from(name: &OddName) -> Self {
        OddNameObject {
            path: name.path.to_str_lossy().into_owned(),
            path_b64: base64(name.path.as_bstr()),
            oddity: match name.oddity {
                Oddity::Bidirectional(_) => "bidirectional",
                Oddity::Invisible(_) => "invisible",
                Oddity::Case(_) => "case",
            },
            problem: name.oddity.to_string(),
        }
    }
}

impl<'a> From<&'a Malformed> for MalformedObject<'a> {
    fn from(file: &'a Malformed) -> Self {
        MalformedObject {
            path: file.path.to_str_lossy().into_owned(),
            path_b64: base64(file.path.as_bstr()),
            commit: file.commit.to_string(),
            problems: &file.problems,
        }
    }
}

fn objects(files: &[Malformed]) -> Vec<MalformedObject<'_>> {
    files.iter().map(MalformedObject::from).collect()
}

/// Returns the base64 of a name that is not UTF-8, else `None`.
fn base64(name: &BStr) -> Option<String> {
    name.to_str().is_err().then(|| BASE64_STANDARD.encode(name))
}

fn line(violation: &Violation) -> String {
    let to = violation.to.as_ref().map(|to| format!(" -> {}", readable(to)));
    format!(
        "{}  {}{}  {}",
        violation.letter.as_str(),
        readable(&violation.path),
        to.unwrap_or_default(),
        short(violation.commit)
    )
}

/// Returns a name for display. Escapes control characters, which could forge a line.
pub(super) fn readable(name: &BString) -> String {
    name.to_str_lossy().escape_debug().to_string()
}

pub(super) fn short(id: ObjectId) -> String {
    id.to_hex_with_len(10).to_string()
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn of_files(rule: Rule, files: &[Malformed]) -> impl Iterator<Item = Finding<'_>> {
    files.iter().map(move |file| Finding {
        rule,
        level: Level::Error,
        path: &file.path,
        commit: Some(file.commit),
        text: format!("in {}: {}", short(file.commit), file.problems.join("; ")),
    })
}

fn annotation(finding: &Finding<'_>) -> String {
    let (level, title) = (finding.level.word(), finding.rule.title());
    let file = property(&finding.path.to_str_lossy());
    format!("::{level} file={file},title={title}::{}", data(&finding.text))
}

/// Escapes text as the data of a workflow command.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Escapes text as the value of a property of a workflow command.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_ends_no_property_and_no_command() {
        let finding = Finding {
            rule: Rule::Schema,
            level: Level::Error,
            path: &BString::from("events/50%,a:b\r\n::error::x"),
            commit: None,
            text: "100%\nx: y, z".into(),
        };
        assert_eq!(
            annotation(&finding),
            "::error file=events/50%25%2Ca%3Ab%0D%0A%3A%3Aerror%3A%3Ax,title=event schema::100%25%0Ax: y, z"
        );
    }
}
