//! Findings as SARIF 2.1.0 (OASIS, *Static Analysis Results Interchange Format*), for code scanning.
use std::fmt::Write;

use bstr::BString;
use serde_json::{Value, json};

use super::{
    super::NAME,
    findings::{Finding, Rule},
};

const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// Returns the log file (section 3.13) with a single run.
pub(super) fn log(findings: &[Finding<'_>], summary: &str) -> Value {
    let rule = |rule: Rule| json!({"id": id(rule), "shortDescription": {"text": rule.text()}});
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": NAME,
                "version": env!("CARGO_PKG_VERSION"),
                "rules": Rule::ALL.map(rule),
            }},
            "results": findings.iter().map(result).collect::<Vec<_>>(),
            "properties": {"summary": summary},
        }],
    })
}

/// Returns a result (section 3.27). A change of a file is shown at its first line, because code scanning asks for one.
fn result(finding: &Finding<'_>) -> Value {
    let uri = uri(finding.path);
    let commit = finding.commit.map(|id| id.to_string()).unwrap_or_default();
    json!({
        "ruleId": id(finding.rule),
        "ruleIndex": finding.rule as usize,
        "level": finding.level.word(),
        "message": {"text": finding.text},
        "partialFingerprints": {"commitAndPath/v1": format!("{commit}:{uri}")},
        "locations": [{"physicalLocation": {
            "artifactLocation": {"uri": uri, "uriBaseId": "%SRCROOT%"},
            "region": {"startLine": 1},
        }}],
    })
}

fn id(rule: Rule) -> String {
    rule.title().replace(' ', "-")
}

/// Returns a path as a relative reference (RFC 3986, section 4.2), byte by byte.
fn uri(path: &BString) -> String {
    let mut uri = String::with_capacity(path.len());
    for &byte in path.iter() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            write!(uri, "%{byte:02X}").expect("memory takes everything");
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_relative_reference() {
        assert_eq!(
            uri(&b"events/a b:%\xff~.json"[..].into()),
            "events/a%20b%3A%25%FF~.json"
        );
    }
}
