//! A parser of documentation pages: blocks of code, code in the text, links, headings.
//!
//! A comment in the line before a block defines how it is run:
//!
//! ```text
//! <!-- norun: why -->     it is not run
//! <!-- exit 3: why -->    it exits with 3; without a comment it exits with 0
//! <!-- service -->        it runs until the page ends, and then exits with 0 after SIGTERM
//! <!-- starts -->         the same, but it is ended as soon as it is ready
//! <!-- output -->         JSON with the keys that the block before it prints
//! <!-- output: run -->    the same, and what is printed matches docs/schemas/run.json
//! <!-- setup              commands that run, hidden from the reader
//! -->
//! ```
use std::path::Path;

/// The way in which a block is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// It exits with this code.
    Exits(i32),
    /// It runs until the page ends.
    Service,
    /// It runs until it is ready.
    Starts,
    /// It is not run, for this reason.
    NotRun(String),
    /// It is what the block before it prints. A schema may describe it.
    Output(Option<String>),
}

/// A fenced block, or hidden setup (of language `sh`).
#[derive(Debug, Clone)]
pub struct Block {
    /// The word after the fence.
    pub language: String,
    /// The number of its first line in the page.
    pub line: usize,
    /// Its text, each line with its line feed.
    pub text: String,
    /// The way in which it is run.
    pub how: How,
}

/// A parsed page.
#[derive(Debug)]
pub struct Page {
    /// Its path in the project.
    pub name: String,
    /// Its blocks, in order.
    pub blocks: Vec<Block>,
    /// Its lines outside of blocks and comments, with their numbers.
    pub prose: Vec<(usize, String)>,
}

impl Page {
    /// Reads the page at `name` in the project.
    ///
    /// # Panics
    /// It cannot be read, or a comment or a fence is not understood.
    pub fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut page = Page {
            name: name.to_owned(),
            blocks: Vec::new(),
            prose: Vec::new(),
        };
        let mut lines = (1..).zip(text.lines());
        let mut how = None;
        while let Some((number, line)) = lines.next() {
            if let Some(language) = line.strip_prefix("```") {
                let text = until(&mut lines, "```", name);
                page.push(number, language, text, how.take());
            } else if line == "<!-- setup" {
                let text = until(&mut lines, "-->", name);
                page.push(number, "sh", text, None);
            } else if let Some(comment) = line.strip_prefix("<!-- ") {
                let comment = comment
                    .strip_suffix(" -->")
                    .unwrap_or_else(|| panic!("{name}:{number}: {line}"));
                how = directive(comment).or(how);
            } else {
                assert!(
                    how.is_none(),
                    "{name}:{number}: the comment above stands before no block"
                );
                assert!(
                    !line.starts_with("    "),
                    "{name}:{number}: an indented block is not run; use a fence"
                );
                page.prose.push((number, line.to_owned()));
            }
        }
        page
    }

    fn push(&mut self, line: usize, language: &str, text: String, how: Option<How>) {
        self.blocks.push(Block {
            language: language.to_owned(),
            line,
            text,
            how: how.unwrap_or(How::Exits(0)),
        });
    }

    /// Code in the text, with the numbers of its lines.
    pub fn spans(&self) -> impl Iterator<Item = (usize, &str)> {
        for (number, line) in &self.prose {
            assert!(
                line.matches('`').count() % 2 == 0,
                "{}:{number}: code over two lines",
                self.name
            );
        }
        self.prose
            .iter()
            .flat_map(|(number, line)| line.split('`').skip(1).step_by(2).map(|span| (*number, span)))
    }

    /// Targets of its links, with the numbers of their lines.
    pub fn links(&self) -> impl Iterator<Item = (usize, &str)> {
        self.prose.iter().flat_map(|(number, line)| {
            let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            targets.map(|target| (*number, target))
        })
    }

    /// The anchors of its headings, as GitHub makes them.
    pub fn anchors(&self) -> impl Iterator<Item = String> {
        let headings = self.prose.iter().filter(|(_, line)| line.starts_with('#'));
        headings.map(|(_, line)| {
            let text = line.trim_start_matches('#').trim().to_lowercase();
            let kept = text
                .chars()
                .filter(|&char| char.is_alphanumeric() || " -_".contains(char));
            kept.map(|char| if char == ' ' { '-' } else { char }).collect()
        })
    }
}

/// The lines up to this one.
fn until<'a>(lines: &mut impl Iterator<Item = (usize, &'a str)>, end: &str, name: &str) -> String {
    let mut text = String::new();
    for (_, line) in lines.by_ref() {
        if line == end {
            return text;
        }
        text += line;
        text.push('\n');
    }
    panic!("{name}: a block without an end");
}

/// Parses a comment about the block after it. Returns nothing for `tests`, a mark that `.ci/run` reads.
fn directive(comment: &str) -> Option<How> {
    let (word, reason) = comment.split_once(": ").unwrap_or((comment, ""));
    match word.split_once(' ').unwrap_or((word, "")) {
        ("norun", "") => {
            assert!(reason.split(' ').count() > 2, "why is it not run? {comment}");
            Some(How::NotRun(reason.to_owned()))
        }
        ("exit", code) => {
            assert!(!reason.is_empty(), "why does it exit so? {comment}");
            Some(How::Exits(code.parse().expect("an exit code")))
        }
        ("service", "") => Some(How::Service),
        ("starts", "") => Some(How::Starts),
        ("output", "") => Some(How::Output((!reason.is_empty()).then(|| reason.to_owned()))),
        ("tests", "") => None,
        _ => panic!("not a comment that the tests know: {comment}"),
    }
}
