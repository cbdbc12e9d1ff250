use super::*;

const NULL: ObjectId = ObjectId::Sha1([0; 20]);
const HERE: ObjectId = ObjectId::Sha1([1; 20]);
const THERE: ObjectId = ObjectId::Sha1([2; 20]);

/// Returns the updates as `source>name`, for a repository and a remote with refs of these names.
fn asked(refspecs: &[&str], local: &[&str], remote: &[&str]) -> Result<String, RefspecError> {
    let refs = |names: &[&str], id| names.iter().map(|name| ((*name).into(), id)).collect();
    let local = LocalRefs {
        ids: refs(local, HERE),
        symbolic: [("HEAD".into(), "refs/heads/main".into())].into(),
        object: &|expression| (expression == "HEAD").then_some(HERE),
        null: NULL,
    };
    let wanted = Refspecs::parse(refspecs)?
        .with_sources(&local)?
        .matched(&refs(remote, THERE))?;
    let line = |wanted: Wanted| {
        assert_eq!(wanted.new.is_null(), wanted.source.is_none());
        assert_eq!(wanted.old.is_null(), !remote.contains(&&*wanted.name.to_string()));
        format!("{}>{}", wanted.source.unwrap_or_default(), wanted.name)
    };
    Ok(wanted.into_iter().map(line).collect::<Vec<_>>().join(" "))
}

#[test]
fn branches_and_tags_win_over_others_and_over_nothing() {
    let asked = |refspec: &str, local: &[&str]| asked(&[refspec], local, &[]);
    let other = ["refs/remotes/a", "refs/heads/a"];
    assert_eq!(asked("a", &other).unwrap(), "refs/heads/a>refs/heads/a");
    assert_eq!(asked("a", &other[..1]).unwrap(), "refs/remotes/a>refs/remotes/a");
    let two = ["refs/tags/a", "refs/heads/a"];
    assert_eq!(asked("a", &two), Err(RefspecError::AmbiguousSource("a".into())));
    assert_eq!(asked("a", &[]), Err(RefspecError::NoSource("a".into())));
}

#[test]
fn what_the_remote_has_comes_first_then_new_names_as_they_were_asked_for() {
    let local = ["refs/heads/a", "refs/heads/b", "refs/heads/c", "refs/heads/d"];
    let refspecs = ["d", "a", "refs/heads/*", "^refs/heads/c"];
    let asked = asked(&refspecs, &local, &["refs/heads/b"]).unwrap();
    let names: Vec<_> = asked.split(' ').filter_map(|one| one.split('>').nth(1)).collect();
    assert_eq!(names, ["refs/heads/b", "refs/heads/d", "refs/heads/a"]);
}

#[test]
fn all_branches_all_refs_and_pruning() {
    let local = ["refs/heads/a", "refs/heads/new", "refs/tags/t"];
    let remote = ["refs/heads/a", "refs/heads/gone", "refs/kv/gone"];
    let updates = |refspecs: Refspecs| {
        let refs = |names: &[&str], id| names.iter().map(|name| ((*name).into(), id)).collect();
        let local = LocalRefs {
            ids: refs(&local, HERE),
            symbolic: BTreeMap::new(),
            object: &|_| None,
            null: NULL,
        };
        let sourced = refspecs.with_sources(&local).expect("sources");
        let wanted = sourced.matched(&refs(&remote, THERE)).expect("updates");
        let line = |wanted: Wanted| format!("{}>{}", wanted.source.unwrap_or_default(), wanted.name);
        wanted.into_iter().map(line).collect::<Vec<_>>()
    };
    let none = || Refspecs::parse([""; 0]).expect("none");
    assert_eq!(
        updates(none().with_matching(Matching::AllBranches)),
        ["refs/heads/a>refs/heads/a", "refs/heads/new>refs/heads/new"]
    );
    assert_eq!(
        updates(none().with_matching(Matching::AllRefs)),
        [
            "refs/heads/a>refs/heads/a",
            ">refs/heads/gone",
            ">refs/kv/gone",
            "refs/heads/new>refs/heads/new",
            "refs/tags/t>refs/tags/t"
        ]
    );
    let pruning = Refspecs::parse([":"]).expect("a refspec").with_prune(true);
    assert_eq!(updates(pruning), ["refs/heads/a>refs/heads/a", ">refs/heads/gone"]);
    let pruning = Refspecs::parse(["refs/heads/*:refs/kv/*"])
        .expect("a refspec")
        .with_prune(true);
    assert_eq!(
        updates(pruning),
        [">refs/kv/gone", "refs/heads/a>refs/kv/a", "refs/heads/new>refs/kv/new"]
    );
}

#[test]
fn a_ref_is_mapped_by_the_refspec_that_has_a_destination_for_it() {
    let mapped = |refspecs: &[&str], name: &str| {
        let mapped = Refspecs::parse(refspecs).expect("refspecs").mapped(name.into());
        mapped.map(|text| text.to_string())
    };
    let refspecs = ["refs/heads/a:refs/x/a", "+refs/heads/*:refs/for/*"];
    assert_eq!(
        mapped(&refspecs, "refs/heads/a").as_deref(),
        Some("refs/heads/a:refs/x/a")
    );
    assert_eq!(
        mapped(&refspecs, "refs/heads/b").as_deref(),
        Some("+refs/heads/b:refs/for/b")
    );
    assert_eq!(mapped(&refspecs, "refs/tags/a"), None);
    assert_eq!(mapped(&["refs/heads/a"], "refs/heads/a"), None);
}

#[test]
fn a_destination_that_is_not_utf8_is_kept_as_it_is() {
    let id = |name: &str, id| BTreeMap::from([(name.into(), id)]);
    let local = LocalRefs {
        ids: id("refs/heads/a", HERE),
        symbolic: BTreeMap::new(),
        object: &|_| None,
        null: NULL,
    };
    let refspecs = Refspecs::parse([b"a:\xff"]).unwrap();
    let wanted = refspecs
        .with_sources(&local)
        .unwrap()
        .matched(&BTreeMap::new())
        .unwrap();
    assert_eq!(wanted[0].name, b"refs/heads/\xff".as_bstr());
}

#[test]
fn a_destination_that_is_not_there_is_what_the_source_is() {
    let local = ["refs/heads/main", "refs/tags/v1", "refs/kv/main"];
    let asked = |refspec: &str| asked(&[refspec], &local, &["refs/heads/there"]);
    assert_eq!(asked("HEAD").unwrap(), "HEAD>refs/heads/main");
    assert_eq!(asked("HEAD:new").unwrap(), "HEAD>refs/heads/new");
    assert_eq!(asked("v1:v2").unwrap(), "refs/tags/v1>refs/tags/v2");
    assert_eq!(asked("v1:there").unwrap(), "refs/tags/v1>refs/heads/there");
    assert!(matches!(
        asked("refs/kv/main:new"),
        Err(RefspecError::Unqualified { .. })
    ));
    assert_eq!(asked(":new"), Err(RefspecError::NothingToDelete("new".into())));
    assert_eq!(asked(":there").unwrap(), ">refs/heads/there");
}
