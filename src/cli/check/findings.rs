//! Report of `check append-only`, in its three formats.
use base64::{Engine, prelude::BASE64_STANDARD};
use bstr::{BStr, BString, ByteSlice};
use gix::ObjectId;
use serde::Serialize;

use crate::{
    append_only::{Findings, Malformed, OddName, Paths, RULE, Range, Violation},
    odd_name::Oddity,
};

/// Output format.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum Format {
    Human,
    Github,
    Json,
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
        }
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
        for violation in &self.findings.violations {
            let file = violation.to.as_ref().unwrap_or(&violation.path);
            println!(
                "{}",
                annotation(file, "append-only", &format!("{}\n{RULE}", line(violation)))
            );
        }
        let titled = |files: &[Malformed], title| {
            for file in files {
                let text = format!("in {}: {}", short(file.commit), file.problems.join("; "));
                println!("{}", annotation(&file.path, title, &text));
            }
        };
        titled(self.malformed(), "event schema");
        titled(self.badly_signed(), "event signature");
        let level = if self.strict_names { "error" } else { "warning" };
        for name in self.odd_names {
            let text = format!("the name {}", name.oddity);
            println!("{}", annotation_of(level, &name.path, "odd name", &text));
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
fn readable(name: &BString) -> String {
    name.to_str_lossy().escape_debug().to_string()
}

fn short(id: ObjectId) -> String {
    id.to_hex_with_len(10).to_string()
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn annotation(file: &BString, title: &str, text: &str) -> String {
    annotation_of("error", file, title, text)
}

fn annotation_of(level: &str, file: &BString, title: &str, text: &str) -> String {
    let file = property(&file.to_str_lossy());
    format!("::{level} file={file},title={title}::{}", data(text))
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
        let name = BString::from("events/50%,a:b\r\n::error::x");
        assert_eq!(
            annotation(&name, "t", "100%\nx: y, z"),
            "::error file=events/50%25%2Ca%3Ab%0D%0A%3A%3Aerror%3A%3Ax,title=t::100%25%0Ax: y, z"
        );
    }
}
