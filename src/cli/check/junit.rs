//! Findings as XML of JUnit, in the form that Jenkins and GitLab read: a test suite for each rule, a test case for each
//! finding.
use std::fmt::{self, Write};

use super::findings::{Finding, Level, Rule, readable, short};

/// Returns the document. A rule that was checked without a finding is one test case that passes.
pub(super) fn document(findings: &[Finding<'_>], checked: &[Rule], summary: &str) -> String {
    let mut document = String::new();
    write_document(&mut document, findings, checked, summary).expect("memory takes everything");
    document
}

fn write_document(out: &mut String, findings: &[Finding<'_>], checked: &[Rule], summary: &str) -> fmt::Result {
    writeln!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
    writeln!(out, "<testsuites name=\"check append-only\">")?;
    for &rule in checked {
        let found: Vec<_> = findings.iter().filter(|finding| finding.rule == rule).collect();
        let failures = found.iter().filter(|finding| finding.level == Level::Error).count();
        let (name, tests) = (rule.title(), found.len().max(1));
        writeln!(
            out,
            "  <testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" skipped=\"0\">"
        )?;
        if found.is_empty() {
            writeln!(
                out,
                "    <testcase classname=\"{name}\" name=\"{}\"/>",
                escaped(rule.text())
            )?;
        }
        found.into_iter().try_for_each(|finding| write_case(out, finding))?;
        if rule == Rule::AppendOnly {
            writeln!(out, "    <system-out>{}</system-out>", escaped(summary))?;
        }
        writeln!(out, "  </testsuite>")?;
    }
    writeln!(out, "</testsuites>")
}

/// Writes a finding. A warning is a test that passes and has an output.
fn write_case(out: &mut String, finding: &Finding<'_>) -> fmt::Result {
    let (class, path, text) = (
        finding.rule.title(),
        escaped(&readable(finding.path)),
        escaped(&finding.text),
    );
    let commit = finding
        .commit
        .map(|id| format!(" in {}", short(id)))
        .unwrap_or_default();
    writeln!(
        out,
        "    <testcase classname=\"{class}\" name=\"{path}{commit}\" file=\"{path}\">"
    )?;
    match finding.level {
        Level::Error => writeln!(
            out,
            "      <failure message=\"{text}\" type=\"{class}\">{text}</failure>"
        )?,
        Level::Warning => writeln!(out, "      <system-out>{text}</system-out>")?,
    }
    writeln!(out, "    </testcase>")
}

/// Escapes text for content and for attributes. Characters that XML 1.0 does not allow (section 2.2) become U+FFFD.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // In an attribute, a line feed itself would be read as a space.
            '\n' => escaped.push_str("&#10;"),
            '\t' => escaped.push_str("&#9;"),
            '\0'..' ' => escaped.push('\u{fffd}'),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            char => escaped.push(char),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_ends_no_element_and_no_attribute() {
        assert_eq!(
            escaped("a<b> & \"c\"\n\u{1}\u{ffff} ü"),
            "a&lt;b&gt; &amp; &quot;c&quot;&#10;\u{fffd}\u{fffd} ü"
        );
    }
}
