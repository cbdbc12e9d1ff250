//! The two services of git that a mirror is reached through.

/// What is asked of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    /// To take a push.
    ReceivePack,
    /// To be read, in protocol 2 where the server speaks it.
    UploadPack,
}

impl Service {
    /// Its name on the wire, and of the program.
    pub(super) fn name(self) -> &'static str {
        match self {
            Service::ReceivePack => "git-receive-pack",
            Service::UploadPack => "git-upload-pack",
        }
    }
}
