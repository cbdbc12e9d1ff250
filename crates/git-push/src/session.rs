//! One push: negotiate, pack, send.
mod parted;
mod temporary_refs;

use std::{
    collections::HashMap,
    sync::{Arc, atomic::AtomicBool},
};

use bstr::BString;

use super::{
    Advertisement, Command, Connection, Error, ErrorKind, Observer, Options, Pack, Remedy, Report, Request,
    SpooledPack, Stage, Verdict,
    certificate::{self, Signer},
    monitor::Monitor,
    negotiate,
    objects::Objects,
    pack::{self, bounds::Bounds},
};

/// A push of commands to a remote that advertised (or is remembered to have) `advertisement`.
///
/// Commands that change nothing are not sent ([`Verdict::UpToDate`]). The deletion of a ref that the remote does not show
/// (both ids are null) is sent, because the remote may hide it. Git reports `ok` if there is no such ref. A pack is sent
/// unless all commands delete. It is empty if the remote has everything.
///
/// ```
/// use git_push::{Command, Connection, Push};
/// # fn push(
/// #     repository: &gix::Repository,
/// #     connection: &mut dyn Connection,
/// #     new: gix::ObjectId,
/// # ) -> Result<(), git_push::Error> {
/// let advertisement = connection.advertisement()?;
/// let report = Push::new(repository, &advertisement)
///     .command(Command::create("refs/kv/greeting", new))
///     .atomic(true)
///     .send(connection)?;
/// # assert!(report.all_accepted());
/// # Ok(())
/// # }
/// ```
#[must_use = "a push does nothing until it is sent"]
pub struct Push<'a> {
    repository: &'a gix::Repository,
    advertisement: &'a Advertisement,
    commands: Vec<Command>,
    options: Options,
    observer: &'a dyn Observer,
    interrupt: Arc<AtomicBool>,
    bounds: Bounds,
    signer: Option<&'a dyn Signer>,
}

impl<'a> Push<'a> {
    /// Prepares a push of objects of `repository`, without commands.
    pub fn new(repository: &'a gix::Repository, advertisement: &'a Advertisement) -> Self {
        Push {
            repository,
            advertisement,
            commands: Vec::new(),
            options: Options::default(),
            observer: &(),
            interrupt: Arc::default(),
            bounds: Bounds {
                thin: true,
                bytes: None,
                stream: true,
                shallow: false,
            },
            signer: None,
        }
    }

    /// Adds a command.
    pub fn command(mut self, command: Command) -> Self {
        self.commands.push(command);
        self
    }

    /// Adds commands.
    pub fn commands(mut self, commands: impl IntoIterator<Item = Command>) -> Self {
        self.commands.extend(commands);
        self
    }

    /// Replaces all settings.
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Sets [`Options::atomic`].
    pub fn atomic(mut self, atomic: bool) -> Self {
        self.options.atomic = atomic;
        self
    }

    /// Sets [`Options::push_options`].
    pub fn push_options(mut self, push_options: impl IntoIterator<Item = impl Into<BString>>) -> Self {
        self.options.push_options = push_options.into_iter().map(Into::into).collect();
        self
    }

    /// Sets [`Options::quiet`].
    pub fn quiet(mut self, quiet: bool) -> Self {
        self.options.quiet = quiet;
        self
    }

    /// Sets [`Options::agent`].
    pub fn agent(mut self, agent: impl Into<BString>) -> Self {
        self.options.agent = Some(agent.into());
        self
    }

    /// Allows deltas of objects that only the remote has, which is the default unless the server offers `no-thin`. If the
    /// server refuses such a pack, the push is made once more without them ([`Report::has_refused_thin()`]).
    pub fn thin(mut self, thin: bool) -> Self {
        self.bounds.thin = thin;
        self
    }

    /// Allows to push the history of a shallow clone to a remote that lacks the rest, which is not the default. The server is
    /// informed of the commits at which it ends, and may reject the commands (git-config, *receive.shallowUpdate*).
    pub fn shallow(mut self, shallow: bool) -> Self {
        self.bounds.shallow = shallow;
        self
    }

    /// Sends a push certificate that `signer` signs. Parts of a push in parts have none.
    pub fn signed_by(mut self, signer: &'a dyn Signer) -> Self {
        self.signer = Some(signer);
        self
    }

    /// Allows to send a large pack while it is made, which is the default, if the connection takes packs of unknown length
    /// ([`Connection::takes_streams()`]). If the server refuses one, the push is made once more with its length
    /// ([`Report::has_refused_stream()`]).
    pub fn stream(mut self, stream: bool) -> Self {
        self.bounds.stream = stream;
        self
    }

    /// Reports progress to `observer`.
    pub fn progress(mut self, observer: &'a dyn Observer) -> Self {
        self.observer = observer;
        self
    }

    /// Stops with [`ErrorKind::Interrupted`] soon after `flag` becomes true. The flag is read between objects while they
    /// are counted and compressed, and between pieces while the pack is sent. After the whole pack was sent, the push
    /// cannot be stopped.
    ///
    /// [`ErrorKind::Interrupted`]: super::ErrorKind::Interrupted
    pub fn interrupt(mut self, flag: &Arc<AtomicBool>) -> Self {
        self.interrupt = flag.clone();
        self
    }

    /// Makes the pack that [`send()`](Push::send()) sends, in a file.
    ///
    /// # Errors
    /// [`ErrorKind::Broken`] when an object is missing or cannot be read, [`ErrorKind::NotCloned`] when a shallow or partial
    /// clone lacks one, [`ErrorKind::Transient`] when the temporary file cannot be written, [`ErrorKind::Interrupted`].
    ///
    /// [`ErrorKind::Broken`]: super::ErrorKind::Broken
    /// [`ErrorKind::NotCloned`]: super::ErrorKind::NotCloned
    /// [`ErrorKind::Transient`]: super::ErrorKind::Transient
    /// [`ErrorKind::Interrupted`]: super::ErrorKind::Interrupted
    pub fn pack(&self) -> Result<SpooledPack, Error> {
        let effective: Vec<_> = self.effective().cloned().collect();
        pack::make(
            self.repository,
            self.advertisement,
            &effective,
            self.bounds,
            self.monitor(),
        )
    }

    /// Carries out the push, and blocks until the server has answered. The report has a verdict on every command, in
    /// their order. A verdict is [`Verdict::Unknown`] for a command that the server's report does not mention, or when the
    /// server offers no report.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`], with nothing sent, when the remote does not offer an option or has another object
    /// format; those of [`pack()`](Push::pack()) and of [`Connection::send()`].
    ///
    /// [`ErrorKind::Misconfigured`]: super::ErrorKind::Misconfigured
    pub fn send(self, connection: &mut dyn Connection) -> Result<Report, Error> {
        self.sent(connection)
    }

    fn sent(&self, connection: &mut dyn Connection) -> Result<Report, Error> {
        let effective: Vec<_> = self.effective().cloned().collect();
        let sent = if effective.is_empty() {
            Report::new(Vec::new())
        } else {
            self.send_effective(connection, effective)?
        };
        Ok(complete(self.commands.clone(), &sent))
    }

    /// Returns the commands that change something.
    fn effective(&self) -> impl Iterator<Item = &Command> {
        let commands = self.commands.iter();
        commands.filter(|command| command.old != command.new || command.is_delete())
    }

    fn send_effective(&self, connection: &mut dyn Connection, commands: Vec<Command>) -> Result<Report, Error> {
        let offered = &self.advertisement.capabilities;
        let request = negotiate(offered, self.repository.object_hash(), commands, &self.options)?;
        connection.prepare(self.repository, self.advertisement, &request.commands)?;
        let request = self.completed(request)?;
        if request.commands.iter().all(Command::is_delete) || !connection.takes_packs() {
            return self.transmit(connection, &request, None);
        }
        let mut bounds = self.bounds;
        bounds.stream &= connection.takes_streams();
        let mut sent = self.attempt(connection, &request, bounds);
        if sent
            .result
            .as_ref()
            .is_err_and(|error| error.remedy() == Some(Remedy::Again))
        {
            sent = self.attempt(connection, &request, bounds);
        }
        let (mut refused_stream, mut refused_thin) = (false, false);
        if sent.is_streamed && may_refuse_stream(&sent.result) {
            bounds.stream = false;
            sent = self.attempt(connection, &request, bounds);
            refused_stream = true;
        }
        if sent.is_thin && connection.may_refuse_thin() && may_refuse_thin(&sent.result) {
            bounds.thin = false;
            sent = self.attempt(connection, &request, bounds);
            refused_thin = true;
        }
        let report = sent.result?;
        let is_unpacked = report.unpack_error().is_none();
        Ok(report
            .with_refused_stream(refused_stream && is_unpacked)
            .with_refused_thin(refused_thin && is_unpacked))
    }

    /// Adds the borders of a shallow clone, and the certificate.
    fn completed(&self, mut request: Request) -> Result<Request, Error> {
        if self.bounds.shallow {
            request = request.with_shallow(Objects::new(self.repository).borders()?);
        }
        let Some(signer) = self.signer else {
            return Ok(request);
        };
        let nonce = certificate::nonce(&self.advertisement.capabilities)?;
        let certificate = certificate::signed(&request, nonce, signer)?;
        Ok(request.with_certificate(certificate))
    }

    /// Makes a pack and sends it.
    fn attempt(&self, connection: &mut dyn Connection, request: &Request, bounds: Bounds) -> Attempt {
        let (mut is_thin, mut is_streamed) = (false, false);
        let send = |pack: Pack| {
            (is_thin, is_streamed) = (pack.is_thin(), pack.length().is_none());
            self.transmit(connection, request, Some(pack))
        };
        let commands = &request.commands;
        let result = pack::deliver(
            self.repository,
            self.advertisement,
            commands,
            bounds,
            self.monitor(),
            send,
        );
        Attempt {
            result,
            is_thin,
            is_streamed,
        }
    }

    fn transmit(
        &self,
        connection: &mut dyn Connection,
        request: &Request,
        pack: Option<Pack>,
    ) -> Result<Report, Error> {
        self.observer.stage(Stage::Sending { pack: pack.as_ref() });
        self.monitor().check()?;
        connection.watch(&self.interrupt);
        connection.send(request, pack.map(|pack| pack.interruptible(self.interrupt.clone())))
    }

    fn monitor(&self) -> Monitor<'_> {
        Monitor {
            observer: self.observer,
            interrupt: &self.interrupt,
        }
    }
}

/// Result of sending a pack.
struct Attempt {
    result: Result<Report, Error>,
    is_thin: bool,
    /// The pack was sent while it was made.
    is_streamed: bool,
}

/// Returns true if the server carried out nothing, and the missing length of the pack may be the reason.
fn may_refuse_stream(sent: &Result<Report, Error>) -> bool {
    let Err(error) = sent else { return false };
    // Servers that do not understand a request answer as those that refuse a thin pack.
    let is_refused = matches!(error.remedy(), Some(Remedy::KnownLength | Remedy::SelfContainedPack));
    is_refused && error.kind() == ErrorKind::Rejected
}

/// Returns true if the server carried out nothing, and a thin pack may be the reason.
fn may_refuse_thin(sent: &Result<Report, Error>) -> bool {
    match sent {
        Ok(report) => {
            let mut verdicts = report.verdicts();
            report.unpack_error().is_some() && verdicts.all(|(_, verdict)| matches!(verdict, Verdict::Rejected(_)))
        }
        Err(error) => error.remedy() == Some(Remedy::SelfContainedPack),
    }
}

/// Returns all commands, with the verdicts on those that were sent.
fn complete(commands: Vec<Command>, sent: &Report) -> Report {
    let (unpack_error, words) = (sent.unpack_error().map(ToOwned::to_owned), sent.server_words());
    let (refused_thin, refused_stream) = (sent.has_refused_thin(), sent.has_refused_stream());
    let updates = sent.all_updates().clone();
    let sent: HashMap<_, _> = sent
        .verdicts()
        .map(|(command, verdict)| (&command.name, verdict))
        .collect();
    let verdict = |command: &Command| match sent.get(&command.name) {
        Some(verdict) => (*verdict).clone(),
        None if command.old == command.new => Verdict::UpToDate,
        None => Verdict::Unknown,
    };
    let verdicts = commands.into_iter().map(|command| {
        let verdict = verdict(&command);
        (command, verdict)
    });
    Report::new(verdicts.collect())
        .with_updates(updates)
        .with_unpack_error(unpack_error)
        .with_server_words(words)
        .with_refused_thin(refused_thin)
        .with_refused_stream(refused_stream)
}
