//! Mirrors of a repository.
//!
//! Each value of `stargate.remote` is a mirror, and so is each section `[stargate "NAME"]` with a `remote`. Values of a
//! later configuration file (user, repository, environment) replace those of an earlier one. An empty value removes the
//! earlier ones.
use std::{fmt::Write, path::Path};

use bstr::{BStr, BString, ByteSlice};
use gix::config::Source;

use super::{Config, Problem, git_config};

/// Longest name of a mirror as part of a file name, in bytes.
const MAX_NAME: usize = 200;

/// Settings of a repository.
#[derive(Debug, Clone)]
pub struct Mirrors {
    /// Settings of `[stargate]`, for what concerns no single mirror.
    pub repository: Config,
    /// Settings of each mirror, those of `stargate.remote` first. Without any mirror, a single element without a remote.
    pub each: Vec<Config>,
}

impl Mirrors {
    /// Reads the settings of the repository at `git_dir`.
    ///
    /// # Errors
    /// See [`git_config()`]; a single bad value is a [`Problem`] instead.
    pub fn load(git_dir: &Path) -> Result<Self, gix::Error> {
        Ok(Mirrors::from_git_config(&git_config(git_dir)?))
    }

    /// Creates the settings from git configuration.
    pub fn from_git_config(file: &gix::config::File) -> Self {
        let repository = Config::from_git_config(file);
        let mut mirrors = Mirrors::of(repository);
        mirrors.each.clear();
        for remote in plain_remotes(file) {
            let name = without_secrets(&remote.to_str_lossy());
            mirrors.add(Config {
                name,
                remote: Some(remote),
                ..mirrors.repository.clone()
            });
        }
        for (section, remote) in named_remotes(file) {
            mirrors.add(Config {
                name: section.to_string(),
                remote: Some(remote),
                ..Config::read(file, Some(section.as_bstr()))
            });
        }
        if mirrors.each.is_empty() {
            mirrors.each.push(mirrors.repository.clone());
        }
        mirrors
    }

    /// Returns the settings of a repository with these and no other mirror.
    pub fn of(repository: Config) -> Self {
        Mirrors {
            each: vec![repository.clone()],
            repository,
        }
    }

    /// Adds a mirror. Its name must differ from the others, because it is in a file name.
    fn add(&mut self, mut mirror: Config) {
        let is_same = |other: &Config| other.name.eq_ignore_ascii_case(&mirror.name);
        let why = if self.each.iter().any(is_same) {
            format!("another mirror has the name {}", mirror.name)
        } else if encoded(&mirror.name).len() > MAX_NAME {
            "it is too long for the name of a mirror; put it into a section [stargate \"NAME\"]".to_owned()
        } else {
            return self.each.push(mirror);
        };
        mirror.problems.push(Problem {
            key: mirror.key("remote"),
            value: without_secrets(&mirror.remote.clone().unwrap_or_default().to_str_lossy()).into(),
            why,
        });
        self.each.push(mirror);
    }

    /// Returns true if this configuration names a mirror.
    pub fn is_any_in(file: &gix::config::File) -> bool {
        !plain_remotes(file).is_empty() || !named_remotes(file).is_empty()
    }

    /// Returns true if there is more than one mirror.
    pub fn are_several(&self) -> bool {
        self.each.len() > 1
    }

    /// Returns the names of all mirrors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.each.iter().map(|mirror| mirror.name.as_str())
    }

    /// Returns true if a mirror has the ref of this name.
    pub fn has(&self, name: &BStr) -> bool {
        self.each.iter().any(|mirror| mirror.refs.matches(name))
    }

    /// Returns the invalid values, each once.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = self.repository.problems.clone();
        for problem in self.each.iter().flat_map(|mirror| &mirror.problems) {
            if !problems.contains(problem) {
                problems.push(problem.clone());
            }
        }
        problems
    }
}

/// Returns the name of the worker's memory of the mirror at this place in [`Mirrors::each`]. The first one has the name
/// that a single mirror has.
pub fn memory_file(place: usize, name: &str) -> String {
    format!("{}.json", file_of("worker", place, name))
}

/// Returns the name of the worker's lock of the mirror at this place.
pub fn lock_file(place: usize, name: &str) -> String {
    format!("{}.lock", file_of("worker", place, name))
}

/// Returns the name of the memory of alerts about the mirror at this place.
pub fn alerts_file(place: usize, name: &str) -> String {
    format!("{}.json", file_of("alerts", place, name))
}

/// Returns the name of the lock of the memory of alerts about the mirror at this place.
pub fn alerts_lock_file(place: usize, name: &str) -> String {
    format!("{}.lock", file_of("alerts", place, name))
}

/// Returns the name of the mirror whose memory of alerts has this file name; none for other files and for the first mirror.
pub fn mirror_of_alerts_file(file: &str) -> Option<String> {
    let name = decoded(file.strip_prefix("alerts.")?.strip_suffix(".json")?)?;
    (alerts_file(1, &name) == file).then_some(name)
}

fn file_of(what: &str, place: usize, name: &str) -> String {
    if place == 0 {
        what.to_owned()
    } else {
        format!("{what}.{}", encoded(name))
    }
}

/// Returns a name in which every byte that is special in a path is written as `%` and two digits.
fn encoded(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02x}");
        }
    }
    encoded
}

/// Returns the name that was [`encoded()`], if it was one.
fn decoded(encoded: &str) -> Option<String> {
    let mut parts = encoded.split('%');
    let mut name = parts.next()?.as_bytes().to_owned();
    for part in parts {
        name.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        name.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(name).ok()
}

/// Returns the mirrors of `stargate.remote`.
pub(super) fn plain_remotes(file: &gix::config::File) -> Vec<BString> {
    let mut remotes = Vec::new();
    for remote in last_values(file, None, "remote").0 {
        if !remotes.contains(&remote) {
            remotes.push(remote);
        }
    }
    remotes
}

/// Returns the values of a key of `[stargate]`, or of a section `[stargate "NAME"]`, in the last configuration file that has
/// the key, and that file's kind. An empty value removes the earlier ones.
pub(super) fn last_values(
    file: &gix::config::File,
    section: Option<&BStr>,
    key: &str,
) -> (Vec<BString>, Option<Source>) {
    let mut values = Vec::new();
    let mut last = None;
    for part in file.sections_by_name("stargate").into_iter().flatten() {
        if part.header().subsection_name() != section {
            continue;
        }
        for value in part.values(key) {
            let source = Some(part.meta().source);
            if last != source || value.is_empty() {
                values.clear();
            }
            last = source;
            if !value.is_empty() {
                values.push(value);
            }
        }
    }
    (values, last)
}

/// Returns the sections with a remote, and the remotes, in order of their first appearance.
fn named_remotes(file: &gix::config::File) -> Vec<(BString, BString)> {
    let mut named: Vec<(BString, BString)> = Vec::new();
    for section in file.sections() {
        let header = section.header();
        let Some(name) = header
            .subsection_name()
            .filter(|_| header.name().eq_ignore_ascii_case(b"stargate"))
        else {
            continue;
        };
        let is_new = named.iter().all(|(other, _)| other != name);
        let remote = file.string_by("stargate", Some(name), "remote");
        if let Some(remote) = remote.filter(|remote| is_new && !remote.is_empty()) {
            named.push((name.to_owned(), remote));
        }
    }
    named
}

/// Returns a URL without user, password, query and fragment, and any other value as it is.
fn without_secrets(remote: &str) -> String {
    let Some((scheme, rest)) = remote.split_once("://") else {
        return remote.to_owned();
    };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirrors(text: &str) -> Mirrors {
        let file = gix::config::File::try_from(text).expect("git configuration");
        Mirrors::from_git_config(&file)
    }

    fn names(text: &str) -> Vec<String> {
        mirrors(text).names().map(str::to_owned).collect()
    }

    #[test]
    fn every_remote_is_a_mirror_and_none_is_one_without_a_remote() {
        assert_eq!(names("[stargate]\nremote = a\nremote = b\nremote = a\n"), ["a", "b"]);
        assert_eq!(names("[stargate]\nremote = a\nremote =\nremote = b\n"), ["b"]);
        assert_eq!(
            names("[stargate \"z\"]\nremote = x\n[stargate]\nremote = a\n[Stargate \"b\"]\nremote = y\n"),
            ["a", "z", "b"]
        );
        for text in [
            "",
            "[stargate]\nremote =\n",
            "[stargate \"https://h\"]\ntokenFile = f\n",
        ] {
            let mirrors = mirrors(text);
            assert_eq!(
                (mirrors.each.len(), mirrors.each[0].remote.clone()),
                (1, None),
                "{text}"
            );
        }
    }

    #[test]
    fn a_mirror_has_the_settings_of_its_section_and_otherwise_those_of_all() {
        let mirrors = mirrors(
            "[stargate]\nremote = a\nforce = true\nref = refs/a/*\nattempts = 5\n\
             [stargate \"b\"]\nremote = x\nref = refs/b/*\nforce = false\npushesPerMinute = 1\n",
        );
        let [a, b] = &mirrors.each[..] else {
            panic!("two mirrors")
        };
        assert!(a.force && !b.force);
        assert_eq!((a.retry.attempts, b.retry.attempts), (5, 5));
        assert_eq!((a.pushes_per_minute, b.pushes_per_minute), (6, 1));
        assert_eq!(
            (b.remote.clone().unwrap(), b.key("ref")),
            ("x".into(), "stargate.b.ref".to_owned())
        );
        assert!(!a.refs.matches("refs/b/x".into()) && b.refs.matches("refs/b/x".into()));
        assert!(mirrors.has("refs/a/x".into()) && mirrors.has("refs/b/x".into()) && !mirrors.has("refs/c/x".into()));
        assert_eq!(mirrors.problems(), []);
    }

    #[test]
    fn a_bad_value_is_a_problem_of_its_mirror_only() {
        let mirrors = mirrors("[stargate]\nremote = a\n[stargate \"b\"]\nremote = x\nattempts = 0\nref = b/*\n");
        assert_eq!(mirrors.each[0].problems, []);
        let keys: Vec<_> = mirrors.each[1]
            .problems
            .iter()
            .map(|problem| problem.key.as_str())
            .collect();
        assert_eq!(keys, ["stargate.b.ref", "stargate.b.attempts"]);
        assert_eq!(mirrors.problems().len(), 2);
    }

    #[test]
    fn two_mirrors_of_one_name_or_a_long_name_are_a_problem() {
        let same = mirrors("[stargate]\nremote = a\n[stargate \"A\"]\nremote = x\n");
        assert_eq!(
            same.each[1].problems[0].to_string(),
            "stargate.A.remote = x: another mirror has the name A"
        );
        let long = mirrors(&format!("[stargate]\nremote = a\nremote = {}\n", "x".repeat(201)));
        assert!(long.each[1].problems[0].why.contains("too long"));
        assert_eq!(same.each[0].problems, []);
    }

    #[test]
    fn names_have_no_secrets_and_are_plain_file_names() {
        assert_eq!(
            names("[stargate]\nremote = \"https://u:pw@h:1/o/r.git?t=x#y\"\nremote = git@h:o/r\nremote = /a b\n"),
            ["https://h:1/o/r.git", "git@h:o/r", "/a b"]
        );
        assert_eq!(
            (memory_file(0, "a"), lock_file(0, "a")),
            ("worker.json".into(), "worker.lock".into())
        );
        assert_eq!(memory_file(1, "https://h/r.git"), "worker.https%3a%2f%2fh%2fr.git.json");
        assert_eq!(
            (alerts_file(0, "a"), alerts_lock_file(1, "b")),
            ("alerts.json".into(), "alerts.b.lock".into())
        );
    }

    #[test]
    fn the_file_of_alerts_gives_the_name_of_the_mirror() {
        for name in ["backup", "https://h/o/r.git", "a%b c", "ü"] {
            assert_eq!(mirror_of_alerts_file(&alerts_file(1, name)).as_deref(), Some(name));
        }
        for file in [
            "alerts.json",
            "alerts.%.json",
            "alerts.%zz.json",
            "alerts.a/b.json",
            "worker.a.json",
            "alerts.a.lock",
        ] {
            assert_eq!(mirror_of_alerts_file(file), None, "{file}");
        }
    }
}
