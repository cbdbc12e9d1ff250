//! Advice on errors of libraries that are independent of this program.
use git_push::repository::OpenError;

/// Returns an instruction for a repository that cannot be opened.
pub fn on_opening(error: &OpenError) -> &'static str {
    match error {
        OpenError::Unreadable { cause, .. } if is_denied(cause) => "run as the user that owns the repository",
        OpenError::Unreadable { .. } => {
            "run `git config --list` and `git fsck` in the repository, and correct the file that they name"
        }
        OpenError::NotUnderstood { setting, .. } if setting.is_ref_storage() => {
            "run `git refs migrate --ref-format=files` in the repository while no push is running; an installed hook \
             continues to record pushes"
        }
        OpenError::NotUnderstood { .. } => {
            "update stargate-mirror, or use a repository without this setting; an installed hook continues to record pushes"
        }
    }
}

/// Returns true if the system refused access.
pub fn is_denied(cause: &gix::Error) -> bool {
    let is_denied = |error: &std::io::Error| error.kind() == std::io::ErrorKind::PermissionDenied;
    let mut causes = cause.iter_errors();
    causes.any(|error| error.downcast_ref::<std::io::Error>().is_some_and(is_denied))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_refused_access_is_told_from_a_missing_repository() {
        let denied = gix::Error::from_error(io::Error::from(io::ErrorKind::PermissionDenied));
        assert!(is_denied(&denied));
        let missing = gix::Error::from_error(io::Error::from(io::ErrorKind::NotFound));
        assert!(!is_denied(&missing));
    }
}
