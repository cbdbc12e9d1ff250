//! Advice on errors of libraries that are independent of this program.
use git_push::repository::OpenError;

/// Returns an instruction for a repository that cannot be opened.
pub fn on_opening(error: &OpenError) -> &'static str {
    match error {
        OpenError::Unreadable { .. } => "run as the user that owns the repository",
        OpenError::NotUnderstood { setting, .. } if setting.is_ref_storage() => {
            "run `git refs migrate --ref-format=files` in the repository while no push is running; an installed hook \
             continues to record pushes"
        }
        OpenError::NotUnderstood { .. } => {
            "update stargate-mirror, or use a repository without this setting; an installed hook continues to record pushes"
        }
    }
}
