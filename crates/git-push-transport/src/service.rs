//! The two services of git on a server.

/// A service of git.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    /// Receives a push.
    ReceivePack,
    /// Serves readers, in protocol 2 if the server supports it.
    UploadPack,
}

impl Service {
    /// Returns the name, on the wire and of the program.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Service::ReceivePack => "git-receive-pack",
            Service::UploadPack => "git-upload-pack",
        }
    }
}
