//! Pushes to a repository in a folder.

use std::path::{Path, PathBuf};

use crate::history::{self, commit, git};
use bstr::{BString, ByteSlice};
use git_push::{
    Advertisement, Command, Connection, Error, ErrorKind, Pack, Remedy, RemoteRef, Report, Request, Traffic, Verdict,
};
use git_push_transport::local::Local;
use gix::{ObjectId, Repository};

/// A source with three commits in a row, and a mirror.
pub struct Pair {
    pub folder: tempfile::TempDir,
    pub source: Repository,
    pub mirror: PathBuf,
    pub commits: [ObjectId; 3],
}

/// One whose mirror has its refs in files, and one with reftables.
fn pairs() -> [Pair; 2] {
    [pair("sha1"), tables_pair("sha1")]
}

/// A pair whose mirror has its refs in reftables.
pub fn tables_pair(format: &str) -> Pair {
    let pair = pair(format);
    git(&pair.mirror, &["refs", "migrate", "--ref-format=reftable"], None);
    pair
}

fn pair(format: &str) -> Pair {
    let folder = tempfile::tempdir().unwrap();
    let source = history::repository(&folder.path().join("source.git"), format);
    let mirror = folder.path().join("mirror.git");
    history::repository(&mirror, format);
    let mut parents = Vec::new();
    let commits = ["one", "two", "three"].map(|content| {
        let blob = source.write_blob(content).unwrap();
        let mut tree = source.edit_tree(ObjectId::empty_tree(source.object_hash())).unwrap();
        tree.upsert("data/key", gix::objs::tree::EntryKind::Blob, blob).unwrap();
        parents = vec![commit(
            &source,
            tree.write().unwrap().detach(),
            &parents,
            content.len() as u32,
        )];
        parents[0]
    });
    Pair {
        folder,
        source,
        mirror,
        commits,
    }
}

impl Pair {
    pub fn null(&self) -> ObjectId {
        self.source.object_hash().null()
    }

    pub fn connect(&self) -> Local {
        Local::open(&self.mirror).unwrap()
    }

    /// Verdicts on these commands, as names with old and new.
    pub fn push(&self, atomic: bool, commands: &[(&str, ObjectId, ObjectId)]) -> Vec<Verdict> {
        let mut connection = self.connect();
        let advertisement = connection.advertisement().unwrap();
        let commands: Vec<_> = commands.iter().map(command).collect();
        let report = git_push::Push::new(&self.source, &advertisement)
            .commands(commands)
            .atomic(atomic)
            .send(&mut connection)
            .unwrap();
        report.verdicts().map(|(_, verdict)| verdict.clone()).collect()
    }

    pub fn create(&self, name: &str, id: ObjectId) {
        assert_eq!(self.push(true, &[(name, self.null(), id)]), [Verdict::Accepted]);
    }

    pub fn refs(&self) -> Vec<(String, ObjectId)> {
        let refs = self.connect().read_refs(&["refs/".into()]).unwrap();
        refs.into_iter()
            .map(|RemoteRef { name, id }| (name.to_string(), id))
            .collect()
    }

    pub fn configure(&self, key: &str, value: &str) {
        git(&self.mirror, &["config", key, value], None);
    }
}

pub fn command((name, old, new): &(&str, ObjectId, ObjectId)) -> Command {
    Command {
        name: (*name).into(),
        old: *old,
        new: *new,
    }
}

pub fn reason(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Rejected(reason) => reason.to_str().unwrap(),
        other => panic!("expected a rejection, got {other:?}"),
    }
}

#[test]
fn refs_are_created_updated_and_deleted_together() {
    for format in ["sha1", "sha256"] {
        let pair = pair(format);
        let ([one, two, three], null) = (pair.commits, pair.null());
        let accepted = vec![Verdict::Accepted; 2];
        assert_eq!(
            pair.push(true, &[("refs/kv/main", null, one), ("refs/kv/old", null, two)]),
            accepted
        );
        assert_eq!(
            pair.push(true, &[("refs/kv/main", one, three), ("refs/kv/old", two, null)]),
            accepted
        );
        assert_eq!(pair.refs(), [("refs/kv/main".to_owned(), three)]);
        git(&pair.mirror, &["fsck", "--strict", "--no-dangling"], None);
    }
}

#[test]
fn a_mirror_can_be_opened_by_its_worktree_and_read_by_prefix() {
    let pair = pair("sha1");
    let worktree = pair.folder.path().join("checkout");
    git(pair.folder.path(), &["init", "-q", "checkout"], None);
    let mut connection = Local::open(&worktree).unwrap();
    let advertisement = connection.advertisement().unwrap();
    let names = ["refs/kv/main", "refs/kv/other", "refs/kv-mirror/main"];
    let commands = names
        .map(|name| command(&(name, pair.null(), pair.commits[0])))
        .to_vec();
    let report = git_push::Push::new(&pair.source, &advertisement)
        .commands(commands)
        .send(&mut connection)
        .unwrap();
    assert!(report.all_accepted());
    let read = |prefixes: &[&str], connection: &mut Local| -> Vec<BString> {
        let prefixes: Vec<_> = prefixes.iter().map(|prefix| (*prefix).into()).collect();
        connection
            .read_refs(&prefixes)
            .unwrap()
            .into_iter()
            .map(|found| found.name)
            .collect()
    };
    assert_eq!(read(&["refs/kv/"], &mut connection), ["refs/kv/main", "refs/kv/other"]);
    assert_eq!(
        read(&["refs/kv-mirror/", "refs/kv/main"], &mut connection),
        ["refs/kv-mirror/main", "refs/kv/main"]
    );
    assert!(read(&[], &mut connection).is_empty());
}

#[cfg(target_os = "linux")]
#[test]
fn names_need_not_be_utf8() {
    for pair in pairs() {
        let mut connection = pair.connect();
        let name = BString::from(&b"refs/kv/caf\xe9"[..]);
        let command = Command {
            name: name.clone(),
            old: pair.null(),
            new: pair.commits[0],
        };
        let advertisement = connection.advertisement().unwrap();
        let report = git_push::Push::new(&pair.source, &advertisement)
            .command(command)
            .send(&mut connection)
            .unwrap();
        assert!(report.all_accepted());
        assert_eq!(connection.read_refs(std::slice::from_ref(&name)).unwrap()[0].name, name);
    }
}

#[test]
fn a_stale_old_id_moves_nothing_of_an_atomic_push() {
    for pair in pairs() {
        let ([one, two, three], null) = (pair.commits, pair.null());
        pair.create("refs/kv/main", two);
        let before = pair.refs();
        for stale in [(one, three), (null, three), (one, null)] {
            let commands = [("refs/kv/new", null, one), ("refs/kv/main", stale.0, stale.1)];
            let verdicts = pair.push(true, &commands);
            assert!(
                verdicts.iter().all(|verdict| reason(verdict).contains("refs/kv/main")),
                "{verdicts:?}"
            );
            assert_eq!(pair.refs(), before);
        }
        let gone = pair.push(true, &[("refs/kv/gone", one, two)]);
        assert!(reason(&gone[0]).contains("refs/kv/gone"), "{gone:?}");
    }
}

#[test]
fn without_atomic_each_command_stands_alone() {
    for pair in pairs() {
        let ([one, two, three], null) = (pair.commits, pair.null());
        pair.create("refs/kv/main", two);
        let verdicts = pair.push(false, &[("refs/kv/main", one, three), ("refs/kv/new", null, one)]);
        assert!(reason(&verdicts[0]).contains("refs/kv/main"));
        assert_eq!(verdicts[1], Verdict::Accepted);
        assert_eq!(pair.refs(), [("refs/kv/main".into(), two), ("refs/kv/new".into(), one)]);
    }
}

#[test]
fn a_locked_ref_moves_nothing_of_an_atomic_push() {
    let pair = pair("sha1");
    let ([one, two, _], null) = (pair.commits, pair.null());
    pair.create("refs/kv/main", one);
    std::fs::write(pair.mirror.join("refs/kv/main.lock"), "").unwrap();
    let verdicts = pair.push(true, &[("refs/kv/a", null, two), ("refs/kv/main", one, two)]);
    assert!(
        verdicts.iter().all(|verdict| reason(verdict).contains("lock")),
        "{verdicts:?}"
    );
    assert_eq!(pair.refs(), [("refs/kv/main".to_owned(), one)]);
    assert!(!pair.mirror.join("refs/kv/a.lock").exists());
}

#[test]
fn packed_refs_are_compared_updated_and_deleted() {
    for pair in pairs() {
        let ([one, two, three], null) = (pair.commits, pair.null());
        pair.create("refs/kv/main", one);
        pair.create("refs/kv/old", one);
        git(&pair.mirror, &["pack-refs", "--all"], None);
        assert!(reason(&pair.push(true, &[("refs/kv/main", two, three)])[0]).contains("refs/kv/main"));
        let accepted = pair.push(true, &[("refs/kv/main", one, two), ("refs/kv/old", one, null)]);
        assert_eq!(accepted, [Verdict::Accepted, Verdict::Accepted]);
        assert_eq!(pair.refs(), [("refs/kv/main".to_owned(), two)]);
        assert!(!git(&pair.mirror, &["for-each-ref"], None).contains("refs/kv/old"));
    }
}

#[test]
fn the_pack_is_all_that_stays_and_is_readable() {
    for pair in pairs() {
        pair.create("refs/kv/main", pair.commits[0]);
        let folder = pair.mirror.join("objects/pack");
        let mut extensions = Vec::new();
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt;
                let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
                assert_eq!(mode(&path) & 0o777, mode(&folder) & 0o444, "{}", path.display());
            }
            extensions.push(path.extension().unwrap().to_owned());
        }
        extensions.sort();
        assert_eq!(extensions, ["idx", "pack"]);
    }
}

#[cfg(unix)]
#[test]
fn a_ref_is_as_readable_as_git_would_make_it() {
    use std::os::unix::fs::PermissionsExt;
    let pair = pair("sha1");
    pair.create("refs/kv/main", pair.commits[0]);
    let id = pair.commits[0].to_string();
    git(&pair.mirror, &["update-ref", "refs/kv/git", &id], None);
    let mode = |name: &str| std::fs::metadata(pair.mirror.join(name)).unwrap().permissions().mode();
    assert_eq!(mode("refs/kv/main"), mode("refs/kv/git"));
}

#[test]
fn the_reflog_is_written_where_the_mirror_wants_one() {
    let pair = pair("sha1");
    pair.create("refs/heads/quiet", pair.commits[0]);
    assert!(!pair.mirror.join("logs").exists());
    pair.configure("core.logAllRefUpdates", "always");
    pair.create("refs/kv/main", pair.commits[0]);
    let log = std::fs::read_to_string(pair.mirror.join("logs/refs/kv/main")).unwrap();
    assert!(
        log.contains(&pair.commits[0].to_string()) && log.ends_with("\tpush\n"),
        "{log}"
    );
}

/// Sets up the conditions of each refusal, pushes, and compares the reason.
#[test]
fn what_git_refuses_is_refused_with_the_reason() {
    for pair in pairs() {
        let ([one, two, _], null) = (pair.commits, pair.null());
        pair.create("refs/heads/main", two);
        pair.create("refs/heads/topic", two);
        git(&pair.mirror, &["symbolic-ref", "HEAD", "refs/heads/main"], None);
        git(
            &pair.mirror,
            &["symbolic-ref", "refs/kv/link", "refs/heads/topic"],
            None,
        );
        let tree = pair.source.find_commit(one).unwrap().tree_id().unwrap().detach();
        let refused = |command: (&str, ObjectId, ObjectId), expected: &str| {
            let before = pair.refs();
            for atomic in [true, false] {
                let verdicts = pair.push(atomic, &[command]);
                assert!(reason(&verdicts[0]).contains(expected), "{command:?}: {verdicts:?}");
            }
            assert_eq!(pair.refs(), before, "{command:?}");
        };
        refused(
            ("refs/heads/main", two, null),
            "deletion of the current branch prohibited",
        );
        refused(("refs/heads/main/below", null, one), "refs/heads/main exists");
        refused(("refs/heads", null, one), "refs/heads/main exists");
        refused(("refs/kv/link", two, one), "symbolic refs cannot be pushed to");
        refused(("refs/heads/tree", null, tree), "a branch must be a commit");

        // An invalid value forbids, as in git, where it ends the push.
        for value in ["perhaps", "true"] {
            pair.configure("receive.denyDeletes", value);
            refused(("refs/heads/topic", two, null), "deletion prohibited");
        }
        pair.configure("receive.denyNonFastForwards", "true");
        refused(("refs/heads/topic", two, one), "non-fast-forward");
        pair.configure("receive.denyNonFastForwards", "false");
        assert_eq!(pair.push(true, &[("refs/heads/topic", two, one)]), [Verdict::Accepted]);
    }
}

/// Pushes with git, which runs its own receive-pack, and returns what it prints.
fn pushed_by_git(pair: &Pair, refspec: &str) -> String {
    let mut push = support::git::command(pair.source.git_dir());
    push.args(["push", "--porcelain"]).arg(&pair.mirror).arg(refspec);
    let output = push.output().unwrap();
    assert!(!output.status.success(), "{refspec}");
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[test]
fn a_hidden_ref_is_neither_seen_nor_changed_as_by_git() {
    for pair in pairs() {
        let ([one, two, _], null) = (pair.commits, pair.null());
        pair.create("refs/kv/a/b", one);
        pair.create("refs/kv/a/shown", one);
        git(
            &pair.mirror,
            &["config", "--add", "transfer.hideRefs", "refs/kv/"],
            None,
        );
        git(
            &pair.mirror,
            &["config", "--add", "receive.hideRefs", "!refs/kv/a/shown"],
            None,
        );
        let advertised = pair.connect().advertisement().unwrap().refs;
        assert_eq!(advertised.keys().collect::<Vec<_>>(), ["refs/kv/a/shown"]);
        assert_eq!(pair.refs().len(), 2, "a look at the folder sees all");
        for (name, old, new, refspec, expected) in [
            (
                "refs/kv/a/b",
                one,
                two,
                format!("{two}:refs/kv/a/b"),
                "deny updating a hidden ref",
            ),
            (
                "refs/kv/c",
                null,
                two,
                format!("{two}:refs/kv/c"),
                "deny updating a hidden ref",
            ),
            ("refs/kv/a/b", one, null, String::new(), "deny deleting a hidden ref"),
        ] {
            assert_eq!(reason(&pair.push(false, &[(name, old, new)])[0]), expected);
            // git does not send the deletion of a ref that it does not see.
            if !refspec.is_empty() {
                let by_git = pushed_by_git(&pair, &refspec);
                assert!(by_git.contains(expected), "{by_git}");
            }
        }
        assert_eq!(pair.push(true, &[("refs/kv/a/shown", one, two)]), [Verdict::Accepted]);
        assert_eq!(
            pair.refs(),
            [("refs/kv/a/b".into(), one), ("refs/kv/a/shown".into(), two)]
        );
    }
}

#[test]
fn refs_of_the_hook_proc_receive_are_refused() {
    let pair = pair("sha1");
    let (one, null) = (pair.commits[0], pair.null());
    for (value, name, is_refused) in [
        ("refs/for", "refs/for/main", true),
        ("ad:refs/for/", "refs/for/topic", true),
        ("refs/for", "refs/forest", false),
        ("!refs/heads", "refs/kv/main", true),
    ] {
        pair.configure("receive.procReceiveRefs", value);
        let verdicts = pair.push(true, &[(name, null, one)]);
        let said = matches!(&verdicts[0], Verdict::Rejected(why) if why.contains_str("proc-receive is not supported"));
        assert_eq!(said, is_refused, "{value}: {verdicts:?}");
    }
}

#[test]
fn a_pack_above_the_largest_size_is_refused_as_by_git() {
    for pair in pairs() {
        let (one, null) = (pair.commits[0], pair.null());
        let send = || {
            let mut connection = pair.connect();
            let advertisement = connection.advertisement().unwrap();
            let create = command(&("refs/kv/a", null, one));
            git_push::Push::new(&pair.source, &advertisement)
                .command(create)
                .send(&mut connection)
        };
        pair.configure("receive.maxInputSize", "50");
        let by_git = pushed_by_git(&pair, &format!("{one}:refs/kv/a"));
        assert!(by_git.contains("exceeds maximum allowed size"), "{by_git}");
        let error = send().unwrap_err();
        assert_eq!(
            (error.kind(), error.remedy()),
            (ErrorKind::Rejected, Some(Remedy::SmallerPack)),
            "{error}"
        );
        assert!(
            error.to_string().contains("receive.maxInputSize is 50 bytes"),
            "{error}"
        );
        pair.configure("receive.maxInputSize", "many");
        assert_eq!(send().unwrap_err().kind(), ErrorKind::Misconfigured);
        assert!(pair.refs().is_empty());
        for value in ["1k", "0"] {
            pair.configure("receive.maxInputSize", value);
            assert!(send().unwrap().all_accepted(), "{value}");
            assert_eq!(pair.push(true, &[("refs/kv/a", one, null)]), [Verdict::Accepted]);
        }
    }
}

#[test]
fn one_refusal_stops_an_atomic_push_and_nothing_else() {
    for pair in pairs() {
        let (one, null) = (pair.commits[0], pair.null());
        let commands = [("refs/kv/a", null, one), ("refs/kv/a/b", null, one)];
        let verdicts = pair.push(true, &commands);
        assert_eq!(reason(&verdicts[0]), "atomic push failure");
        assert_eq!(
            reason(&verdicts[1]),
            "refs/kv/a exists, and no ref can be below another"
        );
        assert!(pair.refs().is_empty());
        assert_eq!(pair.push(false, &commands)[0], Verdict::Accepted);
    }
}

#[test]
fn a_branch_that_is_checked_out_is_refused_unless_the_mirror_allows_it() {
    let mut pair = pair("sha1");
    let ([one, two, _], null) = (pair.commits, pair.null());
    git(pair.folder.path(), &["init", "-q", "-b", "main", "checkout"], None);
    pair.mirror = pair.folder.path().join("checkout");
    let refused = |verdicts: &[Verdict]| assert_eq!(reason(&verdicts[0]), "branch is currently checked out");
    refused(&pair.push(true, &[("refs/heads/main", null, one)]));
    pair.create("refs/heads/other", one);
    git(&pair.mirror, &["worktree", "add", "-q", "../linked", "other"], None);
    refused(&pair.push(true, &[("refs/heads/other", one, two)]));
    // If a HEAD cannot be read, any branch may be checked out there.
    let head = pair.mirror.join(".git/worktrees/linked/HEAD");
    let content = std::fs::read(&head).unwrap();
    std::fs::write(&head, "nonsense").unwrap();
    for commands in [("refs/heads/other", one, two), ("refs/heads/other", one, null)] {
        let verdicts = pair.push(true, &[commands]);
        let told = reason(&verdicts[0]).to_string();
        assert!(
            told.starts_with("cannot find out which branches are checked out: "),
            "{told}"
        );
    }
    pair.create("refs/kv/main", one);
    std::fs::write(&head, content).unwrap();
    pair.configure("receive.denyCurrentBranch", "updateInstead");
    assert_eq!(pair.push(true, &[("refs/heads/main", null, one)]), [Verdict::Accepted]);
    let file = pair.mirror.join("data/key");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "one");
    pair.configure("receive.denyCurrentBranch", "ignore");
    assert_eq!(pair.push(true, &[("refs/heads/main", one, two)]), [Verdict::Accepted]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "one");
}

#[test]
fn an_object_that_did_not_come_is_noticed() {
    for pair in pairs() {
        let commands = vec![command(&("refs/kv/main", pair.null(), pair.commits[0]))];
        let request = Request::new(commands, gix::hash::Kind::Sha1, vec!["atomic".into()]);
        let report = pair.connect().send(&request, None).unwrap();
        let verdict = report.verdict("refs/kv/main".into()).unwrap();
        assert!(reason(verdict).starts_with("missing necessary objects"), "{verdict:?}");
        assert!(pair.refs().is_empty());
    }
}

#[test]
fn a_commit_that_is_only_compared_is_not_called_one_to_push() {
    let pair = pair("sha1");
    let foreign = ObjectId::from_hex(&[b'a'; 40]).unwrap();
    let error = git_push::fast_forward(&pair.source, pair.commits[0], foreign).unwrap_err();
    let expected = format!("object {foreign}, to be compared with {}, is not in ", pair.commits[0]);
    assert!(error.to_string().starts_with(&expected), "{error}");
}

#[test]
fn another_object_format_is_misconfigured() {
    let (ours, theirs) = (pair("sha1"), pair("sha256"));
    let mut connection = theirs.connect();
    let advertisement = connection.advertisement().unwrap();
    let commands = vec![command(&("refs/kv/main", ours.null(), ours.commits[0]))];
    let error = git_push::Push::new(&ours.source, &advertisement)
        .commands(commands.clone())
        .send(&mut connection);
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(
        error
            .to_string()
            .contains("the remote's object format is sha256, the repository's is sha1"),
        "{error}"
    );
    let request = Request::new(commands, gix::hash::Kind::Sha1, Vec::new());
    assert_eq!(
        connection.send(&request, None).unwrap_err().kind(),
        ErrorKind::Misconfigured
    );
}

#[test]
fn where_there_is_no_repository_the_path_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().to_owned(), folder.path().join("nowhere")] {
        let error = Local::open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        assert!(error.hint().is_some());
    }
}

/// Remembers the commands that it was asked to send, and accepts nothing.
#[derive(Default)]
struct Recorder {
    sent: Vec<(Request, Option<Pack>)>,
}

impl Connection for Recorder {
    fn advertisement(&mut self) -> Result<Advertisement, Error> {
        unreachable!("a push is given the advertisement")
    }

    fn send(&mut self, request: &Request, pack: Option<Pack>) -> Result<Report, Error> {
        self.sent.push((request.clone(), pack));
        Ok(Report::new(Vec::new()))
    }

    fn read_refs(&mut self, _: &[BString]) -> Result<Vec<RemoteRef>, Error> {
        unreachable!("a push does not look")
    }

    fn traffic(&self) -> Traffic {
        Traffic::default()
    }
}

#[test]
fn what_changes_nothing_is_not_sent_and_what_was_not_answered_is_unknown() {
    let pair = pair("sha1");
    let ([one, two, _], null) = (pair.commits, pair.null());
    let advertisement = pair.connect().advertisement().unwrap();
    let mut recorder = Recorder::default();
    let commands = vec![
        command(&("refs/kv/main", one, one)),
        command(&("refs/kv/new", null, two)),
    ];
    let idle = commands[..1].to_vec();
    let mut push = |commands| {
        let report = git_push::Push::new(&pair.source, &advertisement)
            .commands(commands)
            .send(&mut recorder)
            .unwrap();
        report
            .verdicts()
            .map(|(_, verdict)| verdict.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(push(commands), [Verdict::UpToDate, Verdict::Unknown]);
    assert_eq!(push(idle), [Verdict::UpToDate]);
    assert_eq!(recorder.sent.len(), 1);
    assert_eq!(recorder.sent[0].0.commands.len(), 1);
}

#[test]
fn a_pack_is_sent_with_every_update_and_never_with_deletions_alone() {
    let pair = pair("sha1");
    let ([one, two, _], null) = (pair.commits, pair.null());
    pair.create("refs/kv/main", two);
    let advertisement = pair.connect().advertisement().unwrap();
    let mut recorder = Recorder::default();
    for (old, new) in [(two, null), (two, one)] {
        let commands = vec![command(&("refs/kv/main", old, new))];
        let _ = git_push::Push::new(&pair.source, &advertisement)
            .commands(commands)
            .send(&mut recorder)
            .unwrap();
    }
    assert!(recorder.sent[0].1.is_none());
    let empty = recorder.sent[1].1.as_ref().unwrap();
    assert_eq!((empty.objects(), empty.length()), (0, Some(32)));
    assert_eq!(pair.push(true, &[("refs/kv/main", two, one)]), [Verdict::Accepted]);
}

#[test]
fn nothing_is_sent_when_atomic_is_not_offered() {
    let pair = pair("sha1");
    let mut advertisement = pair.connect().advertisement().unwrap();
    advertisement.capabilities.list.retain(|(name, _)| name != "atomic");
    let mut recorder = Recorder::default();
    let commands = vec![command(&("refs/kv/main", pair.null(), pair.commits[0]))];
    let error = git_push::Push::new(&pair.source, &advertisement)
        .commands(commands)
        .atomic(true)
        .send(&mut recorder)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(recorder.sent.is_empty());
}

/// Returns how often a push with these arguments replaces `packed-refs` of the mirror.
#[cfg(target_os = "linux")]
fn replaced_packed_refs(pair: &Pair, arguments: &[&str]) -> usize {
    let trace = pair.folder.path().join("trace");
    let output = std::process::Command::new("strace")
        .args(["-f", "-qq", "-e", "trace=rename,renameat,renameat2", "-o"])
        .args([
            &trace,
            Path::new("--"),
            Path::new(env!("CARGO_BIN_EXE_stargate-mirror")),
        ])
        .args(["push", "--repo"])
        .args([pair.source.git_dir(), &pair.mirror])
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("cannot run strace, which this test needs: {error}"));
    assert!(output.status.success(), "{}", output.stderr.as_bstr());
    let trace = std::fs::read_to_string(trace).unwrap();
    trace.lines().filter(|line| line.contains("packed-refs.lock")).count()
}

#[cfg(target_os = "linux")]
#[test]
fn without_atomic_all_refs_move_in_one_transaction_if_they_can() {
    let pair = pair("sha1");
    let names: Vec<_> = (0..5).map(|number| format!("refs/kv/{number}")).collect();
    for name in &names {
        pair.create(name, pair.commits[0]);
    }
    git(&pair.mirror, &["pack-refs", "--all"], None);
    let deletions: Vec<_> = names.iter().map(|name| format!(":{name}")).collect();
    let all_but_one: Vec<_> = deletions[..4].iter().map(String::as_str).collect();
    assert_eq!(replaced_packed_refs(&pair, &all_but_one), 1);
    assert_eq!(pair.refs(), [(names[4].clone(), pair.commits[0])]);
}
