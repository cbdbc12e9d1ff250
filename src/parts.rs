//! Pushes in parts, for pushes over `stargate.maxPackSize`: their temporary refs on the remote.
use bstr::ByteSlice;
use git_push::{Advertisement, Command, Connection, Error, Push, Report, parts::Parts};

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

/// Returns the deletions of the temporary refs of a remote.
pub fn deletions(advertisement: &Advertisement) -> Vec<Command> {
    let refs = advertisement.refs.iter();
    let temporary = refs.filter(|(name, _)| name.starts_with_str(NAMESPACE));
    temporary.map(|(name, id)| Command::delete(name.clone(), *id)).collect()
}
