//! A connection through a remote helper: over the protocol that the helper connects to, or by its own commands.
use std::collections::BTreeMap;

use bstr::{BStr, BString, ByteSlice};
use git_push::{
    Advertisement, Capabilities, Command, Connection, Error, ErrorKind, Pack, RemoteRef, Report, Request, Traffic,
};
use gix::ObjectId;

use super::channel::Channel;
use super::helper::Helper;
use super::helper_answers::Listing;
use super::helper_session::{Opened, Prepared, Session};
use super::wire::{Wire, dismiss, located};
use crate::fetch::Wanted;
use crate::forge::Forge;
use crate::head::Head;
use crate::location::HelperAddress;
use crate::service::Service;
use crate::settings::Settings;
use crate::transport::Transport;

/// A connection to a repository that a remote helper reaches. Its methods block.
///
/// A helper with the capability `push` makes the pack itself, from the local repository, whose settings must be known
/// ([`Settings::with_git_config()`]).
pub struct HelperRemote {
    helper: Helper,
    wire: Wire,
    /// A remote that waits for commands.
    waiting: Option<Waiting>,
    prepared: Vec<Prepared>,
}

enum Waiting {
    /// `git-receive-pack`, which has sent its advertisement.
    Service(Box<dyn Channel>),
    /// The helper, which has listed the refs.
    Helper(Box<Session>),
}

impl HelperRemote {
    /// Prepares a connection. Nothing is started yet.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if there is no such helper.
    pub fn open(address: &HelperAddress, settings: &Settings) -> Result<Self, Error> {
        Ok(HelperRemote {
            helper: Helper::new(address, settings)?,
            wire: Wire::new(settings.idle_timeout),
            waiting: None,
            prepared: Vec::new(),
        })
    }

    fn opened(&self, service: Service) -> Result<Opened, Error> {
        let path = self.helper.receive_pack.as_deref();
        let path = path.filter(|_| service == Service::ReceivePack);
        let path = path.map(gix::path::os_str_into_bstr).transpose();
        let path = path.map_err(|_| Error::new(ErrorKind::Misconfigured, "--receive-pack is not UTF-8"))?;
        self.helper.start()?.open(service, path)
    }

    fn ready(&mut self) -> Result<Advertisement, Error> {
        self.leave();
        let (advertisement, waiting) = match self.opened(Service::ReceivePack)? {
            Opened::Connected(mut channel) => {
                let advertisement = self.wire.advertisement(&mut *channel)?;
                (advertisement, Waiting::Service(channel))
            }
            Opened::Commands(mut session) => {
                session.check_push()?;
                let listing = session.list(true)?;
                let capabilities = capabilities(session.has_options(), listing.format);
                let advertisement = Advertisement {
                    refs: listing.refs,
                    capabilities,
                    ..Advertisement::default()
                };
                (advertisement, Waiting::Helper(session))
            }
        };
        self.waiting = Some(waiting);
        Ok(advertisement)
    }

    fn push(&mut self, request: &Request, pack: Option<Pack>) -> Result<Report, Error> {
        if self.waiting.is_none() {
            self.ready()?;
        }
        match self.waiting.take() {
            Some(Waiting::Service(channel)) => self.wire.push(channel, request, pack),
            Some(Waiting::Helper(session)) => {
                let prepared = std::mem::take(&mut self.prepared);
                let mut by_name: BTreeMap<_, _> = prepared
                    .into_iter()
                    .map(|one| (one.command.name.clone(), one))
                    .collect();
                let prepared = request
                    .commands
                    .iter()
                    .map(|command| match by_name.remove(&command.name) {
                        Some(one) if one.command == *command => one,
                        _ => by_id(command),
                    });
                session.push(request, &prepared.collect::<Vec<_>>(), self.helper.settings.dry_run)
            }
            None => Err(Error::new(ErrorKind::Transient, "the remote helper is gone")),
        }
    }

    /// Calls the function for what serves readers: a connection to `git-upload-pack`, or the refs that the helper lists, with
    /// HEAD if the flag is true.
    fn reading<T>(
        &self,
        connected: impl FnOnce(&Wire, Box<dyn Channel>) -> Result<T, Error>,
        listed: impl FnOnce(Listing, bool) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let read = match self.opened(Service::UploadPack)? {
            Opened::Connected(channel) => connected(&self.wire, channel),
            Opened::Commands(mut session) => {
                // In protocol 2, a helper lists refs only to those who push.
                let for_readers = session.lists_for_readers();
                let listing = session.list(!for_readers)?;
                session.end();
                listed(listing, for_readers)
            }
        };
        self.located(read)
    }

    fn leave(&mut self) {
        match self.waiting.take() {
            Some(Waiting::Service(channel)) => dismiss(channel),
            Some(Waiting::Helper(session)) => drop(session.end()),
            None => {}
        }
    }

    fn located<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        result.map_err(|error| located(&self.helper.address.to_string(), error))
    }
}

/// Returns what a helper with commands of its own offers, in the words of the protocol.
fn capabilities(has_options: bool, format: gix::hash::Kind) -> Capabilities {
    let always = ["report-status-v2", "delete-refs"];
    let optional: &[&str] = if has_options { &["atomic", "push-options"] } else { &[] };
    let names = always.iter().chain(optional).map(|name| (BString::from(*name), None));
    let format = (BString::from("object-format"), Some(format.to_string().into()));
    Capabilities {
        list: names.chain([format]).collect(),
    }
}

fn by_id(command: &Command) -> Prepared {
    Prepared {
        command: command.clone(),
        source: command.new.to_string().into(),
        forced: false,
    }
}

/// Returns for each new id a local ref that has it: helpers expect names. That of the remote ref comes first.
fn sources(repository: &gix::Repository, commands: &[Command]) -> BTreeMap<BString, BString> {
    let id_of = |name: &BStr| -> Option<ObjectId> {
        let found = repository.try_find_reference(name).ok()??;
        Some(found.try_id()?.detach())
    };
    let mut sources = BTreeMap::new();
    let mut others: BTreeMap<ObjectId, Vec<&BString>> = BTreeMap::new();
    for command in commands.iter().filter(|command| !command.is_delete()) {
        if id_of(command.name.as_bstr()) == Some(command.new) {
            sources.insert(command.name.clone(), command.name.clone());
        } else {
            others.entry(command.new).or_default().push(&command.name);
        }
    }
    if others.is_empty() {
        return sources;
    }
    // A ref that cannot be read is no source. The id is one, too.
    let references = repository.references();
    let all = references.iter().filter_map(|references| references.all().ok());
    for reference in all.flatten().filter_map(Result::ok) {
        let Some(id) = reference.try_id() else { continue };
        for name in others.remove(&id.detach()).unwrap_or_default() {
            sources.insert(name.clone(), reference.name().as_bstr().to_owned());
        }
    }
    sources
}

/// Returns true if git would refuse the update without force.
fn needs_force(repository: &gix::Repository, command: &Command) -> Result<bool, Error> {
    if command.old.is_null() || command.is_delete() {
        return Ok(false);
    }
    Ok(command.name.starts_with(b"refs/tags/") || !git_push::fast_forward(repository, command.old, command.new)?)
}

impl Connection for HelperRemote {
    fn advertisement(&mut self) -> Result<Advertisement, Error> {
        let ready = self.ready();
        self.located(ready)
    }

    fn prepare(&mut self, repository: &gix::Repository, _: &Advertisement, commands: &[Command]) -> Result<(), Error> {
        if self.waiting.is_none() {
            self.advertisement()?;
        }
        if self.takes_packs() {
            return Ok(());
        }
        let mut sources = sources(repository, commands);
        let prepared = commands.iter().map(|command| {
            Ok(Prepared {
                source: sources
                    .remove(&command.name)
                    .unwrap_or_else(|| command.new.to_string().into()),
                forced: needs_force(repository, command)?,
                command: command.clone(),
            })
        });
        self.prepared = prepared.collect::<Result<_, Error>>()?;
        Ok(())
    }

    fn send(&mut self, request: &Request, pack: Option<Pack>) -> Result<Report, Error> {
        let sent = self.push(request, pack);
        self.located(sent)
    }

    fn takes_streams(&self) -> bool {
        true
    }

    fn takes_packs(&self) -> bool {
        !matches!(self.waiting, Some(Waiting::Helper(_)))
    }

    fn rehearses(&self) -> bool {
        self.helper.settings.dry_run && !self.takes_packs()
    }

    fn read_refs(&mut self, prefixes: &[BString]) -> Result<Vec<RemoteRef>, Error> {
        if prefixes.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = |name: &BString| prefixes.iter().any(|prefix| name.starts_with(prefix));
        self.reading(
            |wire, channel| wire.refs(channel, prefixes),
            |listing, _| {
                let refs = listing.refs.into_iter().filter(|(name, _)| wanted(name));
                Ok(refs.map(|(name, id)| RemoteRef { name, id }).collect())
            },
        )
    }

    fn traffic(&self) -> Traffic {
        self.wire.traffic
    }
}

impl Transport for HelperRemote {
    fn fetch(&mut self, wanted: Wanted<'_>, into: &gix::Repository) -> Result<(), Error> {
        self.reading(
            |wire, channel| wire.fetch(channel, wanted, into),
            |_, _| {
                let what = "commits cannot be fetched through a remote helper without the capability connect";
                Err(Error::new(ErrorKind::Misconfigured, what).with_hint("fetch them with git"))
            },
        )
    }

    fn head(&mut self) -> Result<Head, Error> {
        self.reading(
            |wire, channel| wire.head(channel),
            |listing, has_head| {
                let what = "the remote helper does not list HEAD";
                has_head
                    .then(|| listing.head())
                    .ok_or_else(|| Error::new(ErrorKind::Misconfigured, what))
            },
        )
    }

    fn set_head(&mut self, _: &BStr, _: Option<Forge>) -> Result<(), Error> {
        let what = "git cannot set HEAD through a remote helper";
        Err(Error::new(ErrorKind::Misconfigured, what))
    }
}

impl Drop for HelperRemote {
    fn drop(&mut self) {
        self.leave();
    }
}
