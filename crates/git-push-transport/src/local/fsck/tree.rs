//! The format of trees: modes, names, order.
use bstr::{BStr, ByteSlice};
use gix::{ObjectId, objs::Kind};

use super::{
    message::Message,
    names::{Special, is_dot_git, is_ntfs_dot_git},
    report::{Faulty, Report},
};

const TYPE: u16 = 0o170_000;
const FOLDER: u16 = 0o040_000;
const LINK: u16 = 0o120_000;
const FILE: u16 = 0o100_000;
/// Modes that git writes.
const MODES: [u16; 5] = [0o100_755, 0o100_644, LINK, FOLDER, 0o160_000];

/// An entry as it is stored.
#[derive(Debug, Clone, Copy)]
struct Entry<'a> {
    has_zero_in_front: bool,
    mode: u16,
    name: &'a BStr,
    id: ObjectId,
}

/// Faults that are reported once for a tree.
#[derive(Debug, Default)]
struct Faults(Vec<(Message, &'static str)>);

/// Checks the format of a tree, and records its special files.
///
/// # Errors
/// It has a fault that the push must not have.
pub(super) fn check(id: ObjectId, data: &[u8], report: &mut Report<'_>) -> Result<(), Faulty> {
    let mut result = Ok(());
    let mut faults = Faults::default();
    let mut before: Vec<&BStr> = Vec::new();
    let mut last: Option<Entry<'_>> = None;
    let mut rest = data;
    while !rest.is_empty() {
        let (entry, left) = match next(rest, id.kind()) {
            Ok(next) => next,
            Err(why) => {
                report.words.push(format!("error: {why}"));
                let fault = report.fault(id, Message::BadTree, "cannot be parsed as a tree");
                result = result.and(fault);
                break;
            }
        };
        rest = left;
        faults.of_entry(&entry, report.rules.longest_name);
        let fault = special_files(id, &entry, report);
        result = result.and(fault);
        if let Some(last) = last {
            faults.of_order(&last, &entry, &mut before);
        }
        last = Some(entry);
    }
    for (message, text) in faults.sorted() {
        let fault = report.fault(id, message, text);
        result = result.and(fault);
    }
    result
}

/// Returns the objects that a tree refers to, with their types. Modes that git does not know are those of submodules.
pub(super) fn links(data: &[u8], hash: gix::hash::Kind) -> Vec<(ObjectId, Kind)> {
    let mut links = Vec::new();
    let mut rest = data;
    while let Ok((entry, left)) = next(rest, hash) {
        rest = left;
        match entry.mode & TYPE {
            FOLDER => links.push((entry.id, Kind::Tree)),
            FILE | LINK => links.push((entry.id, Kind::Blob)),
            _ => {}
        }
    }
    links
}

/// Returns the next entry and the bytes after it, or why it cannot be parsed.
fn next(data: &[u8], hash: gix::hash::Kind) -> Result<(Entry<'_>, &[u8]), &'static str> {
    let (short, malformed) = ("too-short tree object", "malformed mode in tree entry");
    let end = data.len().checked_sub(hash.len_in_bytes() + 1).filter(|end| *end >= 2);
    if end.is_none_or(|end| data[end] != 0) {
        return Err(short);
    }
    let (mode, rest) = data.split_once_str(b" ").ok_or(malformed)?;
    if mode.is_empty() || !mode.iter().all(|digit| (b'0'..=b'7').contains(digit)) {
        return Err(malformed);
    }
    let (name, rest) = rest.split_once_str(b"\0").ok_or(short)?;
    if name.is_empty() {
        return Err("empty filename in tree entry");
    }
    let (id, rest) = rest.split_at_checked(hash.len_in_bytes()).ok_or(short)?;
    // As in git, digits that do not fit are lost.
    let value = mode
        .iter()
        .fold(0u16, |value, digit| (value << 3) | u16::from(digit - b'0'));
    let entry = Entry {
        has_zero_in_front: mode[0] == b'0',
        mode: value,
        name: name.as_bstr(),
        id: ObjectId::from_bytes_or_panic(id),
    };
    Ok((entry, rest))
}

/// Records the special files of an entry, and reports links in their place.
fn special_files(id: ObjectId, entry: &Entry<'_>, report: &mut Report<'_>) -> Result<(), Faulty> {
    let is_link = entry.mode & TYPE == LINK;
    let below = entry.name.split_str(b"\\").skip(1);
    let is_modules = Special::Modules.is(entry.name) || below.into_iter().any(|part| Special::Modules.is_ntfs(part));
    if !is_link {
        if is_modules {
            report.modules.insert(entry.id);
        }
        if Special::Attributes.is(entry.name) {
            report.attributes.insert(entry.id);
        }
        return Ok(());
    }
    let mut result = Ok(());
    for special in Special::ALL {
        let (message, text) = match special {
            Special::Modules => (Message::GitmodulesSymlink, ".gitmodules is a symbolic link"),
            Special::Attributes => (Message::GitattributesSymlink, ".gitattributes is a symlink"),
            Special::Ignore => (Message::GitignoreSymlink, ".gitignore is a symlink"),
            Special::Mailmap => (Message::MailmapSymlink, ".mailmap is a symlink"),
        };
        let is_special = special.is(entry.name) || (special == Special::Modules && is_modules);
        if is_special {
            let fault = report.fault(id, message, text);
            result = result.and(fault);
        }
    }
    result
}

impl Faults {
    fn add(&mut self, message: Message, text: &'static str, is_fault: bool) {
        if is_fault && !self.0.contains(&(message, text)) {
            self.0.push((message, text));
        }
    }

    fn of_entry(&mut self, entry: &Entry<'_>, longest: usize) {
        let name = entry.name.as_bytes();
        let is_git = is_dot_git(name) || name.split_str(b"\\").skip(1).any(is_ntfs_dot_git);
        self.add(
            Message::NullSha1,
            "contains entries pointing to null sha1",
            entry.id.is_null(),
        );
        self.add(Message::FullPathname, "contains full pathnames", name.contains(&b'/'));
        self.add(Message::HasDot, "contains '.'", name == b".");
        self.add(Message::HasDotdot, "contains '..'", name == b"..");
        self.add(Message::HasDotgit, "contains '.git'", is_git);
        self.add(
            Message::ZeroPaddedFilemode,
            "contains zero-padded file modes",
            entry.has_zero_in_front,
        );
        self.add(
            Message::BadFilemode,
            "contains bad file modes",
            !MODES.contains(&entry.mode),
        );
        self.add(
            Message::LargePathname,
            "contains excessively large pathname",
            name.len() > longest,
        );
    }

    /// Compares two entries in a row. A folder sorts as if its name ended with a slash. So a file and a folder of one name can
    /// be apart from each other: `before` has the names of files that a folder may repeat.
    fn of_order<'a>(&mut self, last: &Entry<'a>, entry: &Entry<'a>, before: &mut Vec<&'a BStr>) {
        let common = last.name.len().min(entry.name.len());
        match last.name[..common].cmp(&entry.name[..common]) {
            std::cmp::Ordering::Less => return,
            std::cmp::Ordering::Greater => return self.unsorted(),
            std::cmp::Ordering::Equal => {}
        }
        let end = |entry: &Entry<'_>| match entry.name.get(common) {
            Some(byte) => *byte,
            None if entry.mode & TYPE == FOLDER => b'/',
            None => 0,
        };
        if last.name.len() == entry.name.len() {
            return self.repeated();
        }
        let ends = (end(last), end(entry));
        let is_below_slash = |byte: u8| byte > 0 && byte < b'/';
        if ends.0 == 0 && is_below_slash(ends.1) {
            before.push(last.name);
        } else if ends.1 == b'/' && is_below_slash(ends.0) {
            self.repeats(entry.name, before);
        }
        if ends.0 >= ends.1 {
            self.unsorted();
        }
    }

    /// Looks for a file with the name of a folder.
    fn repeats(&mut self, folder: &BStr, before: &mut Vec<&BStr>) {
        while let Some(file) = before.pop() {
            match folder.strip_prefix(file.as_bytes()) {
                Some([]) => return self.repeated(),
                Some([byte, ..]) if *byte > 0 && *byte < b'/' => {
                    before.push(file);
                    return;
                }
                _ => {}
            }
        }
    }

    fn repeated(&mut self) {
        self.add(Message::DuplicateEntries, "contains duplicate file entries", true);
    }

    fn unsorted(&mut self) {
        self.add(Message::TreeNotSorted, "not properly sorted", true);
    }

    /// Returns the faults in git's order.
    fn sorted(mut self) -> Vec<(Message, &'static str)> {
        const ORDER: [Message; 10] = [
            Message::NullSha1,
            Message::FullPathname,
            Message::HasDot,
            Message::HasDotdot,
            Message::HasDotgit,
            Message::ZeroPaddedFilemode,
            Message::BadFilemode,
            Message::DuplicateEntries,
            Message::TreeNotSorted,
            Message::LargePathname,
        ];
        self.0
            .sort_by_key(|(message, _)| ORDER.iter().position(|known| known == message));
        self.0
    }
}
