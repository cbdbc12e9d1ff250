//! Temporary refs of pushes in parts on the remote.
use std::collections::HashSet;

use bstr::BString;
use gix::{ObjectId, objs::Kind};

use super::super::{
    Advertisement, Command, Connection, Options, fast_forward::peeled, filler, objects::Objects, parts::Parts,
};
use super::Push;

/// Returns the temporary refs, without the namespace in their names.
pub(super) fn temporary<'r>(
    parts: &'r Parts,
    advertisement: &'r Advertisement,
) -> impl Iterator<Item = (&'r [u8], ObjectId)> {
    let refs = advertisement.refs.iter();
    refs.filter_map(|(name, id)| Some((name.strip_prefix(parts.namespace.as_slice())?, *id)))
}

/// Deletes the temporary refs that the commands of `push` or other refs reach. Failures are ignored: the push has
/// succeeded, and the next one tries again.
pub(super) fn remove(push: &Push<'_>, parts: &Parts, advertisement: &Advertisement, connection: &mut dyn Connection) {
    let owned = temporary(parts, advertisement).filter_map(|(rest, _)| Some((rest, filler::parse(rest)?.0)));
    // An owner that is not in the local repository is not reached: no walk has to look for it.
    let owned: Vec<_> = owned.filter(|(_, owner)| push.repository.has_object(owner)).collect();
    if owned.is_empty() || !advertisement.capabilities.offers("delete-refs") {
        return;
    }
    let owners = owned.iter().map(|(_, owner)| *owner).collect();
    let reached = reached(push, parts, advertisement, owners);
    let gone = owned.iter().filter(|(_, owner)| reached.contains(owner));
    let deletions = gone.filter_map(|(rest, _)| {
        let name = BString::from([&parts.namespace, *rest].concat());
        let old = advertisement.id(name.as_ref())?;
        Some(Command::delete(name, old))
    });
    let mut options = Options::default();
    options.agent.clone_from(&push.options.agent);
    let deletion = Push::new(push.repository, advertisement)
        .commands(deletions)
        .options(options);
    let _ = deletion.sent(connection);
}

/// Returns those of `owners` that are named or reached by the commands of `push`, or by other refs of the remote.
fn reached(
    push: &Push<'_>,
    parts: &Parts,
    advertisement: &Advertisement,
    mut owners: HashSet<ObjectId>,
) -> HashSet<ObjectId> {
    let objects = Objects::new(push.repository);
    let (mut reached, mut tips) = (HashSet::new(), Vec::new());
    let new = push.commands.iter().filter(|command| !command.is_delete());
    let refs = advertisement.refs.iter();
    let refs = refs.filter(|(name, _)| !name.starts_with(&parts.namespace));
    for id in new.map(|command| command.new).chain(refs.map(|(_, id)| *id)) {
        if let Ok(Some((id, kind))) = peeled(&objects, id) {
            reached.extend(owners.take(&id));
            tips.extend((kind == Kind::Commit).then_some(id));
        }
    }
    // What cannot be read is not reached, and stays.
    let walk = objects.repository().rev_walk(tips).all();
    for commit in walk.into_iter().flat_map(|walk| walk.map_while(Result::ok)) {
        if owners.is_empty() {
            break;
        }
        reached.extend(owners.take(&commit.id));
    }
    reached
}
