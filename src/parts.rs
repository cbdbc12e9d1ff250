//! Pushes in parts, for pushes over `stargate.maxPackSize`: their temporary refs on the remote.
use bstr::{BStr, ByteSlice};
use git_push::{Advertisement, Command, Connection, Error, Push, Report, parts::Parts};
use gix::ObjectId;

/// Folder of the temporary refs, with its slash.
pub const NAMESPACE: &str = "refs/stargate-parts/";

/// Carries out the push, in parts if its pack has more than `max_pack_size` bytes, or the server refuses its size.
///
/// # Errors
/// See [`Push::send_in_parts()`].
pub fn send(push: Push<'_>, max_pack_size: Option<u64>, connection: &mut dyn Connection) -> Result<Report, Error> {
    match max_pack_size {
        Some(max_bytes) => push.send_in_parts(&Parts::new(NAMESPACE, max_bytes), connection),
        None => push.send(connection),
    }
}

/// Returns the deletions of the temporary refs of a remote that belong to an object for which `is_ours` returns true. Those
/// of other repositories stay: their pushes may be running.
pub fn deletions(advertisement: &Advertisement, is_ours: impl Fn(ObjectId) -> bool) -> Vec<Command> {
    let refs = advertisement.refs.iter();
    let ours = refs.filter(|(name, _)| owner(name.as_ref()).is_some_and(&is_ours));
    ours.map(|(name, id)| Command::delete(name.clone(), *id)).collect()
}

/// Returns the object that a temporary ref is named after: `<id>`, or `<id>.<start>-<end>` for some of the objects that
/// it adds.
fn owner(name: &BStr) -> Option<ObjectId> {
    let rest = name.strip_prefix(NAMESPACE.as_bytes())?;
    ObjectId::from_hex(rest.split_str(".").next()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_temporary_refs_of_our_objects_are_deleted() {
        let [ours, other] = ["a", "b"].map(|digit| digit.repeat(40));
        let id = |digits: &str| ObjectId::from_hex(digits.as_bytes()).expect("an id");
        let names = [
            format!("{NAMESPACE}{ours}"),
            format!("{NAMESPACE}{ours}.0-7"),
            format!("{NAMESPACE}{other}"),
            format!("{NAMESPACE}{other}.0-7"),
            format!("{NAMESPACE}main"),
            format!("refs/heads/{ours}"),
        ];
        let refs = names.iter().map(|name| (name.as_str().into(), id(&ours)));
        let advertisement = Advertisement {
            refs: refs.collect(),
            ..Advertisement::default()
        };
        let deletions = deletions(&advertisement, |owner| owner == id(&ours));
        let deleted: Vec<_> = deletions.iter().map(|command| command.name.to_string()).collect();
        assert_eq!(deleted, names[..2]);
        assert!(
            deletions
                .iter()
                .all(|command| command.is_delete() && command.old == id(&ours))
        );
    }
}
