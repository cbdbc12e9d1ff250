//! One push: negotiate, pack, send.
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::AtomicBool},
};

use bstr::{BStr, BString, ByteSlice};

use super::{
    Advertisement, Capabilities, Command, Connection, Error, ErrorKind, Observer, Pack, Report, Request, Stage, Verdict,
};
use super::{monitor::Monitor, pack, pkt_line};

/// The longest name of a ref that is pushed, in bytes: with ids and capabilities it fits into a pkt-line.
const MAX_NAME: usize = 32 * 1024;

/// The longest name of an agent, in bytes.
const MAX_AGENT: usize = 256;

/// Name and version that a push gives to the server by default.
const AGENT: &str = concat!("git-push/", env!("CARGO_PKG_VERSION"));

/// Settings of a push, as plain data. [`Push`] sets each of them, too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// All commands or none; refused where the remote does not offer it.
    pub atomic: bool,
    /// Push options for the remote's hooks, one line each; refused where the remote does not offer them.
    pub push_options: Vec<BString>,
    /// The remote reports no progress of its own, where it offers that. Output of its hooks is not affected.
    pub quiet: bool,
    /// Name and version of the program, for the server's logs. By default those of this crate.
    pub agent: Option<BString>,
}

/// A push: `commands` for a remote that advertised (or is remembered to have) `advertisement`.
///
/// Commands that change nothing are not sent ([`Verdict::UpToDate`]). The deletion of a ref that the remote does not show
/// (both ids are null) is sent, because the remote may hide it: git reports `ok` when there is no such ref. A pack is sent
/// unless all other commands delete. It is empty if the remote has everything.
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

    /// Reports progress to `observer`.
    pub fn progress(mut self, observer: &'a dyn Observer) -> Self {
        self.observer = observer;
        self
    }

    /// Stops with [`ErrorKind::Interrupted`] soon after `flag` becomes true. The flag is read between objects while they
    /// are counted and compressed, and between pieces while the pack is sent. When the whole pack is sent, the push can no
    /// longer be stopped.
    pub fn interrupt(mut self, flag: &Arc<AtomicBool>) -> Self {
        self.interrupt = flag.clone();
        self
    }

    /// Makes the pack that [`send()`](Push::send()) sends.
    ///
    /// # Errors
    /// [`ErrorKind::Broken`] when an object is missing or cannot be read, [`ErrorKind::Transient`] when the temporary file
    /// cannot be written, [`ErrorKind::Interrupted`].
    pub fn pack(&self) -> Result<Pack, Error> {
        let effective: Vec<_> = self.effective().cloned().collect();
        self.pack_for(&effective)
    }

    /// Carries out the push, and blocks until the server has answered. The report has a verdict on every command, in
    /// their order. A verdict is [`Verdict::Unknown`] for a command that the server's report does not mention, or when the
    /// server offers no report.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`], with nothing sent, when the remote does not offer what is asked for or has another
    /// object format; those of [`pack()`](Push::pack()) and of [`Connection::send()`].
    pub fn send(self, connection: &mut dyn Connection) -> Result<Report, Error> {
        let effective: Vec<_> = self.effective().cloned().collect();
        let sent = if effective.is_empty() {
            Report::new(Vec::new())
        } else {
            self.send_effective(connection, effective)?
        };
        Ok(complete(self.commands, &sent))
    }

    /// The commands that change something.
    fn effective(&self) -> impl Iterator<Item = &Command> {
        let commands = self.commands.iter();
        commands.filter(|command| command.old != command.new || command.is_delete())
    }

    fn send_effective(&self, connection: &mut dyn Connection, commands: Vec<Command>) -> Result<Report, Error> {
        let offered = &self.advertisement.capabilities;
        let request = negotiate(offered, self.repository.object_hash(), commands, &self.options)?;
        let pack = if request.commands.iter().all(Command::is_delete) {
            None
        } else {
            Some(self.pack_for(&request.commands)?)
        };
        self.observer.stage(Stage::Sending { pack: pack.as_ref() });
        self.monitor().check()?;
        connection.send(&request, pack)
    }

    fn pack_for(&self, commands: &[Command]) -> Result<Pack, Error> {
        let pack = pack::make(self.repository, self.advertisement, commands, self.monitor())?;
        Ok(pack.interruptible(self.interrupt.clone()))
    }

    fn monitor(&self) -> Monitor<'_> {
        Monitor {
            observer: self.observer,
            interrupt: &self.interrupt,
        }
    }
}

/// Returns the request to a server that offers this: `commands` with the capabilities to use (gitprotocol-capabilities).
///
/// # Errors
/// [`ErrorKind::Misconfigured`] when it does not offer what is asked for, or when it cannot be asked for.
pub fn negotiate(
    offered: &Capabilities,
    object_format: gix::hash::Kind,
    commands: Vec<Command>,
    options: &Options,
) -> Result<Request, Error> {
    check_object_format(offered, object_format)?;
    check_commands(&commands, object_format)?;
    check_push_options(&options.push_options)?;
    check_agent(options.agent.as_ref())?;
    let wanted = [
        (options.atomic, "atomic", "all-or-nothing pushes"),
        (
            commands.iter().any(Command::is_delete),
            "delete-refs",
            "deletion of refs",
        ),
        (!options.push_options.is_empty(), "push-options", "push options"),
    ];
    for (_, capability, what) in wanted.iter().filter(|(wanted, ..)| *wanted) {
        if !offered.offers(capability) {
            return Err(refused(format!(
                "the remote does not offer {what} (capability `{capability}`); nothing was sent"
            )));
        }
    }
    Ok(Request {
        capabilities: capabilities(offered, object_format, &commands, options),
        commands,
        object_format,
        atomic: options.atomic,
        push_options: options.push_options.clone(),
    })
}

fn capabilities(
    offered: &Capabilities,
    object_format: gix::hash::Kind,
    commands: &[Command],
    options: &Options,
) -> Vec<BString> {
    let sends_pack = !commands.iter().all(Command::is_delete);
    let status = match offered.offers("report-status-v2") {
        true => "report-status-v2",
        false => "report-status",
    };
    let agent = options.agent.as_ref().map_or(AGENT.to_owned(), ToString::to_string);
    let usable = [
        (true, status, None),
        (true, "side-band-64k", None),
        (options.atomic, "atomic", None),
        (options.quiet, "quiet", None),
        (sends_pack, "ofs-delta", None),
        (!options.push_options.is_empty(), "push-options", None),
        (true, "object-format", Some(object_format.to_string())),
        (true, "agent", Some(agent)),
    ];
    let used = usable
        .into_iter()
        .filter(|(wanted, name, _)| *wanted && offered.offers(name));
    used.map(|(_, name, value)| match value {
        Some(value) => format!("{name}={value}").into(),
        None => name.into(),
    })
    .collect()
}

/// A server that says nothing has sha1.
fn check_object_format(offered: &Capabilities, ours: gix::hash::Kind) -> Result<(), Error> {
    let theirs = offered.value("object-format").unwrap_or(BStr::new("sha1"));
    if theirs == ours.to_string().as_str() {
        return Ok(());
    }
    let what = format!("the remote's object format is {theirs}, the repository's is {ours}; nothing was sent");
    Err(refused(what).with_hint("a mirror must be created with the object format of what it mirrors"))
}

fn check_commands(commands: &[Command], object_format: gix::hash::Kind) -> Result<(), Error> {
    let mut names = HashSet::new();
    for Command { name, old, new } in commands {
        let valid = name.starts_with(b"refs/") && gix::validate::reference::name(name.as_bstr()).is_ok();
        if !valid || name.len() > MAX_NAME {
            return Err(refused(format!("{name:?} is not a name that a ref can be pushed to")));
        }
        if old.kind() != object_format || new.kind() != object_format {
            return Err(refused(format!(
                "{name}: {old} and {new} are not both ids of {object_format}"
            )));
        }
        if !names.insert(name) {
            return Err(refused(format!("{name} is to be updated twice in one push")));
        }
    }
    Ok(())
}

fn check_push_options(options: &[BString]) -> Result<(), Error> {
    let unfit = |option: &&BString| option.find_byteset(b"\n\0").is_some() || option.len() > pkt_line::MAX_PAYLOAD;
    match options.iter().find(unfit) {
        None => Ok(()),
        Some(option) => {
            let start = option[..option.len().min(100)].as_bstr();
            let limit = pkt_line::MAX_PAYLOAD;
            Err(refused(format!(
                "a push option is one line of at most {limit} bytes, this is not: {start:?}"
            )))
        }
    }
}

/// A capability ends at a space or a line feed, and the list of them at a null byte.
fn check_agent(agent: Option<&BString>) -> Result<(), Error> {
    let fits = |agent: &BString| agent.len() <= MAX_AGENT && agent.iter().all(u8::is_ascii_graphic);
    match agent {
        Some(agent) if !fits(agent) => Err(refused(format!(
            "an agent is at most {MAX_AGENT} printable ASCII characters without spaces"
        ))),
        _ => Ok(()),
    }
}

fn refused(what: String) -> Error {
    Error::new(ErrorKind::Misconfigured, what)
}

/// All commands, with the verdicts on those that were sent.
fn complete(commands: Vec<Command>, sent: &Report) -> Report {
    let (unpack_error, words) = (sent.unpack_error().map(ToOwned::to_owned), sent.server_words());
    let sent: HashMap<_, _> = sent
        .verdicts()
        .map(|(command, verdict)| (&command.name, verdict))
        .collect();
    let verdict = |command: &Command| match sent.get(&command.name) {
        Some(verdict) => (*verdict).clone(),
        None if command.old == command.new => Verdict::UpToDate,
        None => Verdict::Unknown,
    };
    Report::new(
        commands
            .into_iter()
            .map(|command| (verdict(&command), command))
            .map(|(v, c)| (c, v))
            .collect(),
    )
    .with_unpack_error(unpack_error)
    .with_server_words(words)
}

#[cfg(test)]
mod tests {
    use gix::{ObjectId, hash::Kind};

    use super::*;

    const GIT: &str = "report-status report-status-v2 delete-refs side-band-64k quiet atomic ofs-delta push-options \
                       object-format=sha1 agent=git/2";

    fn offered(list: &str) -> Capabilities {
        let one = |capability: &str| match capability.split_once('=') {
            Some((name, value)) => (name.into(), Some(value.into())),
            None => (capability.into(), None),
        };
        Capabilities {
            list: list.split_whitespace().map(one).collect(),
        }
    }

    fn create(name: &str) -> Command {
        Command {
            name: name.into(),
            old: Kind::Sha1.null(),
            new: ObjectId::Sha1([1; 20]),
        }
    }

    fn delete(name: &str) -> Command {
        Command {
            old: ObjectId::Sha1([1; 20]),
            new: Kind::Sha1.null(),
            ..create(name)
        }
    }

    fn options(atomic: bool, push_options: &[&str]) -> Options {
        Options {
            atomic,
            push_options: push_options.iter().map(|option| (*option).into()).collect(),
            ..Options::default()
        }
    }

    fn used(list: &str, options: &Options) -> String {
        let request = negotiate(&offered(list), Kind::Sha1, vec![create("refs/kv/main")], options).unwrap();
        request
            .capabilities
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn what_is_offered_and_needed_is_used() {
        let agent = format!("agent={AGENT}");
        let plain = format!("report-status-v2 side-band-64k ofs-delta object-format=sha1 {agent}");
        assert_eq!(used(GIT, &options(false, &[])), plain);
        let all = format!("report-status-v2 side-band-64k atomic ofs-delta push-options object-format=sha1 {agent}");
        assert_eq!(used(GIT, &options(true, &["ci.skip"])), all);
        assert_eq!(used("report-status no-thin", &options(false, &[])), "report-status");
        assert_eq!(used("", &options(false, &[])), "");
        let named = Options {
            agent: Some("program/1".into()),
            ..Options::default()
        };
        assert_eq!(used("agent=git/2", &named), "agent=program/1");
    }

    #[test]
    fn without_a_pack_nothing_is_said_about_its_format() {
        let offered = offered("report-status delete-refs ofs-delta");
        let request = negotiate(&offered, Kind::Sha1, vec![delete("refs/kv/main")], &Options::default()).unwrap();
        assert_eq!(request.capabilities, ["report-status"]);
    }

    #[test]
    fn what_cannot_be_asked_for_is_misconfigured() {
        let main = || vec![create("refs/kv/main")];
        let other_format = Command {
            new: ObjectId::Sha256([1; 32]),
            ..create("refs/kv/main")
        };
        let long = format!("refs/{}", "x".repeat(MAX_NAME));
        let cases = [
            (
                "report-status",
                main(),
                options(true, &[]),
                "does not offer all-or-nothing pushes (capability `atomic`)",
            ),
            (
                "report-status",
                vec![delete("refs/kv/main")],
                options(false, &[]),
                "does not offer deletion of refs",
            ),
            (
                "report-status",
                main(),
                options(false, &["x"]),
                "does not offer push options",
            ),
            (GIT, main(), options(false, &["a\nb"]), "a push option is one line"),
            (GIT, main(), options(false, &["a\0b"]), "a push option is one line"),
            (
                GIT,
                main(),
                options(false, &[&"x".repeat(70_000)]),
                "a push option is one line",
            ),
            (
                "object-format=sha256",
                main(),
                options(false, &[]),
                "object format is sha256, the repository's is sha1",
            ),
            (GIT, vec![other_format], options(false, &[]), "are not both ids of sha1"),
            (GIT, [main(), main()].concat(), options(false, &[]), "updated twice"),
            (
                GIT,
                vec![create("HEAD")],
                options(false, &[]),
                "not a name that a ref can be pushed to",
            ),
            (
                GIT,
                vec![create("refs/a..b")],
                options(false, &[]),
                "not a name that a ref can be pushed to",
            ),
            (
                GIT,
                vec![create(&long)],
                options(false, &[]),
                "not a name that a ref can be pushed to",
            ),
        ];
        for (list, commands, options, expected) in cases {
            let error = negotiate(&offered(list), Kind::Sha1, commands, &options).expect_err(expected);
            assert_eq!(error.kind(), ErrorKind::Misconfigured, "{expected}");
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn a_server_that_names_no_object_format_has_sha1() {
        let sha256 = Command {
            name: "refs/kv/main".into(),
            old: Kind::Sha256.null(),
            new: ObjectId::Sha256([1; 32]),
        };
        let error = negotiate(
            &offered("report-status"),
            Kind::Sha256,
            vec![sha256],
            &Options::default(),
        );
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("object format is sha1, the repository's is sha256")
        );
    }
}
