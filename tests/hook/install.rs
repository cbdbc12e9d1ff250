//! Installation of the hook, with and without an existing hook.
#![cfg(unix)]

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
};

use durable::storage::Disk;
use stargate_mirror::{
    hook::{
        durability::make_durable,
        git_config,
        install::{Change, InPlace, InstallError, Installation, Report, install},
        uninstall::{Removal, uninstall},
    },
    ref_pattern::DEFAULT_PATTERNS,
};
use support::{
    executable,
    stargate::{Stargate, clean_command, creation, feed, git, stderr},
};

use crate::HOOK;

/// Installs `post-receive` only.
fn try_install(stargate: &Stargate, chain: bool) -> Result<InPlace, InstallError> {
    let report = install_hooks(stargate, chain, false)?;
    Ok(report.hooks.into_iter().next().expect("a hook"))
}

fn install_hooks(stargate: &Stargate, chain: bool, pre_receive: bool) -> Result<Report, InstallError> {
    let installation = Installation {
        git_dir: &stargate.git_dir,
        program: HOOK.as_ref(),
        chain,
        pre_receive,
    };
    let report = install(&Disk, installation)?;
    for in_place in &report.hooks {
        executable::rewritten(&in_place.hook);
    }
    Ok(report)
}

fn hook_of(stargate: &Stargate) -> PathBuf {
    stargate.git_dir.join("hooks/post-receive")
}

/// The hook under its own name, as git runs it.
fn run_installed(stargate: &Stargate, input: &str) -> std::process::Output {
    let mut command = stargate.hook_behind(&["sh", "-c", "exec hooks/post-receive", "sh"]);
    command.env("MARK", "same environment");
    support::stargate::feed(command, input)
}

#[test]
fn installing_again_changes_nothing_and_an_older_version_is_replaced() {
    let stargate = Stargate::bare();
    fs::remove_dir_all(stargate.git_dir.join("hooks")).unwrap();
    let report = try_install(&stargate, false).unwrap();
    let hook = hook_of(&stargate);
    assert_eq!((report.change, &report.hook), (Change::Installed, &hook));
    assert_eq!(fs::metadata(&hook).unwrap().permissions().mode() & 0o7777, 0o755);
    assert_eq!(fs::read(&hook).unwrap(), fs::read(HOOK).unwrap());
    let written = fs::metadata(&hook).unwrap().modified().unwrap();
    assert_eq!(try_install(&stargate, true).unwrap().change, Change::Unchanged);
    assert_eq!(fs::metadata(&hook).unwrap().modified().unwrap(), written);

    let older = [&fs::read(HOOK).unwrap()[..], b"older"].concat();
    fs::write(&hook, older).unwrap();
    assert_eq!(try_install(&stargate, false).unwrap().change, Change::Updated);
    assert_eq!(fs::read(&hook).unwrap(), fs::read(HOOK).unwrap());

    fs::set_permissions(&hook, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(
        try_install(&stargate, false).unwrap().change,
        Change::Updated,
        "git skips a hook without its x bit"
    );
    let names: Vec<_> = fs::read_dir(hook.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["post-receive"], "nothing else is left");
}

#[test]
fn a_hook_of_someone_else_is_refused_and_chained_only_when_asked_for() {
    let stargate = Stargate::bare();
    executable::script(&hook_of(&stargate), "# mentions [stargate-mirror hook program]");
    let before = fs::read(hook_of(&stargate)).unwrap();
    let error = try_install(&stargate, false).unwrap_err().to_string();
    assert!(
        error.contains("hooks/post-receive exists and was not installed by stargate-mirror"),
        "{error}"
    );
    assert!(error.contains("--chain"), "{error}");
    assert!(!error.contains("emove"), "what it does may be needed: {error}");
    assert_eq!(fs::read(hook_of(&stargate)).unwrap(), before);

    let chained = stargate.git_dir.join("hooks/post-receive.chained");
    let report = try_install(&stargate, true).unwrap();
    assert_eq!(
        (report.change, report.chained.as_ref()),
        (Change::Chained, Some(&chained))
    );
    assert_eq!(fs::read(&chained).unwrap(), before);
    assert_eq!(try_install(&stargate, true).unwrap().change, Change::Unchanged);

    executable::script(&hook_of(&stargate), "# another");
    let error = try_install(&stargate, true).unwrap_err();
    assert!(matches!(error, InstallError::AlreadyChained { .. }), "{error}");
    assert_eq!(fs::read(chained).unwrap(), before);
}

#[test]
fn both_hooks_are_installed_or_none_and_each_is_chained_by_itself() {
    let stargate = Stargate::bare();
    let (pre, post) = (stargate.git_dir.join("hooks/pre-receive"), hook_of(&stargate));
    executable::script(&pre, "# mine");
    let error = install_hooks(&stargate, false, true).unwrap_err();
    assert!(
        matches!(&error, InstallError::ForeignHook(hook) if *hook == pre),
        "{error}"
    );
    assert!(!post.exists(), "nothing was changed");

    let changes = |report: Report| -> Vec<_> { report.hooks.into_iter().map(|in_place| in_place.change).collect() };
    let first = install_hooks(&stargate, true, true).unwrap();
    assert_eq!(first.hooks[1].chained, Some(pre.with_extension("chained")));
    assert_eq!(first.hooks[0].chained, None);
    assert_eq!(changes(first), [Change::Installed, Change::Chained]);
    let again = install_hooks(&stargate, false, true).unwrap();
    assert!(!again.git_is_durable);
    assert_eq!(changes(again), [Change::Unchanged; 2]);
    stargate.configure("core.fsync", "committed,reference");
    assert!(install_hooks(&stargate, false, true).unwrap().git_is_durable);
}

#[test]
fn git_waits_for_the_disk_when_asked_and_nothing_else_of_its_configuration_changes() {
    let stargate = Stargate::bare();
    let config = stargate.git_dir.join("config");
    let before = "# mine\n[core]\n\tbare = true\n\tfsync = none # for now\n[a \"b.c\"]\n  d = e\n";
    fs::write(&config, before).unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(!install_hooks(&stargate, false, true).unwrap().git_is_durable);
    assert!(make_durable(&Disk, &stargate.git_dir).unwrap());
    assert!(install_hooks(&stargate, false, true).unwrap().git_is_durable);
    let after = fs::read_to_string(&config).unwrap();
    assert_eq!(after, before.replace("fsync = none", "fsync = committed"));
    assert_eq!(fs::metadata(&config).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(git(&stargate.git_dir, ["config", "core.fsync"]).trim(), "committed");
    assert!(!stargate.git_dir.join("config.lock").exists());

    fs::write(stargate.git_dir.join("more"), "[core]\n\tfsync = none\n").unwrap();
    stargate.configure("include.path", "more");
    assert!(
        !make_durable(&Disk, &stargate.git_dir).unwrap(),
        "another file overrules it"
    );
}

#[test]
fn a_configuration_that_another_process_changes_is_left_to_it() {
    let stargate = Stargate::bare();
    let config = stargate.git_dir.join("config");
    let before = fs::read(&config).unwrap();
    fs::write(stargate.git_dir.join("config.lock"), "").unwrap();
    let error = make_durable(&Disk, &stargate.git_dir).unwrap_err();
    assert!(matches!(error, InstallError::ConfigLocked(_)), "{error}");
    assert_eq!(fs::read(&config).unwrap(), before);
    assert!(stargate.git_dir.join("config.lock").exists(), "it is not ours");

    fs::remove_file(stargate.git_dir.join("config.lock")).unwrap();
    let elsewhere = stargate.folder().join("elsewhere");
    fs::rename(&config, &elsewhere).unwrap();
    symlink(&elsewhere, &config).unwrap();
    assert!(make_durable(&Disk, &stargate.git_dir).unwrap());
    assert!(fs::symlink_metadata(&config).unwrap().is_symlink());
    assert!(fs::read_to_string(&elsewhere).unwrap().contains("fsync = committed"));
}

#[test]
fn a_symbolic_link_that_leads_nowhere_is_a_hook_of_someone_else() {
    let stargate = Stargate::bare();
    symlink("/does/not/exist", hook_of(&stargate)).unwrap();
    assert!(matches!(
        try_install(&stargate, false),
        Err(InstallError::ForeignHook(_))
    ));
}

#[test]
fn the_chained_hook_runs_first_with_the_same_input_and_its_failure_stops_nothing() {
    let stargate = Stargate::bare();
    let script =
        "cat > seen; echo \"$MARK $GIT_DIR\" >> seen; ls .stargate 2> /dev/null; echo out; echo err >&2; exit 3";
    executable::script(&hook_of(&stargate), script);
    try_install(&stargate, true).unwrap();
    let input = creation("refs/kv/a") + "nonsense\n" + &creation("refs/heads/b");
    let output = run_installed(&stargate, &input);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        fs::read_to_string(stargate.git_dir.join("seen")).unwrap(),
        input + "same environment .\n"
    );
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "out\n",
        "it ran before there was a journal"
    );
    assert!(stderr(&output).starts_with("err\n"));
    assert_eq!(stargate.recorded(), ["refs/kv/a"]);
    assert!(
        stargate.log().contains("the chained hook failed with exit status: 3"),
        "{}",
        stargate.log()
    );
}

#[test]
fn a_chained_hook_that_reads_nothing_or_cannot_run_keeps_no_entry_out() {
    let stargate = Stargate::bare();
    executable::script(&hook_of(&stargate), "exit 0");
    try_install(&stargate, true).unwrap();
    let names: Vec<_> = (0..3000).map(|number| format!("refs/kv/{number}")).collect();
    let input: String = names.iter().map(|name| creation(name)).collect();
    assert!(run_installed(&stargate, &input).status.success());
    assert_eq!(stargate.recorded(), names);

    let chained = stargate.git_dir.join("hooks/post-receive.chained");
    fs::write(&chained, "#!/does/not/exist\n").unwrap();
    executable::rewritten(&chained);
    assert_eq!(run_installed(&stargate, &creation("refs/kv/b")).status.code(), Some(1));
    assert!(
        stargate
            .log()
            .contains("the chained hook could not be run: No such file"),
        "{}",
        stargate.log()
    );

    fs::set_permissions(&chained, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(
        run_installed(&stargate, &creation("refs/kv/c")).status.success(),
        "passed over, as git does"
    );
    assert_eq!(stargate.recorded().len(), names.len() + 2);
}

/// The hook that Gitea generates. It runs all programs in the folder of its own name, and rejects if one of them does.
const RUNS_ITS_FOLDER: &str = r#"data=$(cat)
hookname=$(basename "$0")
for hook in ${GIT_DIR}/hooks/${hookname}.d/*; do
  test -x "${hook}" && test -f "${hook}" || continue
  echo "${data}" | "${hook}" || exit 1
done"#;

#[test]
fn a_chained_hook_that_asks_for_its_name_goes_on_to_protect_branches() {
    let stargate = Stargate::bare();
    let hooks = stargate.git_dir.join("hooks");
    executable::script(&hooks.join("pre-receive"), RUNS_ITS_FOLDER);
    executable::script(&hooks.join("post-receive"), RUNS_ITS_FOLDER);
    executable::script(
        &hooks.join("pre-receive.d/protection"),
        "! grep refs/kv/protected || { echo protected; exit 1; }",
    );
    executable::script(&hooks.join("post-receive.d/notice"), "cat > noticed");
    install_hooks(&stargate, true, true).unwrap();
    let client = stargate.client("one");
    let push = |name: &str| support::stargate::try_git(&client, ["push", "origin", &format!("HEAD:{name}")]);
    let refused = push("refs/kv/protected");
    assert!(!refused.status.success());
    assert!(stderr(&refused).contains("remote: protected"), "{}", stderr(&refused));
    assert!(push("refs/kv/free").status.success());
    assert_eq!(stargate.recorded(), ["refs/kv/free"]);
    let noticed = fs::read_to_string(stargate.git_dir.join("noticed")).unwrap();
    assert!(noticed.ends_with(" refs/kv/free\n"), "{noticed}");
}

#[test]
fn a_chained_hook_finds_what_lies_beside_it_whichever_way_it_looks() {
    let stargate = Stargate::bare();
    let hooks = stargate.git_dir.join("hooks");
    executable::script(
        &stargate.git_dir.join("real/post-receive"),
        r#"echo "$(basename "$0")" > seen; . "$(dirname "$0")/words"; for part in "$0.d"/*; do "$part" >> seen; done"#,
    );
    symlink("../real/post-receive", hooks.join("post-receive")).unwrap();
    executable::script(&hooks.join("words"), "echo words >> seen");
    executable::script(&hooks.join("post-receive.d/part"), "echo part");
    let seen = || {
        assert!(run_installed(&stargate, &creation("refs/kv/a")).status.success());
        fs::read_to_string(stargate.git_dir.join("seen")).unwrap()
    };
    let in_place = try_install(&stargate, true).unwrap();
    assert_eq!(in_place.runs_as, Some(hooks.join("stargate-chained/post-receive")));
    assert_eq!(seen(), "post-receive\nwords\npart\n");

    // An installation from before the links existed has none until it is repeated.
    fs::remove_dir_all(hooks.join("stargate-chained")).unwrap();
    executable::script(&hooks.join("post-receive.chained.d/part"), "echo old place");
    assert_eq!(seen(), "post-receive.chained\nwords\nold place\n");
    assert_eq!(try_install(&stargate, false).unwrap().change, Change::Unchanged);
    assert_eq!(seen(), "post-receive\nwords\npart\n");
}

#[test]
fn a_hook_that_is_not_chained_is_never_run_as_if_it_were() {
    let stargate = Stargate::bare();
    let pre = stargate.git_dir.join("hooks/pre-receive");
    executable::script(&hook_of(&stargate), "true");
    executable::script(&pre, "true");
    try_install(&stargate, true).unwrap();
    fs::remove_file(&pre).unwrap();
    install_hooks(&stargate, true, true).unwrap();
    git(&stargate.client("one"), ["push", "-q", "origin", "HEAD:refs/kv/main"]);
    assert_eq!(stargate.recorded(), ["refs/kv/main"]);
    assert!(!stargate.git_dir.join("hooks/stargate-chained/pre-receive").exists());
}

#[test]
fn hooks_go_where_git_looks_for_them() {
    let stargate = Stargate::bare();
    stargate.configure("core.hooksPath", "my-hooks");
    let report = install_hooks(&stargate, false, true).unwrap();
    let names = ["my-hooks/post-receive", "my-hooks/pre-receive"].map(|name| stargate.git_dir.join(name));
    assert!(report.hooks.iter().map(|in_place| &in_place.hook).eq(&names));
    assert!(!report.outside);
    git(&stargate.client("one"), ["push", "-q", "origin", "HEAD:refs/kv/main"]);
    assert_eq!(stargate.recorded(), ["refs/kv/main"]);

    let elsewhere = stargate.folder().join("hooks of all");
    git(
        &stargate.git_dir,
        ["config", "core.hooksPath", elsewhere.to_str().unwrap()],
    );
    let report = install_hooks(&stargate, false, false).unwrap();
    assert_eq!(
        (&report.hooks[0].hook, report.outside, report.hooks.len()),
        (&elsewhere.join("post-receive"), true, 1)
    );
}

#[test]
fn a_push_runs_the_chained_hook_and_records() {
    let stargate = Stargate::bare();
    executable::script(
        &hook_of(&stargate),
        "while read old new name; do echo \"chained saw $name\"; done",
    );
    try_install(&stargate, true).unwrap();
    let output = support::stargate::try_git(&stargate.client("one"), ["push", "origin", "HEAD:refs/kv/main"]);
    assert!(
        stderr(&output).contains("remote: chained saw refs/kv/main"),
        "{}",
        stderr(&output)
    );
    assert_eq!(stargate.recorded(), ["refs/kv/main"]);
}

#[test]
fn what_it_prints_names_the_consumer_and_the_next_step() {
    let stargate = Stargate::bare();
    let printed = |more: &[&str]| {
        let mut command = clean_command(env!("CARGO_BIN_EXE_stargate-mirror"));
        command.args(["install", "--repo"]).arg(&stargate.git_dir).args(more);
        let output = feed(command, "");
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let text = printed(&[]);
    let repo = stargate.git_dir.display();
    for expected in [
        format!("Installed {repo}/hooks/post-receive.\n"),
        format!("Installed {repo}/hooks/pre-receive.\n"),
        format!("git config -f {repo}/config core.fsync committed\n"),
        "`stargate-mirror run` and `watch` read the journal and push to the mirror.\n".to_owned(),
        format!("git config -f {repo}/config stargate.remote https://"),
        format!("GITHUB_PAT=... stargate-mirror run --repo {repo}\n"),
    ] {
        assert!(text.contains(&expected), "{expected}\n{text}");
    }
    for expected in [
        format!("Mirrored refs: {}\n", DEFAULT_PATTERNS.join(", ")),
        "It is silent about a push without mirrored refs.\n".to_owned(),
        format!("git config -f {repo}/config --add stargate.ref 'refs/kv/*'\n"),
        format!("git config -f {repo}/config --add stargate.ref 'refs/heads/*'\n"),
    ] {
        assert!(text.contains(&expected), "{expected}\n{text}");
    }
    assert!(printed(&[]).contains("nothing was changed"));
    assert!(!printed(&["--fsync-committed"]).contains("core.fsync"));
    assert!(!printed(&[]).contains("core.fsync"), "it stays so");
    stargate.configure("stargate.ref", "refs/x/*");
    let text = printed(&[]);
    assert!(
        text.contains("Mirrored refs: refs/x/*\n") && text.contains("refs/heads/*"),
        "{text}"
    );
    assert!(!text.contains("refs/kv"), "nothing stands in their place: {text}");
    stargate.configure("stargate.ref", "refs/heads/*");
    assert!(!printed(&[]).contains("Branches are not"));
}

#[test]
fn settings_are_added_as_git_reads_them_and_the_rest_stays() {
    let stargate = Stargate::bare();
    let config = stargate.git_dir.join("config");
    for before in [
        "[core]\n\tbare = true # mine\n",
        "[core]\n\tbare = true\n[stargate]\n\tforce = true\n[x]\n\ty = z\n",
    ] {
        fs::write(&config, before).unwrap();
        let values = ["https://h/o/r.git", "/a b/#c;d\"e\\f.git", " refs/heads/* "];
        let added: Vec<_> = values.iter().map(|value| ("ref", (*value).into())).collect();
        git_config::add(&Disk, &stargate.git_dir, &added).unwrap();
        let read = git(&stargate.git_dir, ["config", "-z", "--get-all", "stargate.ref"]);
        assert_eq!(read.split_terminator('\0').collect::<Vec<_>>(), values);
        let after = fs::read_to_string(&config).unwrap();
        let mut rest = before.lines();
        let kept = after
            .lines()
            .filter(|line| rest.clone().next() == Some(*line) && rest.next().is_some());
        assert_eq!(kept.count(), before.lines().count(), "{after}");
    }
    let lock = config.with_extension("lock");
    fs::write(&lock, "").unwrap();
    let error = git_config::add(&Disk, &stargate.git_dir, &[("ref", "refs/x".into())]).unwrap_err();
    assert!(matches!(error, InstallError::ConfigLocked(_)), "{error}");
}

#[test]
fn an_uninstallation_restores_what_an_installation_has_replaced() {
    let stargate = Stargate::bare();
    let theirs = stargate.git_dir.join("hooks/pre-receive");
    executable::script(&theirs, "exit 0");
    let before = fs::read(&theirs).unwrap();
    install_hooks(&stargate, true, true).unwrap();
    assert_ne!(fs::read(&theirs).unwrap(), before);
    let mut command = clean_command(support::programs::mirror());
    command.args(["uninstall", "--repo"]).arg(&stargate.git_dir);
    let output = feed(command, "");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", stderr(&output));
    for words in ["Restored ", "Removed ", "cron entries"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(fs::read(&theirs).unwrap(), before);
    let left = fs::read_dir(stargate.git_dir.join("hooks")).unwrap();
    let left = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let is_ours = |name: &String| name.contains("receive") && !name.ends_with(".sample");
    let left: Vec<_> = left.filter(is_ours).collect();
    assert_eq!(left, ["pre-receive"], "neither links nor copies");
    assert!(!stargate.git_dir.join("hooks/stargate-chained").exists());
    // Again, and of a hook that is not ours.
    let again = uninstall(&Disk, &stargate.git_dir).unwrap();
    let changes: Vec<_> = again.into_iter().map(|removed| removed.change).collect();
    assert_eq!(changes, [Removal::Foreign, Removal::Missing]);
}
