//! HEAD of a remote, over each transport.
use bstr::BString;
use git_push::ErrorKind;
use git_push_transport::{Head, Location, Remote, Settings};
use support::{
    mirror::{Format, Mirror},
    pushing::open,
    sshd::Server,
    stargate::git,
};

fn settings() -> Settings {
    Settings::from_environment(|_| None).expect("an empty environment")
}

#[test]
fn head_names_a_branch_dangles_or_is_detached_over_every_transport() {
    let (mirror, old) = (Mirror::start(), Mirror::with_protocol_0());
    let (ssh, daemon) = (Server::ssh(true), Server::daemon());
    let variable = |name: &str| (name == "GIT_SSH_COMMAND").then(|| ssh.ssh_command().into());
    let ssh_settings = Settings::from_environment(variable).expect("settings");
    let folder = tempfile::tempdir().expect("a folder");
    git(folder.path(), ["init", "-q", "--bare", "r.git"]);
    for (path, url, settings, knows_unborn) in [
        (
            mirror.create("o/r.git", Format::Sha1),
            mirror.url("o/r.git"),
            settings(),
            true,
        ),
        (
            old.create("o/r.git", Format::Sha1),
            old.url("o/r.git"),
            settings(),
            false,
        ),
        (ssh.create("r.git", "sha1"), ssh.url("r.git"), ssh_settings, true),
        (daemon.create("r.git", "sha1"), daemon.url("r.git"), settings(), true),
        (
            folder.path().join("r.git"),
            folder.path().join("r.git").display().to_string(),
            settings(),
            true,
        ),
    ] {
        git(&path, ["symbolic-ref", "HEAD", "refs/heads/trunk"]);
        let head = || open(&url, &settings).head().expect("HEAD");
        let trunk = BString::from("refs/heads/trunk");
        assert_eq!(head(), Head::Dangles(knows_unborn.then(|| trunk.clone())), "{url}");
        let tree = git(&path, ["hash-object", "-t", "tree", "-w", "--stdin"]);
        let commit = git(&path, ["commit-tree", "-m", "one", &tree]);
        git(&path, ["update-ref", "refs/heads/trunk", &commit]);
        assert_eq!(head(), Head::Names(trunk), "{url}");
        git(&path, ["update-ref", "--no-deref", "HEAD", &commit]);
        let id = gix::ObjectId::from_hex(commit.as_bytes()).expect("an id");
        assert_eq!(head(), Head::Detached(id), "{url}");
    }
}

#[test]
fn a_folder_with_reftables_is_refused_before_its_head_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    git(
        folder.path(),
        ["init", "-q", "--bare", "--ref-format=reftable", "r.git"],
    );
    let location = Location::Path(folder.path().join("r.git"));
    let error = Remote::open(location, &settings()).err().expect("a refusal");
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("reftable"), "{error}");
}
