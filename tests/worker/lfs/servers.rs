//! giftless, an LFS server that is not ours. `tests/lfs/install` installs it below `target/lfs`.
use std::{net::TcpListener, process::Command};

use support::processes::Group;

use super::*;

/// A running giftless with its store.
struct Giftless {
    folder: tempfile::TempDir,
    port: u16,
    _server: Group,
}

impl Giftless {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let configuration = "AUTH_PROVIDERS: [\"giftless.auth.allow_anon:read_write\"]\n";
        fs::write(folder.path().join("giftless.yaml"), configuration).expect("a file");
        // giftless fails with 500 if two uploads create this folder at the same time.
        fs::create_dir_all(folder.path().join("lfs-storage/o/r")).expect("a folder");
        let flask = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/lfs/venv/bin/flask");
        assert!(flask.is_file(), "this test needs giftless: run tests/lfs/install");
        let port = {
            let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
            listener.local_addr().expect("its address").port()
        };
        let mut command = Command::new(flask);
        command.current_dir(folder.path());
        command.env("GIFTLESS_CONFIG_FILE", folder.path().join("giftless.yaml"));
        command.args(["--app", "giftless.wsgi_entrypoint", "run", "--port", &port.to_string()]);
        let mut server = Group::start(
            command
                .stdin(std::process::Stdio::null())
                .stderr(std::process::Stdio::null()),
        );
        server.wait_until_it_listens(port);
        Giftless {
            folder,
            port,
            _server: server,
        }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/o/r.git/info/lfs", self.port)
    }

    /// The stored objects.
    fn stored(&self) -> Vec<String> {
        let folder = self.folder.path().join("lfs-storage/o/r");
        let names = fs::read_dir(folder).into_iter().flatten();
        let mut names: Vec<String> = names
            .map(|entry| entry.expect("a name").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn a_reader_gets_what_was_carried_to_giftless() {
    let server = Giftless::start();
    let world = World::new();
    world.stargate.configure("lfs.url", &server.url());
    let contents = "contents ".repeat(100_000);
    push_with_git_lfs(&world, &contents);
    let more: Vec<Pointer> = (0..8)
        .map(|number| {
            let contents = format!("object {number}");
            let pointer = world.push_pointer(&contents, "refs/heads/main");
            world.store(&pointer, &contents);
            pointer
        })
        .collect();
    let report = world.run();
    assert_eq!(report["outcome"], "mirrored", "{report}");
    assert_eq!(report["lfs"]["uploaded"], 9, "{report}");
    let mut expected: Vec<String> = more.iter().map(|pointer| pointer.oid.to_string()).collect();
    expected.push(pointer(&contents).oid.to_string());
    expected.sort();
    assert_eq!(server.stored(), expected);

    let setting = format!("lfs.url={}", server.url());
    let mirror = world.mirror();
    let mirror = mirror.to_str().expect("UTF-8");
    with_filters(
        world.stargate.folder(),
        &["-c", &setting, "clone", "-q", "-b", "main", mirror, "reader"],
    );
    let read = fs::read_to_string(world.stargate.folder().join("reader/big.bin")).expect("the file");
    assert!(read == contents, "{} bytes", read.len());
}

#[test]
fn what_giftless_has_is_not_sent_again() {
    let server = Giftless::start();
    let world = World::new();
    world.stargate.configure("lfs.url", &server.url());
    let pointer = world.push_pointer("big", "refs/heads/main");
    world.store(&pointer, "big");
    assert_eq!(world.run()["lfs"]["uploaded"], 1);
    world.push_pointer("other", "refs/heads/other");
    world.push_pointer("big", "refs/heads/again");
    let report = world.run();
    // The blob of `big` is new on the branch, and the object of `other` is missing.
    assert_eq!(group(&report, "refs/heads/other")["outcome"], "broken", "{report}");
    assert!(
        report["lfs"].get("uploaded").is_some_and(|uploaded| uploaded == 0),
        "{report}"
    );
}
