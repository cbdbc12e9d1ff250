//! Check of the pushed ref names. It does not depend on the configuration.
//!
//! - A watermark (`refs/kv-mirror/`) exists on the mirror only, and only the worker moves it.
//! - Refs of namespaces must not be above or below each other, such as `refs/kv/a` and `refs/kv/a/b`. git would reject one
//!   of them, and accept the rest of the namespace.
//!
//! The refs themselves decide about the second rule. If they cannot be read, git decides.
use std::path::Path;

use bstr::{BString, ByteSlice};
use durable::{clock::Clock, storage::Disk};
use gix::hash::Kind;

use super::{
    head::{Names, Refs},
    hook_output::{HookOutput, readable},
};
use crate::{
    namespace::{is_watermark, namespace},
    ref_update::RefUpdate,
};

/// Names of a push that must be checked.
#[derive(Default)]
pub(super) struct RefNames {
    /// The first pushed watermark.
    watermark: Option<BString>,
    /// Created and deleted refs of namespaces.
    names: Names,
    format: Option<Kind>,
}

impl RefNames {
    /// Adds one update of the push.
    pub(super) fn add(&mut self, update: &RefUpdate) {
        let name = update.name.as_bstr();
        if is_watermark(name) {
            self.watermark.get_or_insert_with(|| name.to_owned());
        } else if namespace(name).is_some() && update.is_delete() {
            self.names.deleted.push(name.to_owned());
        } else if namespace(name).is_some() && update.is_create() {
            self.format = Some(update.new.kind());
            self.names.created.push(name.to_owned());
        }
    }

    /// Rejects the push if a name is not allowed: sets `complete` of `output` to false and adds the reason to it.
    pub(super) fn check(mut self, git_dir: &Path, output: &mut HookOutput<impl Clock>) {
        let Some(reason) = self.reason(git_dir) else {
            return;
        };
        output.complete = false;
        output.tell_pusher(&format!("push rejected, and no ref was updated: {reason}"));
        output.log(&format!("rejected a push: {reason}"));
        output.write_log(&Disk, git_dir);
    }

    fn reason(&mut self, git_dir: &Path) -> Option<String> {
        if let Some(watermark) = &self.watermark {
            let name = readable(watermark.as_bstr());
            return Some(format!(
                "{name} is a watermark, which only the worker sets, on the mirror. Push without refs/kv-mirror/*"
            ));
        }
        self.names.created.sort();
        self.names.deleted.sort();
        let refs = Refs::open(git_dir, self.format?).ok()?;
        let (created, existing) = refs.conflict(&self.names).ok()??;
        let (created, existing) = (readable(created.as_bstr()), readable(existing.as_bstr()));
        Some(format!(
            "{created} cannot exist together with {existing}, because git allows no ref below another. \
             Choose another name, or delete {existing}"
        ))
    }
}
