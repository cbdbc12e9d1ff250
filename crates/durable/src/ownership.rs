//! Owner and mode of new files and folders.
//!
//! On Unix, a new file or folder gets the owner of its parent folder, if this process may change the owner. In a shared
//! folder (setgid) it is writable by the folder's group. So a worker that runs as root does not lock out the users who push.
use std::{fs, io, path::Path};

#[cfg_attr(windows, path = "ownership/windows.rs")]
#[cfg_attr(unix, path = "ownership/unix.rs")]
mod platform;

pub(crate) use platform::{set_folder_mode, set_on, set_on_folder};

/// Gives a file or directory that other code of this process has created to the owner of `folder`, if this process may do
/// that, and sets `mode`, if given. Skips files of other users and files with several hard links.
///
/// # Errors
/// The errors of `open(2)` (a symbolic link is not followed), `fchown(2)` and `fchmod(2)`.
pub fn hand_over(path: &Path, folder: &Path, mode: Option<u32>) -> io::Result<()> {
    platform::hand_over(path, folder, mode)
}

/// Returns true for a file that somebody may execute. On systems without modes, every file is one.
pub fn is_executable(metadata: &fs::Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        metadata.is_file() && metadata.permissions().mode() & 0o111 != 0
    }
    #[cfg(not(unix))]
    metadata.is_file()
}

/// Returns the mode that git gives to a folder of 0755 for this value of `core.sharedRepository` (git-config). `None` if the
/// repository is not shared, or the value is invalid. `is_true` is true if git reads the value as the boolean `true`.
pub fn shared_folder_mode(value: &str, is_true: bool) -> Option<u32> {
    let (group, everybody) = (0o660, 0o664);
    let value = value.to_ascii_lowercase();
    let added = match (value.as_str(), u32::from_str_radix(&value, 8)) {
        ("group", _) | (_, Ok(1)) => 0o644 | group,
        ("all" | "world" | "everybody", _) | (_, Ok(2)) => 0o644 | everybody,
        (_, Ok(exact)) if exact & 0o600 == 0o600 => exact & 0o666,
        (_, Err(_)) if is_true => 0o644 | group,
        _ => return None,
    };
    let setgid = if added & 0o060 == 0 { 0 } else { 0o2000 };
    // Read access to a folder includes access to its entries.
    Some(added | (added & 0o444) >> 2 | setgid)
}
