//! URLs as they may be shown.
use std::fmt;

/// A URL without its user info and what may follow its path.
pub(super) struct Shown<'a>(pub(super) &'a gix::Url);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut url = self.0.clone();
        url.set_user(None);
        url.set_password(None);
        f.write_str(&git_push::cleaned(&url.to_bstring()))
    }
}
