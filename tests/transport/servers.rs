//! Decisions of real servers about pushes, each over HTTP (nginx), ssh (sshd) and `git://` (git daemon).
#![cfg(unix)]

use std::path::PathBuf;

use git_push::{Command, Connection, Error, ErrorKind, Report, Verdict};
use git_push_transport::{Remote, Settings};
use support::{
    git::{self, git},
    mirror::{Format, Mirror},
    pushing::{command, id, open, pushed, reason, repository, source, verdict},
    sshd::Server,
};
use tempfile::TempDir;

/// All kinds of servers.
struct Servers {
    mirror: Mirror,
    ssh: Server,
    daemon: Server,
}

/// An empty repository behind a server, and one with commits to push.
struct Place {
    label: &'static str,
    url: String,
    settings: Settings,
    path: PathBuf,
    source: TempDir,
    commits: Vec<String>,
}

impl Servers {
    fn start() -> Self {
        Servers {
            mirror: Mirror::start(),
            ssh: Server::ssh(true),
            daemon: Server::daemon(),
        }
    }

    /// Creates a repository of this name on each server.
    fn places(&self, name: &str) -> [Place; 3] {
        let Servers { mirror, ssh, daemon } = self;
        [
            ("nginx", mirror.url(name), mirror.create(name, Format::Sha1)),
            ("sshd", ssh.url(name), ssh.create(name, "sha1")),
            ("git daemon", daemon.url(name), daemon.create(name, "sha1")),
        ]
        .map(|(label, url, path)| {
            let variable = |name: &str| (name == "GIT_SSH_COMMAND").then(|| ssh.ssh_command().into());
            let (source, commits) = source("sha1");
            Place {
                label,
                url,
                settings: Settings::from_environment(variable).expect("settings"),
                path,
                source,
                commits,
            }
        })
    }
}

impl Place {
    fn remote(&self) -> Remote {
        open(&self.url, &self.settings)
    }

    fn git(&self, arguments: &[&str]) -> String {
        git(&self.path, arguments)
    }

    /// Sets a ref to a commit of the source directly, without the server.
    fn has(&self, name: &str, commit: usize) {
        let url = self.path.display().to_string();
        git(
            self.source.path(),
            &[
                "push",
                "--quiet",
                "--force",
                &url,
                &format!("{}:{name}", self.commits[commit]),
            ],
        );
    }

    /// A command from and to commits of the source, by their numbers.
    fn command(&self, name: &str, old: Option<usize>, new: Option<usize>) -> Command {
        let commit = |number: Option<usize>| number.map(|number| self.commits[number].as_str());
        command(name, commit(old), commit(new), &self.commits[0])
    }

    fn push(&self, commands: Vec<Command>, atomic: bool) -> Result<Report, Error> {
        pushed(&mut self.remote(), self.source.path(), commands, atomic)
    }

    fn push_with(&self, push_options: &[&str]) -> Result<Report, Error> {
        let mut remote = self.remote();
        let advertisement = remote.advertisement()?;
        let create = vec![self.command("refs/kv/main", None, Some(0))];
        git_push::Push::new(&repository(self.source.path()), &advertisement)
            .commands(create)
            .push_options(push_options.iter().copied())
            .send(&mut remote)
    }
}

/// A push that must be refused, and the words of the refusal.
struct Refused {
    what: &'static str,
    prepare: fn(&Place),
    commands: fn(&Place) -> Vec<Command>,
    /// For each command a part of its reason; empty if the command is carried out.
    reasons: &'static [&'static str],
}

const REFUSED: &[Refused] = &[
    Refused {
        what: "an update hook declines one of two",
        prepare: |place| git::hook(&place.path, "update", "[ $1 != refs/kv/bad ]"),
        commands: |place| {
            ["refs/kv/bad", "refs/kv/good"]
                .map(|name| place.command(name, None, Some(0)))
                .into()
        },
        reasons: &["hook declined", ""],
    },
    Refused {
        what: "a pre-receive hook declines all",
        prepare: |place| git::hook(&place.path, "pre-receive", "exit 1"),
        commands: |place| {
            ["refs/kv/a", "refs/kv/b"]
                .map(|name| place.command(name, None, Some(0)))
                .into()
        },
        reasons: &["pre-receive hook declined", "pre-receive hook declined"],
    },
    Refused {
        what: "not a fast-forward, where the server forbids that",
        prepare: |place| {
            place.git(&["config", "receive.denyNonFastForwards", "true"]);
            place.has("refs/heads/x", 2);
        },
        commands: |place| vec![place.command("refs/heads/x", Some(2), Some(0))],
        reasons: &["non-fast-forward"],
    },
    Refused {
        what: "somebody else created it first",
        prepare: |place| place.has("refs/kv/main", 0),
        commands: |place| vec![place.command("refs/kv/main", None, Some(1))],
        reasons: &["failed to update ref"],
    },
    Refused {
        what: "a stale old id",
        prepare: |place| place.has("refs/kv/main", 0),
        commands: |place| vec![place.command("refs/kv/main", Some(1), Some(2))],
        reasons: &["failed to update ref"],
    },
    Refused {
        what: "a ref below a ref, and one above",
        prepare: |place| ["refs/kv/a", "refs/kv/b/c"].iter().for_each(|name| place.has(name, 0)),
        commands: |place| {
            let names = ["refs/kv/a/b", "refs/kv/b", "refs/kv/c"];
            names.map(|name| place.command(name, None, Some(1))).into()
        },
        reasons: &["failed to update ref", "failed to update ref", ""],
    },
    Refused {
        what: "deletions are denied",
        prepare: |place| {
            place.git(&["config", "receive.denyDeletes", "true"]);
            place.has("refs/heads/x", 0);
        },
        commands: |place| vec![place.command("refs/heads/x", Some(0), None)],
        reasons: &["deletion prohibited"],
    },
    Refused {
        what: "a push larger than the server takes",
        prepare: |place| drop(place.git(&["config", "receive.maxInputSize", "100"])),
        commands: |place| vec![place.command("refs/kv/main", None, Some(2))],
        reasons: &["unpacker error"],
    },
    Refused {
        what: "a name of one level",
        prepare: |_| {},
        commands: |place| vec![place.command("refs/kv", None, Some(0))],
        reasons: &["funny refname"],
    },
];

#[test]
fn what_a_server_refuses_is_refused_with_its_reason_and_the_rest_is_carried_out() {
    let servers = Servers::start();
    for (number, case) in REFUSED.iter().enumerate() {
        let Refused {
            what,
            prepare,
            commands,
            reasons,
        } = case;
        for place in servers.places(&format!("o/{number}.git")) {
            let label = format!("{what} ({})", place.label);
            prepare(&place);
            let before = place.git(&["for-each-ref"]);
            let commands = commands(&place);
            let report = place
                .push(commands.clone(), false)
                .unwrap_or_else(|error| panic!("{label}: {error}"));
            for (command, expected) in commands.iter().zip(*reasons) {
                let name = command.name.to_string();
                match verdict(&report, &name) {
                    Verdict::Accepted => assert_eq!(*expected, "", "{label}: {name}"),
                    _ => assert!(
                        !expected.is_empty() && reason(&report, &name).contains(expected),
                        "{label}: {report:?}"
                    ),
                }
            }
            let carried_out = reasons.iter().filter(|reason| reason.is_empty()).count();
            let moved = place
                .git(&["for-each-ref"])
                .lines()
                .filter(|line| !before.contains(line))
                .count();
            assert_eq!(moved, carried_out, "{label}");
        }
    }
}

#[test]
fn an_atomic_push_of_which_one_part_is_refused_moves_nothing() {
    let servers = Servers::start();
    for (number, case) in REFUSED.iter().enumerate() {
        let Refused {
            what,
            prepare,
            commands,
            ..
        } = case;
        for place in servers.places(&format!("o/{number}.git")) {
            prepare(&place);
            let before = place.git(&["for-each-ref"]);
            let report = place.push(commands(&place), true).expect("a report");
            let refused = report
                .verdicts()
                .all(|(_, verdict)| matches!(verdict, Verdict::Rejected(_)));
            assert!(refused, "{what} ({}): {report:?}", place.label);
            assert_eq!(place.git(&["for-each-ref"]), before, "{what} ({})", place.label);
        }
    }
}

#[test]
fn two_thousand_refs_go_in_one_push() {
    let servers = Servers::start();
    for place in servers.places("o/r.git") {
        let names: Vec<_> = (0..2000).map(|n| format!("refs/kv/n{n}")).collect();
        let create: Vec<_> = names
            .iter()
            .map(|name| place.command(name, None, Some(n_of(name))))
            .collect();
        let report = place.push(create, true).expect("a report");
        assert!(
            report.all_accepted() && report.verdicts().count() == 2000,
            "{}",
            place.label
        );
        assert_eq!(place.git(&["for-each-ref"]).lines().count(), 2000);
        let delete = names
            .iter()
            .map(|name| place.command(name, Some(n_of(name)), None))
            .collect();
        assert!(
            place.push(delete, true).expect("a report").all_accepted(),
            "{}",
            place.label
        );
        assert_eq!(place.git(&["for-each-ref"]), "");
    }
}

fn n_of(name: &str) -> usize {
    usize::from(name.as_bytes()[name.len() - 1]) % 3
}

#[test]
fn names_of_every_kind_arrive() {
    let servers = Servers::start();
    for place in servers.places("o/r.git") {
        let names: [&[u8]; 9] = [
            "refs/kv/ünïcödé/日本".as_bytes(),
            b"refs/kv/latin-\xe9",
            b"refs/kv/it's",
            b"refs/kv/\"quoted\"",
            b"refs/kv/$(false);`false`&|<>",
            b"refs/kv/%2e%2f+a@b",
            b"refs/notes/commits",
            b"refs/custom/x",
            b"refs/heads/-dash",
        ];
        let create = names.map(|name| Command {
            name: name.into(),
            ..place.command("", None, Some(0))
        });
        let report = place.push(create.to_vec(), true).expect("a report");
        assert!(report.all_accepted(), "{}: {report:?}", place.label);
        let mut found: Vec<_> = place.remote().read_refs(&["refs/".into()]).expect("refs");
        found.sort_by(|a, b| a.name.cmp(&b.name));
        let mut expected = names.map(|name| name.to_vec());
        expected.sort();
        let found: Vec<_> = found.into_iter().map(|found| Vec::from(found.name)).collect();
        assert_eq!(found, expected, "{}", place.label);
    }
}

#[test]
fn what_is_not_there_is_deleted_without_a_word() {
    let servers = Servers::start();
    for place in servers.places("o/r.git") {
        let report = place
            .push(vec![place.command("refs/kv/none", Some(0), None)], false)
            .expect("a report");
        // Servers answer differently; in any case the ref does not exist.
        assert!(
            report.verdicts().all(|(_, verdict)| *verdict != Verdict::Unknown),
            "{report:?}"
        );
        assert_eq!(place.git(&["for-each-ref"]), "");
    }
}

#[test]
fn what_the_server_borrows_is_advertised_and_not_sent() {
    let servers = Servers::start();
    for place in servers.places("o/r.git") {
        let lender = tempfile::tempdir().expect("a folder");
        git(lender.path(), &["init", "--quiet", "--bare", "."]);
        let url = lender.path().display().to_string();
        git(
            place.source.path(),
            &[
                "push",
                "--quiet",
                &url,
                &format!("{}:refs/heads/main", place.commits[2]),
            ],
        );
        let objects = lender.path().join("objects").display().to_string();
        std::fs::write(place.path.join("objects/info/alternates"), format!("{objects}\n")).expect("a file");
        let advertisement = place.remote().advertisement().expect("an advertisement");
        assert_eq!(advertisement.haves, [id(&place.commits[2])], "{}", place.label);
        let report = place
            .push(vec![place.command("refs/kv/main", None, Some(2))], true)
            .expect("a report");
        assert!(report.all_accepted(), "{}: {report:?}", place.label);
        let count = place.git(&["count-objects", "-v"]);
        assert!(
            count.contains("count: 0\n") && count.contains("in-pack: 0\n"),
            "{}: {count}",
            place.label
        );
    }
}

#[test]
fn push_options_reach_hooks_where_they_are_offered() {
    let servers = Servers::start();
    for place in servers.places("o/r.git") {
        let error = place.push_with(&["ci.skip"]).expect_err("not offered");
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{}", place.label);
        place.git(&["config", "receive.advertisePushOptions", "true"]);
        git::hook(&place.path, "pre-receive", "env | grep ^GIT_PUSH_OPTION | sort >noted");
        let error = place.push_with(&["one\ntwo"]).expect_err("two lines");
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{}", place.label);
        let report = place.push_with(&["ci.skip", "it's \"quoted\" = ü"]).expect("a report");
        assert!(report.all_accepted(), "{}: {report:?}", place.label);
        let noted = std::fs::read_to_string(place.path.join("noted")).expect("the hook's notes");
        let expected = "GIT_PUSH_OPTION_0=ci.skip\nGIT_PUSH_OPTION_1=it's \"quoted\" = ü\nGIT_PUSH_OPTION_COUNT=2\n";
        assert_eq!(noted, expected, "{}", place.label);
    }
}

/// Some real servers move one ref of an atomic push.
#[test]
fn git_lands_the_rest_of_an_atomic_push_of_which_one_ref_is_hidden() {
    let servers = Servers::start();
    for place in servers.places("o/r.git") {
        place.git(&["config", "receive.hideRefs", "refs/secret"]);
        let names = ["refs/secret/x", "refs/kv/main"];
        let create = names.map(|name| place.command(name, None, Some(0)));
        let report = place.push(create.to_vec(), true).expect("a report");
        assert_eq!(
            reason(&report, names[0]),
            "deny updating a hidden ref",
            "{}",
            place.label
        );
        assert_eq!(verdict(&report, names[1]), &Verdict::Accepted, "{}", place.label);
        assert_eq!(
            place.git(&["for-each-ref", "--format=%(refname)"]),
            names[1],
            "{}",
            place.label
        );
    }
}
