//! A folder of this machine that is served by git's programs (git-push, *--receive-pack*).
use std::{ffi::OsString, path::PathBuf, process::Command, time::Duration};

use bstr::ByteSlice;
use git_push::{Error, ErrorKind};

use super::channel::{Channel, Dial};
use super::child::Program;
use super::ssh_failure;
use crate::child_environment::of_another_repository;
use crate::service::Service;

/// A folder, and the program that receives pushes for it.
pub(super) struct Folder {
    pub(super) path: PathBuf,
    pub(super) receive_pack: OsString,
    pub(super) idle_timeout: Duration,
}

impl Folder {
    fn command(&self, service: Service, protocol_2: bool) -> Result<Command, Error> {
        let unusable = |what: String| Error::new(ErrorKind::Misconfigured, what);
        let program = match service {
            Service::ReceivePack => self.receive_pack.clone(),
            Service::UploadPack => service.name().into(),
        };
        let path = gix::path::os_str_into_bstr(self.path.as_os_str())
            .map_err(|_| unusable(format!("the path {} is not UTF-8", self.path.display())))?;
        let path = gix::path::from_bstring(gix::quote::single(path.as_bstr()))
            .map_err(|_| unusable(format!("the path {} cannot be an argument", self.path.display())))?;
        let mut line = program;
        line.push(" ");
        line.push(path);
        let prepared = gix::command::prepare(line).with_shell();
        let mut command = Command::try_from(prepared)
            .map_err(|error| unusable(format!("the program {} cannot be run: {error}", service.name())))?;
        of_another_repository(&mut command);
        command.env_remove("GIT_PROTOCOL");
        if protocol_2 {
            command.env("GIT_PROTOCOL", "version=2");
        }
        Ok(command)
    }
}

impl Dial for Folder {
    fn dial(&self, service: Service, protocol_2: bool) -> Result<Box<dyn Channel>, Error> {
        let command = self.command(service, protocol_2)?;
        let started = Program::start(command, service.name(), self.idle_timeout, ssh_failure::of_program);
        let program = started.map_err(|error| {
            let what = format!("{} cannot be started: {error}", service.name());
            Error::new(ErrorKind::Misconfigured, what).with_hint("correct --receive-pack or remote.<name>.receivepack")
        })?;
        Ok(Box::new(program))
    }
}
