//! JSON Schemas in `docs/schemas/`: a validator that is not ours compares them with what the commands of the pages print.
use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use serde::Serialize;

/// What a command of a page printed, and the schema that describes it.
#[derive(Serialize)]
pub struct Printed {
    /// The page and the line.
    pub place: String,
    /// The name of the file, without `.json`.
    pub schema: String,
    /// Standard output.
    pub text: String,
}

/// Validates everything in one process. Returns what does not match, and schemas that describe nothing.
pub fn failures(printed: &[Printed]) -> Vec<String> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = project.join("target/sse/venv/bin/python");
    assert!(
        python.exists(),
        "{} is needed: tests/sse/install installs it",
        python.display()
    );
    let mut validator = Command::new(python)
        .arg(project.join("tests/cli/docs/schemas.py"))
        .arg(project.join("docs/schemas"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let input = serde_json::to_vec(printed).expect("JSON");
    validator
        .stdin
        .take()
        .expect("a pipe")
        .write_all(&input)
        .expect("it reads");
    let output = validator.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", output.status);
    let lines = String::from_utf8(output.stdout).expect("UTF-8");
    lines.lines().map(str::to_owned).collect()
}
