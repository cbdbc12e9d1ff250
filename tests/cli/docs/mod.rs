//! Tests of README.md and `docs/`: every command works, every flag and link exists, and every subcommand and setting is
//! documented.
mod markdown;
mod sandbox;
mod schemas;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use markdown::{Block, How, Page};
use sandbox::Sandbox;
use schemas::Printed;
use serde_json::Value;

/// Languages of blocks that are not commands.
const OTHER_LANGUAGES: [&str; 5] = ["text", "json", "ini", "yaml", "rust"];

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The overview, and all pages below `docs/`.
fn pages() -> Vec<Page> {
    let names = fs::read_dir(project().join("docs")).expect("docs/");
    let names = names.map(|entry| entry.expect("a name").file_name().into_string().expect("UTF-8"));
    let names = names.filter(|name| name.ends_with(".md"));
    let mut names: Vec<_> = names.map(|name| format!("docs/{name}")).collect();
    names.sort();
    names.insert(0, "README.md".into());
    names.iter().map(|name| Page::read(name)).collect()
}

/// Fails with all failures.
fn assert_none(failures: &[String]) {
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n\n"));
}

#[test]
fn every_command_works_and_its_json_matches_the_schema() {
    let pages = pages();
    let (failures, printed): (Vec<_>, Vec<_>) = thread::scope(|scope| {
        let running: Vec<_> = pages.iter().map(|page| scope.spawn(|| run(page))).collect();
        running
            .into_iter()
            .map(|page| page.join().expect("it does not panic"))
            .unzip()
    });
    let printed: Vec<_> = printed.into_iter().flatten().collect();
    let mut failures = failures.concat();
    failures.extend(schemas::failures(&printed));
    assert_none(&failures);
}

/// Runs the blocks of a page in order, in one sandbox. Returns failures, and the outputs that a schema describes.
fn run(page: &Page) -> (Vec<String>, Vec<Printed>) {
    let (mut failures, mut printed) = (Vec::new(), Vec::new());
    let is_run = |block: &Block| block.language == "sh" && !matches!(block.how, How::NotRun(_));
    if !page.blocks.iter().any(is_run) {
        return (failures, printed);
    }
    let mut sandbox = Sandbox::new();
    let mut stdout = String::new();
    for block in &page.blocks {
        let place = format!("{}:{}", page.name, block.line);
        let failure = failure_of(block, &mut sandbox, &mut stdout);
        failures.extend(failure.map(|what| format!("{place}: {what}")));
        if let How::Output(Some(schema)) = &block.how {
            let (schema, text) = (schema.clone(), stdout.clone());
            printed.push(Printed { place, schema, text });
        }
    }
    let ended = sandbox.end().into_iter();
    failures.extend(ended.map(|what| format!("{}: {what}", page.name)));
    (failures, printed)
}

/// Runs a block, or compares it with `stdout` of the block before it.
fn failure_of(block: &Block, sandbox: &mut Sandbox, stdout: &mut String) -> Option<String> {
    match (block.language.as_str(), &block.how) {
        ("sh", How::Exits(code)) => {
            let output = sandbox.run(&block.text);
            *stdout = String::from_utf8_lossy(&output.stdout).into_owned();
            let stderr = String::from_utf8_lossy(&output.stderr);
            let failed = output.status.code() != Some(*code);
            failed.then(|| format!("{}\n{}{stdout}{stderr}", output.status, block.text))
        }
        ("sh", How::Service) => sandbox.serve(&block.text).err(),
        ("sh", How::Starts) => sandbox.serve(&block.text).err().or_else(|| sandbox.end_last()),
        ("json", How::Output(_)) => unlike(block, stdout),
        _ => None,
    }
}

/// Compares the keys of the documented output with those of the real one.
fn unlike(block: &Block, stdout: &str) -> Option<String> {
    let documented: Value = serde_json::from_str(&block.text).expect("JSON");
    let Ok(real) = serde_json::from_str(stdout) else {
        return Some(format!("not one JSON object: {stdout}"));
    };
    differs(&documented, &real, "").map(|place| format!("{place} differs from the output {stdout}"))
}

/// Returns the first place where two values have different keys. Null and empty values are not compared.
fn differs(documented: &Value, real: &Value, place: &str) -> Option<String> {
    match (documented, real) {
        (Value::Object(documented), Value::Object(real)) => {
            if documented.keys().collect::<BTreeSet<_>>() != real.keys().collect() {
                return Some(format!("{place}{{}}"));
            }
            documented
                .iter()
                .find_map(|(key, value)| differs(value, &real[key], &format!("{place}.{key}")))
        }
        (Value::Array(documented), Value::Array(real)) => {
            differs(documented.first()?, real.first()?, &format!("{place}[0]"))
        }
        _ => None,
    }
}

#[test]
fn every_block_has_a_language_that_the_tests_know() {
    let known = |block: &Block| match (block.language.as_str(), &block.how) {
        ("sh", How::Output(_)) => false,
        ("text" | "ini" | "yaml" | "rust", How::Output(_) | How::Service | How::Starts) => false,
        ("sh", _) => true,
        (language, _) => OTHER_LANGUAGES.contains(&language),
    };
    let pages = pages();
    let unknown = pages.iter().flat_map(|page| {
        let blocks = page.blocks.iter().filter(|block| !known(block));
        blocks.map(|block| format!("{}:{}: {}", page.name, block.line, block.language))
    });
    assert_none(&unknown.collect::<Vec<_>>());
}

/// The help of each command, by its words after the program's name.
struct Helps(BTreeMap<Vec<String>, String>);

impl Helps {
    fn read() -> Self {
        let mut helps = Helps(BTreeMap::new());
        helps.add(&[]);
        helps
    }

    fn add(&mut self, words: &[String]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stargate-mirror"));
        let output = command.args(words).arg("--help").output().expect("it runs");
        let help = String::from_utf8(output.stdout).expect("UTF-8");
        let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
        let listed = listed.take_while(|line| !line.is_empty());
        let names = listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
        let names: Vec<_> = names
            .filter(|name| !name.is_empty() && *name != "help")
            .map(str::to_owned)
            .collect();
        self.0.insert(words.to_vec(), help);
        for name in names {
            self.add(&[words, &[name]].concat());
        }
    }

    /// The help of the command that these words begin with.
    fn of(&self, words: &[&str]) -> Option<&str> {
        let longest = (1..=words.len().min(2))
            .rev()
            .map(|length| words[..length].iter().map(|&word| word.to_owned()));
        longest
            .map(Iterator::collect::<Vec<_>>)
            .find_map(|words| self.0.get(&words))
            .map(String::as_str)
    }

    /// Reports a flag that no command has, at the beginning of `line`.
    fn unknown_flag(&self, line: &str) -> Option<String> {
        let flag = name_of(line.split(' ').next()?);
        let known = self.0.values().any(|help| has(help, flag));
        (!known).then(|| format!("no command has {flag}"))
    }

    /// Checks a command line that names the program: the command and its flags exist.
    fn problem_of(&self, line: &str) -> Option<String> {
        let words: Vec<_> = line.split(|char: char| char.is_whitespace() || char == ';').collect();
        let at = words
            .iter()
            .position(|word| word.rsplit('/').next() == Some("stargate-mirror"))?;
        let words: Vec<_> = words[at + 1..]
            .iter()
            .copied()
            .take_while(|&word| word != "|")
            .collect();
        let first = *words.first()?;
        if first.starts_with('-') || first.starts_with('…') {
            return None;
        }
        let Some(help) = self.of(&words) else {
            return Some(format!("no such command: {line}"));
        };
        let flags = words.iter().filter(|word| word.starts_with("--"));
        flags
            .map(|word| name_of(word))
            .find(|flag| !has(help, flag))
            .map(|flag| format!("no {flag} in: {line}"))
    }
}

/// A flag without its value.
fn name_of(word: &str) -> &str {
    word.split(['=', '[']).next().unwrap_or(word)
}

/// Returns true if a help text lists this flag.
fn has(help: &str, flag: &str) -> bool {
    let mut after = help.split(flag).skip(1);
    after.any(|rest| !rest.starts_with(|char: char| char.is_alphanumeric() || char == '-'))
}

#[test]
fn commands_and_flags_that_are_only_named_exist() {
    let helps = Helps::read();
    let mut failures = Vec::new();
    for page in pages() {
        let quoted = page.blocks.iter().filter(|block| matches!(block.how, How::NotRun(_)));
        let quoted = quoted.flat_map(|block| block.text.lines().map(|line| (block.line, line)));
        for (number, line) in page.spans().chain(quoted) {
            let problem = if line.starts_with("--") {
                helps.unknown_flag(line)
            } else {
                helps.problem_of(line).or_else(|| missing_target(line))
            };
            failures.extend(problem.map(|problem| format!("{}:{number}: {problem}", page.name)));
        }
    }
    assert_none(&failures);
}

/// Reports a test, a bench or an example that a cargo command line names and that does not exist.
fn missing_target(line: &str) -> Option<String> {
    let words: Vec<_> = line.split(' ').collect();
    let named = words.windows(2).filter_map(|pair| match pair[0] {
        "--test" => Some(("tests", pair[1])),
        "--bench" => Some(("benches", pair[1])),
        "--example" => Some(("examples", pair[1])),
        _ => None,
    });
    named
        .filter(|_| words.contains(&"cargo"))
        .map(|(folder, name)| project().join(folder).join(name))
        .find(|path| !path.with_extension("rs").is_file() && !path.join("main.rs").is_file())
        .map(|path| format!("there is no {}", path.display()))
}

#[test]
fn every_command_is_documented() {
    let all: String = pages()
        .iter()
        .flat_map(|page| page.blocks.iter().map(|block| block.text.clone()))
        .collect();
    let helps = Helps::read();
    let leaves = helps.0.keys().filter(|words| {
        let below = |other: &&Vec<String>| other.len() > words.len() && other.starts_with(words);
        !helps.0.keys().any(|other| below(&other))
    });
    let undocumented = leaves.filter(|words| {
        let shown = |line: &str| {
            line.contains(&format!("stargate-mirror {}", words[0])) && line.contains(&words[words.len() - 1])
        };
        !all.replace("cargo run --release -- ", "stargate-mirror ")
            .lines()
            .any(shown)
    });
    assert_none(&undocumented.map(|words| words.join(" ")).collect::<Vec<_>>());
}

/// The settings `stargate.…` that a text names between these two characters.
fn settings(text: &str, quote: char) -> BTreeSet<String> {
    let start = format!("{quote}stargate.");
    let names = text.split(&start).skip(1);
    let names = names.map(|rest| {
        rest.split(|char: char| !char.is_ascii_alphanumeric())
            .next()
            .unwrap_or_default()
    });
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[test]
fn every_setting_is_in_the_reference_and_no_other() {
    let source = fs::read_to_string(project().join("src/config/keys.rs")).expect("src/config/keys.rs");
    let mut known = settings(&source, '"');
    // It belongs to the transport.
    known.insert("insecureHttp".into());
    let page = fs::read_to_string(project().join("docs/configuration.md")).expect("docs/configuration.md");
    let table = page
        .lines()
        .filter(|line| line.starts_with("| `stargate."))
        .collect::<Vec<_>>()
        .join("\n");
    assert_eq!(settings(&table, '`'), known);
}

#[test]
fn every_link_resolves() {
    let mut failures = Vec::new();
    let others = ["SECURITY.md", "CONTRIBUTING.md"].map(Page::read);
    for page in pages().into_iter().chain(others) {
        for (number, target) in page.links() {
            if target.contains("://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = match file {
                "" => PathBuf::from(&page.name),
                file => normal(&Path::new(&page.name).with_file_name(file)),
            };
            let there = project().join(&path).exists()
                && (anchor.is_empty()
                    || Page::read(&path.display().to_string())
                        .anchors()
                        .any(|found| found == anchor));
            if !there {
                failures.push(format!("{}:{number}: {target}", page.name));
            }
        }
    }
    assert_none(&failures);
}

/// The book has every page once. GitHub shows `docs/README.md` as the start of the folder.
#[test]
fn the_book_has_every_page() {
    let summary = Page::read("docs/SUMMARY.md");
    let mut listed: Vec<_> = summary.links().map(|(_, target)| format!("docs/{target}")).collect();
    listed.extend(["README.md".into(), "docs/SUMMARY.md".into()]);
    listed.sort();
    let mut all: Vec<_> = pages().into_iter().map(|page| page.name).collect();
    all.sort();
    assert_eq!(listed, all);
}

/// A path without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            std::path::Component::ParentDir => drop(normal.pop()),
            other => normal.push(other),
        }
    }
    normal
}

/// The Debian package has the pages below `/usr/share/doc`, so it needs every file that they link to.
#[test]
fn the_debian_package_has_what_its_pages_link_to() {
    let manifest = fs::read_to_string(project().join("Cargo.toml")).expect("Cargo.toml");
    let assets: Vec<(PathBuf, PathBuf)> = manifest
        .lines()
        .filter_map(|line| {
            let mut words = line.trim().strip_prefix("[\"")?.split("\", \"");
            let (source, target) = (words.next()?, words.next()?);
            let target = target.strip_prefix("usr/share/doc/stargate-mirror/")?;
            Some((source.into(), target.into()))
        })
        .collect();
    let is_packaged = |file: &Path| {
        assets.iter().any(|(source, target)| {
            let pattern = source.file_name().and_then(|name| name.to_str()).expect("a name");
            let end = pattern.trim_start_matches('*');
            let is_match = match pattern.starts_with('*') {
                true => file.parent() == source.parent() && file.to_string_lossy().ends_with(end),
                false => file == source,
            };
            is_match && target.join(file.file_name().unwrap_or_default()) == file
        })
    };
    let mut failures = Vec::new();
    for page in pages() {
        for (number, target) in page.links().filter(|(_, target)| !target.contains("://")) {
            let file = target.split('#').next().unwrap_or_default();
            let path = normal(&Path::new(&page.name).with_file_name(file));
            if !file.is_empty() && !is_packaged(&path) {
                failures.push(format!("{}:{number}: {target}", page.name));
            }
        }
    }
    assert!(
        is_packaged(Path::new("monitoring/rules.yml")),
        "docs/monitoring.md names it"
    );
    assert_none(&failures);
}
