//! Messages about faults of objects, with their severities (git-fsck, *FSCK MESSAGES*).
use bstr::{BStr, ByteSlice};

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::local) enum Message {
    NulInHeader,
    UnterminatedHeader,
    BadDate,
    BadDateOverflow,
    BadEmail,
    BadName,
    BadObjectSha1,
    BadParentSha1,
    BadTimezone,
    BadTree,
    BadTreeSha1,
    BadType,
    DuplicateEntries,
    MissingAuthor,
    MissingCommitter,
    MissingEmail,
    MissingNameBeforeEmail,
    MissingObject,
    MissingSpaceBeforeDate,
    MissingSpaceBeforeEmail,
    MissingTag,
    MissingTagEntry,
    MissingTree,
    MissingType,
    MissingTypeEntry,
    MultipleAuthors,
    TreeNotSorted,
    UnknownType,
    ZeroPaddedDate,
    GitmodulesMissing,
    GitmodulesBlob,
    GitmodulesLarge,
    GitmodulesName,
    GitmodulesSymlink,
    GitmodulesUrl,
    GitmodulesPath,
    GitmodulesUpdate,
    GitattributesMissing,
    GitattributesLarge,
    GitattributesLineLength,
    GitattributesBlob,
    EmptyName,
    FullPathname,
    HasDot,
    HasDotdot,
    HasDotgit,
    NullSha1,
    ZeroPaddedFilemode,
    NulInCommit,
    LargePathname,
    BadFilemode,
    GitmodulesParse,
    GitignoreSymlink,
    GitattributesSymlink,
    MailmapSymlink,
    BadTagName,
    MissingTaggerEntry,
    ExtraHeaderEntry,
}

/// What follows from a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::local) enum Severity {
    Ignore,
    Warn,
    Error,
}

impl Message {
    /// All messages, with their names in git's configuration.
    pub const ALL: [(Message, &str); 58] = [
        (Message::NulInHeader, "nulInHeader"),
        (Message::UnterminatedHeader, "unterminatedHeader"),
        (Message::BadDate, "badDate"),
        (Message::BadDateOverflow, "badDateOverflow"),
        (Message::BadEmail, "badEmail"),
        (Message::BadName, "badName"),
        (Message::BadObjectSha1, "badObjectSha1"),
        (Message::BadParentSha1, "badParentSha1"),
        (Message::BadTimezone, "badTimezone"),
        (Message::BadTree, "badTree"),
        (Message::BadTreeSha1, "badTreeSha1"),
        (Message::BadType, "badType"),
        (Message::DuplicateEntries, "duplicateEntries"),
        (Message::MissingAuthor, "missingAuthor"),
        (Message::MissingCommitter, "missingCommitter"),
        (Message::MissingEmail, "missingEmail"),
        (Message::MissingNameBeforeEmail, "missingNameBeforeEmail"),
        (Message::MissingObject, "missingObject"),
        (Message::MissingSpaceBeforeDate, "missingSpaceBeforeDate"),
        (Message::MissingSpaceBeforeEmail, "missingSpaceBeforeEmail"),
        (Message::MissingTag, "missingTag"),
        (Message::MissingTagEntry, "missingTagEntry"),
        (Message::MissingTree, "missingTree"),
        (Message::MissingType, "missingType"),
        (Message::MissingTypeEntry, "missingTypeEntry"),
        (Message::MultipleAuthors, "multipleAuthors"),
        (Message::TreeNotSorted, "treeNotSorted"),
        (Message::UnknownType, "unknownType"),
        (Message::ZeroPaddedDate, "zeroPaddedDate"),
        (Message::GitmodulesMissing, "gitmodulesMissing"),
        (Message::GitmodulesBlob, "gitmodulesBlob"),
        (Message::GitmodulesLarge, "gitmodulesLarge"),
        (Message::GitmodulesName, "gitmodulesName"),
        (Message::GitmodulesSymlink, "gitmodulesSymlink"),
        (Message::GitmodulesUrl, "gitmodulesUrl"),
        (Message::GitmodulesPath, "gitmodulesPath"),
        (Message::GitmodulesUpdate, "gitmodulesUpdate"),
        (Message::GitattributesMissing, "gitattributesMissing"),
        (Message::GitattributesLarge, "gitattributesLarge"),
        (Message::GitattributesLineLength, "gitattributesLineLength"),
        (Message::GitattributesBlob, "gitattributesBlob"),
        (Message::EmptyName, "emptyName"),
        (Message::FullPathname, "fullPathname"),
        (Message::HasDot, "hasDot"),
        (Message::HasDotdot, "hasDotdot"),
        (Message::HasDotgit, "hasDotgit"),
        (Message::NullSha1, "nullSha1"),
        (Message::ZeroPaddedFilemode, "zeroPaddedFilemode"),
        (Message::NulInCommit, "nulInCommit"),
        (Message::LargePathname, "largePathname"),
        (Message::BadFilemode, "badFilemode"),
        (Message::GitmodulesParse, "gitmodulesParse"),
        (Message::GitignoreSymlink, "gitignoreSymlink"),
        (Message::GitattributesSymlink, "gitattributesSymlink"),
        (Message::MailmapSymlink, "mailmapSymlink"),
        (Message::BadTagName, "badTagName"),
        (Message::MissingTaggerEntry, "missingTaggerEntry"),
        (Message::ExtraHeaderEntry, "extraHeaderEntry"),
    ];

    /// Returns the message with this name, in any case.
    pub fn named(name: &BStr) -> Option<Self> {
        let found = Message::ALL
            .iter()
            .find(|(_, known)| name.eq_ignore_ascii_case(known.as_bytes()));
        found.map(|(message, _)| *message)
    }

    /// Returns the name in git's configuration.
    pub fn name(self) -> &'static str {
        let found = Message::ALL.iter().find(|(message, _)| *message == self);
        found.map_or("", |(_, name)| name)
    }

    /// Returns the severity where configuration has none. Git's warnings are errors in a push.
    pub fn severity(self) -> Severity {
        match self {
            Message::BadFilemode
            | Message::GitmodulesParse
            | Message::GitignoreSymlink
            | Message::GitattributesSymlink
            | Message::MailmapSymlink
            | Message::BadTagName
            | Message::MissingTaggerEntry => Severity::Warn,
            Message::ExtraHeaderEntry => Severity::Ignore,
            _ => Severity::Error,
        }
    }

    /// Returns true if configuration cannot make it less than an error.
    pub fn is_fatal(self) -> bool {
        matches!(self, Message::NulInHeader | Message::UnterminatedHeader)
    }
}

impl Severity {
    /// Returns the severity with this name in git's configuration.
    pub fn named(name: &BStr) -> Option<Self> {
        match name.as_bytes() {
            b"error" => Some(Severity::Error),
            b"warn" => Some(Severity::Warn),
            b"ignore" => Some(Severity::Ignore),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_has_a_name_of_its_own() {
        for (message, name) in Message::ALL {
            assert_eq!(message.name(), name);
            assert_eq!(Message::named(name.to_lowercase().as_bytes().as_bstr()), Some(message));
        }
        assert_eq!(Message::named("badEverything".into()), None);
    }
}
