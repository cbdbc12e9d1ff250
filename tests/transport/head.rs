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
fn head_of_a_folder_with_reftables_is_read_and_set() {
    let folder = tempfile::tempdir().expect("a folder");
    git(
        folder.path(),
        ["init", "-q", "--bare", "--ref-format=reftable", "-b", "main", "r.git"],
    );
    let path = folder.path().join("r.git");
    let open = || Remote::open(Location::Path(path.clone()), &settings()).expect("a remote");
    let main = BString::from("refs/heads/main");
    assert_eq!(open().head().expect("HEAD"), Head::Dangles(Some(main.clone())));
    let tree = git(&path, ["hash-object", "-t", "tree", "-w", "/dev/null"]);
    let commit = git(&path, ["commit-tree", "-m", "one", &tree]);
    for name in ["refs/heads/main", "refs/heads/trunk"] {
        git(&path, ["update-ref", name, &commit]);
    }
    assert_eq!(open().head().expect("HEAD"), Head::Names(main));
    let trunk = BString::from("refs/heads/trunk");
    open().set_head(trunk.as_ref(), None).expect("a bare repository");
    assert_eq!(git(&path, ["symbolic-ref", "HEAD"]), "refs/heads/trunk");
    assert_eq!(open().head().expect("HEAD"), Head::Names(trunk.clone()));
    git(&path, ["update-ref", "--no-deref", "HEAD", &commit]);
    let id = gix::ObjectId::from_hex(commit.as_bytes()).expect("an id");
    assert_eq!(open().head().expect("HEAD"), Head::Detached(id));
    assert_eq!(git(&path, ["refs", "verify"]), "");

    git(folder.path(), ["init", "-q", "--ref-format=reftable", "checkout"]);
    let checkout = Location::Path(folder.path().join("checkout"));
    let error = Remote::open(checkout, &settings())
        .expect("a remote")
        .set_head(trunk.as_ref(), None)
        .expect_err("its files would no longer be those of HEAD");
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
}
