//! `check append-only --format sarif` and `--format junit`, read as the programs that they are for read them.
use serde_json::{Value, json};
use support::{
    git::git_with_input,
    stargate::{clean_command, feed},
};

use crate::check::{Repository, stdout};

/// Prints each test suite, and each test case with its failure or output, as lists of JSON.
const READ_JUNIT: &str = "\
import json, sys
from xml.etree import ElementTree
for suite in ElementTree.parse(sys.stdin.buffer).getroot().iter('testsuite'):
    print(json.dumps([suite.get('name'), suite.get('tests'), suite.get('failures')]))
    for case in suite.iter('testcase'):
        print(json.dumps([case.get('name'), case.get('file'), case.findtext('failure'), case.findtext('system-out')]))
";

/// A branch `work` with one finding of each rule except that of signatures. Returns its commit.
fn with_findings() -> (Repository, String) {
    let repository = Repository::new();
    repository.git(&["checkout", "-q", "-b", "work"]);
    repository.git(&["mv", "events/f/a.json", "notes/a <&> \"b\": %.json"]);
    repository.write("events/f/2026-01-10/e.json", "{}");
    repository.write("events/f/B.json", "{}");
    let commit = repository.commit("all");
    (repository, commit)
}

const ARGUMENTS: [&str; 4] = ["--base", "main", "--schema", "--format"];

#[test]
fn sarif_has_what_the_standard_and_code_scanning_require() {
    let (repository, commit) = with_findings();
    let output = repository.check(&[&ARGUMENTS[..], &["sarif"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let log: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    // Required members: sarifLog (3.13), run (3.14), toolComponent (3.19), reportingDescriptor (3.49), result (3.27).
    assert_eq!(log["version"], "2.1.0");
    assert!(
        log["$schema"]
            .as_str()
            .is_some_and(|url| url.ends_with("/sarif-schema-2.1.0.json"))
    );
    let run = &log["runs"][0];
    assert_eq!(run["tool"]["driver"]["name"], "stargate-mirror");
    let rules = run["tool"]["driver"]["rules"].as_array().expect("a list");
    let results = run["results"].as_array().expect("a list");
    let mut found = Vec::new();
    for result in results {
        let index = result["ruleIndex"].as_u64().expect("a number") as usize;
        assert_eq!(rules[index]["id"], result["ruleId"]);
        assert!(result["message"]["text"].is_string(), "{result}");
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["region"]["startLine"], 1);
        let text = |value: &Value| value.as_str().expect("a string").to_owned();
        let uri = &place["artifactLocation"]["uri"];
        found.push([&result["ruleId"], &result["level"], uri].map(text));
    }
    found.sort();
    let moved = "notes/a%20%3C%26%3E%20%22b%22%3A%20%25.json";
    let expected = [
        ["append-only", "error", moved],
        ["event-schema", "error", "events/f/2026-01-10/e.json"],
        ["event-schema", "error", "events/f/B.json"],
        ["odd-name", "warning", "events/f/B.json"],
    ];
    assert_eq!(found, expected);
    assert_eq!(
        results[0]["partialFingerprints"]["commitAndPath/v1"],
        format!("{commit}:{moved}")
    );
    let clean = stdout(&repository.check(&["--base", "work", "--format", "sarif"]));
    let clean: Value = serde_json::from_str(&clean).expect("JSON");
    assert_eq!(clean["runs"][0]["results"], json!([]));
}

/// Reads a report with Python's XML parser.
fn read_junit(report: &str) -> Vec<Value> {
    let mut command = clean_command("python3");
    command.args(["-c", READ_JUNIT]);
    let output = feed(command, report);
    assert!(output.status.success(), "not XML: {report}");
    let lines = stdout(&output);
    lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

#[test]
fn junit_is_xml_with_a_suite_for_each_rule_and_a_case_for_each_finding() {
    let (repository, commit) = with_findings();
    let commit = &commit[..10];
    let output = repository.check(&[&ARGUMENTS[..], &["junit"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let read = read_junit(&stdout(&output));
    let rule = "existing files must not be changed, moved or deleted; write corrections as new events";
    let moved = "notes/a <&> \\\"b\\\": %.json";
    assert_eq!(read[0], json!(["append-only", "1", "1"]));
    let failure = format!("R  events/f/a.json -> {moved}  {commit}\n{rule}");
    assert_eq!(read[1], json!([format!("{moved} in {commit}"), moved, failure, null]));
    assert_eq!(read[2], json!(["event schema", "2", "2"]));
    assert_eq!(read[5], json!(["odd name", "1", "0"]));
    let warning = "the name differs only in case from events/f/b.json";
    assert_eq!(read[6], json!(["events/f/B.json", "events/f/B.json", null, warning]));

    let clean = read_junit(&stdout(&repository.check(&["--base", "work", "--format", "junit"])));
    assert_eq!(
        clean[..2],
        [json!(["append-only", "1", "0"]), json!([rule, null, null, null])]
    );
}

#[test]
fn junit_is_xml_with_any_name() {
    let repository = Repository::new();
    let blob = git_with_input(repository.path(), &["hash-object", "-w", "--stdin"], b"x");
    let line = [
        format!("100644 {blob}\tevents/").as_bytes(),
        b"\x01\xff]]>\xef\xbf\xbf\0",
    ]
    .concat();
    git_with_input(repository.path(), &["update-index", "-z", "--index-info"], &line);
    repository.git(&["commit", "-q", "-m", "added"]);
    let report = stdout(&repository.check(&["--base", "HEAD~1", "--schema", "--format", "junit"]));
    let read = read_junit(&report);
    assert_eq!(read[3][1], json!("events/\\u{1}\u{fffd}]]>\\u{ffff}"));
}
