//! Refspecs, one per line, with a repository and a remote that have a few refs: the requested updates are valid.
use std::collections::{BTreeMap, BTreeSet};

use bstr::{BStr, BString, ByteSlice};
use git_push::{
    Capabilities, Command, Options, negotiate,
    refspec::{LocalRefs, RefspecError, Refspecs, Wanted},
};
use gix::ObjectId;
use stargate_mirror::ref_pattern::RefPatterns;

const NULL: ObjectId = ObjectId::Sha1([0; 20]);
const HERE: ObjectId = ObjectId::Sha1([1; 20]);
const THERE: ObjectId = ObjectId::Sha1([2; 20]);
const LOCAL: [&str; 5] = [
    "refs/heads/main",
    "refs/heads/a",
    "refs/tags/a",
    "refs/kv/main",
    "refs/notes/a",
];
const REMOTE: [&str; 4] = ["refs/heads/main", "refs/heads/b", "refs/kv/main", "refs/kv/old"];

pub fn check(bytes: &[u8]) {
    let texts: Vec<&[u8]> = bytes.lines().collect();
    // Patterns of the configuration look alike.
    if let Ok(patterns) = RefPatterns::new(&texts) {
        let prefixes: Vec<BString> = patterns.prefixes().map(BString::from).collect();
        for name in LOCAL
            .iter()
            .chain(&REMOTE)
            .filter(|name| patterns.matches(BStr::new(*name)))
        {
            assert!(
                prefixes.iter().any(|prefix| name.as_bytes().starts_with(prefix)),
                "{name}"
            );
        }
    }
    if let Ok(wanted) = asked(&texts) {
        check_wanted(&wanted, bytes);
        check_commands(&wanted);
        let again = asked(&texts).expect("it was so before");
        assert_eq!(again, wanted);
    }
}

fn asked(texts: &[&[u8]]) -> Result<Vec<Wanted>, RefspecError> {
    let refs =
        |names: &[&str], id| -> BTreeMap<BString, ObjectId> { names.iter().map(|name| ((*name).into(), id)).collect() };
    let local = LocalRefs {
        ids: refs(&LOCAL, HERE),
        symbolic: [("HEAD".into(), "refs/heads/main".into())].into(),
        object: &|expression| (expression == "HEAD").then_some(HERE),
        null: NULL,
    };
    Refspecs::parse(texts)?
        .with_sources(&local)?
        .matched(&refs(&REMOTE, THERE))
}

fn check_wanted(wanted: &[Wanted], bytes: &[u8]) {
    let names: BTreeSet<_> = wanted.iter().map(|update| &update.name).collect();
    assert_eq!(names.len(), wanted.len(), "each ref once");
    for update in wanted {
        assert_eq!(
            update.new.is_null(),
            update.source.is_none(),
            "nothing is deleted that has a source"
        );
        assert_eq!(update.old.is_null(), !REMOTE.contains(&&*update.name.to_string()));
        let replaced = "\u{fffd}";
        assert!(
            !update.name.contains_str(replaced) || bytes.contains_str(replaced),
            "{update:?}"
        );
    }
}

/// A pattern may make names that no ref can have; those never reach the wire.
fn check_commands(wanted: &[Wanted]) {
    let command = |update: &Wanted| Command {
        name: update.name.clone(),
        old: update.old,
        new: update.new,
    };
    let offered = Capabilities {
        list: ["report-status", "delete-refs"].map(|name| (name.into(), None)).into(),
    };
    let commands: Vec<_> = wanted.iter().map(command).collect();
    let valid = |command: &Command| {
        command.name.starts_with(b"refs/") && gix::validate::reference::name(command.name.as_bstr()).is_ok()
    };
    let negotiated = negotiate(&offered, NULL.kind(), commands.clone(), &Options::default());
    let fits = commands.iter().all(|command| command.name.len() < 4096);
    assert!(negotiated.is_err() || commands.iter().all(valid));
    assert!(negotiated.is_ok() || !fits || !commands.iter().all(valid));
}
