//! Negotiation (gitprotocol-capabilities): builds the request from commands, settings and the server's capabilities.
//! PURE.
use std::collections::HashSet;

use bstr::{BStr, BString, ByteSlice};

use super::{Capabilities, Command, Error, ErrorKind, Request, pkt_line};

/// Maximum length of a ref name in bytes: with ids and capabilities it fits into a pkt-line.
const MAX_NAME: usize = 32 * 1024;

/// Maximum length of an agent in bytes.
const MAX_AGENT: usize = 256;

/// Name and version that a push sends to the server by default.
const AGENT: &str = concat!("git-push/", env!("CARGO_PKG_VERSION"));

/// Settings of a push, as plain data. [`Push`](super::Push) sets each of them, too.
///
/// ```
/// let mut options = git_push::Options::default();
/// options.atomic = true;
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// All commands or none. Refused if the remote does not offer it.
    pub atomic: bool,
    /// Push options for the remote's hooks, one line each. Refused if the remote does not offer them.
    pub push_options: Vec<BString>,
    /// Asks the remote to report no progress of its own, if it supports that. Output of its hooks is not affected.
    pub quiet: bool,
    /// Name and version of the program, for the server's logs. By default those of this crate.
    pub agent: Option<BString>,
}

/// Returns the request for `commands`, with those of the `offered` capabilities that it uses
/// (gitprotocol-capabilities).
///
/// # Errors
/// [`ErrorKind::Misconfigured`] when the server does not offer an option, or when a name, an id or an option is invalid.
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
    let capabilities = capabilities(offered, object_format, &commands, options);
    let request = Request::new(commands, object_format, capabilities);
    Ok(request.with_push_options(options.push_options.clone()))
}

fn capabilities(
    offered: &Capabilities,
    object_format: gix::hash::Kind,
    commands: &[Command],
    options: &Options,
) -> Vec<BString> {
    let sends_pack = !commands.iter().all(Command::is_delete);
    let status = if offered.offers("report-status-v2") {
        "report-status-v2"
    } else {
        "report-status"
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

/// Checks the object format of a server. One that names none has sha1.
fn check_object_format(offered: &Capabilities, ours: gix::hash::Kind) -> Result<(), Error> {
    let theirs = offered.value("object-format").unwrap_or(BStr::new("sha1"));
    if theirs == ours.to_string().as_str() {
        return Ok(());
    }
    let what = format!("the remote's object format is {theirs}, the repository's is {ours}; nothing was sent");
    Err(refused(what).with_hint(format!("create the remote repository with --object-format={ours}")))
}

fn check_commands(commands: &[Command], object_format: gix::hash::Kind) -> Result<(), Error> {
    let mut names = HashSet::new();
    for Command { name, old, new } in commands {
        let valid = name.starts_with(b"refs/") && gix::validate::reference::name(name.as_bstr()).is_ok();
        if !valid || name.len() > MAX_NAME {
            return Err(refused(format!("{name:?} is not a ref name that can be pushed to")));
        }
        if old.kind() != object_format || new.kind() != object_format {
            return Err(refused(format!(
                "{name}: {old} and {new} are not both ids of {object_format}"
            )));
        }
        if !names.insert(name) {
            return Err(refused(format!("{name} is updated twice in one push")));
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
                "a push option must be one line of at most {limit} bytes: {start:?}"
            )))
        }
    }
}

/// Checks the agent: a capability ends at a space or a line feed, and their list at a null byte.
fn check_agent(agent: Option<&BString>) -> Result<(), Error> {
    let fits = |agent: &BString| agent.len() <= MAX_AGENT && agent.iter().all(u8::is_ascii_graphic);
    match agent {
        Some(agent) if !fits(agent) => Err(refused(format!(
            "an agent must be at most {MAX_AGENT} printable ASCII characters without spaces"
        ))),
        _ => Ok(()),
    }
}

fn refused(what: String) -> Error {
    Error::new(ErrorKind::Misconfigured, what)
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
            (GIT, main(), options(false, &["a\nb"]), "a push option must be one line"),
            (GIT, main(), options(false, &["a\0b"]), "a push option must be one line"),
            (
                GIT,
                main(),
                options(false, &[&"x".repeat(70_000)]),
                "a push option must be one line",
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
                "not a ref name that can be pushed to",
            ),
            (
                GIT,
                vec![create("refs/a..b")],
                options(false, &[]),
                "not a ref name that can be pushed to",
            ),
            (
                GIT,
                vec![create(&long)],
                options(false, &[]),
                "not a ref name that can be pushed to",
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
