//! `sync`: comparison, repair, force and refusals.

use std::path::PathBuf;

use support::stargate::{FORMATS, Stargate, clean_command, feed, git};

/// A Stargate and a mirror in a folder, with refs of every standing.
struct Sides {
    stargate: Stargate,
    mirror: PathBuf,
    /// Four commits, each the parent of the next, and one apart.
    line: Vec<String>,
    apart: String,
}

impl Sides {
    /// Runs a test on files and reftables, with ids of both kinds.
    fn each(test: impl Fn(&Self)) {
        for (ids, refs) in FORMATS {
            test(&Sides::new(ids, refs));
        }
    }

    fn new(ids: &str, refs: &str) -> Self {
        let stargate = Stargate::of_formats(ids, refs);
        let mirror = stargate.folder().join("mirror.git");
        let git_dir = stargate.git_dir.clone();
        let tree = git(&git_dir, ["hash-object", "-t", "tree", "-w", "--stdin"]);
        let mut line: Vec<String> = Vec::new();
        for number in 0..4 {
            let mut arguments = vec!["commit-tree".to_owned(), "-m".into(), number.to_string(), tree.clone()];
            arguments.extend(
                line.last()
                    .iter()
                    .flat_map(|parent| ["-p".to_owned(), (*parent).clone()]),
            );
            line.push(git(&git_dir, arguments));
        }
        let apart = git(&git_dir, ["commit-tree", "-m", "apart", &tree]);
        for id in line.iter().chain([&apart]) {
            git(&git_dir, ["update-ref", &format!("refs/tmp/{id}"), id]);
        }
        git(stargate.folder(), ["clone", "-q", "--mirror", "o/r.git", "mirror.git"]);
        let sides = Sides {
            stargate,
            mirror,
            line,
            apart,
        };
        sides.set("ahead", Some(1), Some(0));
        sides.set("behind", Some(0), Some(1));
        sides.set("equal", Some(0), Some(0));
        sides.set("missing", Some(2), None);
        git(
            &sides.stargate.git_dir,
            ["update-ref", "refs/kv/diverged", &sides.apart],
        );
        git(&sides.mirror, ["update-ref", "refs/kv/diverged", &sides.line[0]]);
        sides.set("extra", None, Some(0));
        sides
    }

    fn set(&self, name: &str, local: Option<usize>, remote: Option<usize>) {
        for (repository, commit) in [(&self.stargate.git_dir, local), (&self.mirror, remote)] {
            if let Some(commit) = commit {
                git(
                    repository,
                    ["update-ref", &format!("refs/kv/{name}"), &self.line[commit]],
                );
            }
        }
    }

    fn sync(&self, arguments: &[&str]) -> (i32, String) {
        let mut command = clean_command(env!("CARGO_BIN_EXE_stargate-mirror"));
        command
            .arg("sync")
            .args(arguments)
            .arg("--repo")
            .arg(&self.stargate.git_dir)
            .arg("--remote")
            .arg(&self.mirror);
        let output = feed(command, "");
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.code().expect("an exit code"),
            String::from_utf8_lossy(&said).into_owned(),
        )
    }

    /// Returns the standing of every ref, according to `--dry-run --json`.
    fn standings(&self) -> Vec<String> {
        let (_, said) = self.sync(&["--dry-run", "--json"]);
        let report: serde_json::Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
        let refs = report["refs"].as_array().expect("a list").iter();
        refs.map(|one| {
            format!(
                "{} {}",
                one["ref"].as_str().unwrap().replace("refs/kv/", ""),
                one["standing"].as_str().unwrap()
            )
        })
        .collect()
    }

    fn at(&self, name: &str) -> String {
        git(&self.mirror, ["rev-parse", &format!("refs/{name}")])
    }
}

#[test]
fn a_dry_run_shows_how_every_ref_stands_and_changes_nothing() {
    Sides::each(|sides| {
        let before = git(&sides.mirror, ["for-each-ref"]);
        let (exit, said) = sides.sync(&["--dry-run"]);
        assert_eq!(exit, 3, "{said}");
        assert!(said.contains("5 of 6 refs differ from"), "{said}");
        let expected = [
            "ahead ahead",
            "behind behind",
            "diverged diverged",
            "equal equal",
            "extra extra",
            "missing missing",
        ];
        assert_eq!(sides.standings(), expected);
        assert_eq!(git(&sides.mirror, ["for-each-ref"]), before);
        assert!(!sides.stargate.git_dir.join(".stargate").exists());
    });
}

#[test]
fn repair_does_the_safe_part_and_exits_3_for_the_rest() {
    Sides::each(|sides| {
        let (exit, said) = sides.sync(&["--repair"]);
        assert_eq!(exit, 3, "{said}");
        let expected = [
            "ahead equal",
            "behind behind",
            "diverged diverged",
            "equal equal",
            "extra extra",
            "missing equal",
        ];
        assert_eq!(sides.standings(), expected);
        assert_eq!(sides.at("kv-mirror/ahead"), sides.line[1]);
        assert_eq!(sides.at("kv-mirror/equal"), sides.line[0], "a missing watermark is set");
        let sources: Vec<_> = sides
            .stargate
            .lines()
            .iter()
            .map(|line| line["source"].clone())
            .collect();
        assert_eq!(sources, ["reconcile", "reconcile", "reconcile"]);
    });
}

#[test]
fn force_asks_and_without_a_terminal_wants_yes() {
    Sides::each(|sides| {
        let before = git(&sides.mirror, ["for-each-ref"]);
        let (exit, said) = sides.sync(&["--force"]);
        assert_eq!(exit, 2, "{said}");
        assert!(said.contains("give --yes"), "{said}");
        assert_eq!(git(&sides.mirror, ["for-each-ref"]), before);
    });
}

#[test]
fn force_takes_the_listed_refs_only() {
    Sides::each(|sides| {
        let (exit, said) = sides.sync(&["--force", "refs/kv/diverged", "refs/kv/behind", "--yes"]);
        assert_eq!(exit, 3, "the extra ref is left: {said}");
        let expected = [
            "ahead ahead",
            "behind equal",
            "diverged equal",
            "equal equal",
            "extra extra",
            "missing missing",
        ];
        assert_eq!(sides.standings(), expected);
        assert_eq!(
            (sides.at("kv/diverged"), sides.at("kv-mirror/diverged")),
            (sides.apart.clone(), sides.apart.clone())
        );
        assert_eq!(sides.at("kv-mirror/behind"), sides.line[0]);
        let lines = sides.stargate.lines();
        assert!(
            lines
                .iter()
                .all(|line| line["source"] == "manual" && line["status"] == "done"),
            "{lines:?}"
        );
        let (exit, said) = sides.sync(&["--force", "refs/kv/equal", "--yes"]);
        assert_eq!(exit, 2, "{said}");
    });
}

#[test]
fn force_refuses_to_delete_many_refs_unless_that_is_allowed() {
    Sides::each(|sides| {
        let before = git(&sides.mirror, ["for-each-ref"]);
        let (exit, said) = sides.sync(&["--force", "--yes"]);
        assert_eq!(exit, 3, "{said}");
        assert!(
            said.contains("this would delete 1 of the mirror's 5 refs, which is more than 5 %"),
            "{said}"
        );
        assert_eq!(git(&sides.mirror, ["for-each-ref"]), before);
        let (exit, said) = sides.sync(&["--force", "--yes", "--allow-mass-delete"]);
        assert_eq!(exit, 1, "what is missing is still to be carried: {said}");
        assert_eq!(
            sides.standings(),
            [
                "ahead ahead",
                "behind equal",
                "diverged equal",
                "equal equal",
                "missing missing"
            ]
        );
        assert_eq!(sides.sync(&["--repair"]).0, 0);
    });
}
