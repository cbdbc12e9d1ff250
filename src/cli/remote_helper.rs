//! `git-remote-stargate`: git's remote helper for `stargate::<URL>` (gitremote-helpers). Git runs it to list refs, push and
//! fetch; the push is made by the same engine as `stargate-mirror push`.
//!
//! Capabilities: `push`, `fetch` and `option` (`verbosity`, `progress`, `dry-run`, `atomic`, `push-option`,
//! `cas`, `cloning`). Git decides
//! on fast-forwards and leases before; both are checked once more. Others are answered with `unsupported`.
use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    io::{self, BufRead, Write},
    path::Path,
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
};

use bstr::{BStr, BString, ByteSlice};
use git_push::{
    Advertisement, Connection, Error, Pack, RemoteRef, Report, Request, Traffic, lease::Lease, refspec::Refspecs,
};
use git_push_transport::{Head, Location, Remote, Settings};
use gix::ObjectId;

use super::{
    logs::{self, LogFormat},
    push::Terminal,
    report::{Exit, Failure},
    signals,
};
use crate::{
    config::{Config, USER_AGENT},
    local_repository::LocalRepository,
    porcelain::{self, Fate, Order, PushError, ReadBack, RefReport, Tracking},
};

/// Name of the program as a remote helper.
const NAME: &str = "git-remote-stargate";

/// Returns true if the program was started under the name of the remote helper.
pub fn is_remote_helper(program: &OsStr) -> bool {
    Path::new(program).file_stem().is_some_and(|stem| stem == NAME)
}

/// Serves git until its input ends. The arguments are the name of the remote and the URL.
pub fn main(args: &[OsString]) -> ExitCode {
    let terminal = Terminal::default();
    let lines = logs::Lines {
        command: logs::Command::Short,
        level: logs::Command::Short.level(),
        with_repository: false,
    };
    let started = logs::start(LogFormat::default(), lines, Some(terminal.remote_lines()));
    match started.and_then(|()| serve(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            logs::print_failure(&failure, None);
            Exit::GitFatal.into()
        }
    }
}

fn serve(args: &[OsString]) -> Result<(), Failure> {
    let Some(url) = args.get(2).and_then(|url| gix::path::os_str_into_bstr(url).ok()) else {
        let what = format!("{NAME} is run by git: use a URL such as stargate::https://host/r.git");
        return Err(Failure::new(Exit::Usage, what));
    };
    let git_dir = super::repository(None)?;
    let local = LocalRepository::open(&git_dir).map_err(PushError::from)?;
    let mut settings = Settings::from_environment(super::environment)?
        .with_user_agent(USER_AGENT)
        .with_git_config(local.repository())?
        .with_prompts(super::environment)?;
    if let Some(prompts) = &mut settings.prompts {
        prompts.before_hidden = Some(signals::keep_echo);
    }
    let mut helper = Helper {
        remote: Remembering {
            remote: Remote::open(Location::parse(url)?, &settings)?,
            advertisement: None,
        },
        is_cloning: false,
        order: Order {
            read_back: read_back(&local),
            max_pack_size: Config::from_git_config(&local.repository().config_snapshot()).max_pack_size,
            ..Order::default()
        },
        local,
    };
    helper.order.options.quiet = true;
    let mut input = io::stdin().lock();
    while let Some(line) = next_line(&mut input)? {
        if line.is_empty() {
            break;
        }
        let answer = helper.answer(line.as_bstr(), &mut input)?;
        let mut stdout = io::stdout().lock();
        stdout.write_all(&answer).and_then(|()| stdout.flush()).map_err(lost)?;
    }
    Ok(())
}

fn read_back(local: &LocalRepository) -> ReadBack {
    if Config::from_git_config(&local.repository().config_snapshot()).verify {
        ReadBack::Always
    } else {
        ReadBack::Never
    }
}

/// Reads a line without its end; `None` at the end of the input.
fn next_line(input: &mut impl BufRead) -> Result<Option<BString>, Failure> {
    let mut line = Vec::new();
    if input.read_until(b'\n', &mut line).map_err(lost)? == 0 {
        return Ok(None);
    }
    Ok(Some(line.strip_suffix(b"\n").unwrap_or(&line).into()))
}

fn lost(error: io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("the connection to git was lost: {error}"))
}

/// State between the commands of git.
struct Helper {
    remote: Remembering,
    local: LocalRepository,
    order: Order,
    /// Git is cloning: the repository has neither refs nor a valid HEAD.
    is_cloning: bool,
}

impl Helper {
    /// Carries out a command, whose further lines are read from `input`.
    fn answer(&mut self, line: &BStr, input: &mut impl BufRead) -> Result<Vec<u8>, Failure> {
        let (command, rest) = line.split_once_str(" ").unwrap_or((line, b""));
        match command {
            b"capabilities" => Ok(b"option\npush\nfetch\n\n".to_vec()),
            b"option" => Ok(self.option(rest.as_bstr())),
            b"list" if rest == b"for-push" => self.list_for_push(),
            b"list" => self.list(),
            b"push" => {
                let refspecs = batch(rest, b"push ", input)?;
                self.push(&refspecs)
            }
            b"fetch" => {
                let wanted = batch(rest, b"fetch ", input)?;
                self.fetch(&wanted)
            }
            _ => Err(Failure::new(
                Exit::Usage,
                format!("{NAME} does not understand {line:?}"),
            )),
        }
    }

    fn option(&mut self, option: &BStr) -> Vec<u8> {
        let (name, value) = option.split_once_str(" ").unwrap_or((option, b""));
        let is_true = value == b"true";
        match name {
            b"verbosity" => {}
            b"cloning" => self.is_cloning = is_true,
            b"progress" => self.order.options.quiet = !is_true,
            b"dry-run" => self.order.dry_run = is_true,
            b"atomic" => self.order.options.atomic = is_true,
            b"push-option" => {
                let Some(value) = unquoted(value) else {
                    return b"error invalid quoting\n".to_vec();
                };
                self.order.options.push_options.push(value);
            }
            b"cas" => {
                let null = self.local.repository().object_hash().null();
                let hex = |text: &BStr| ObjectId::from_hex(text).ok();
                let Some(lease) = Lease::parse(value.as_bstr(), null, hex) else {
                    return b"error invalid lease\n".to_vec();
                };
                self.order.leases.push(lease);
            }
            _ => return b"unsupported\n".to_vec(),
        }
        b"ok\n".to_vec()
    }

    fn list_for_push(&mut self) -> Result<Vec<u8>, Failure> {
        let refs = self.remote.advertisement()?.refs;
        let mut out = Vec::new();
        for (name, id) in refs {
            add_ref(&mut out, id.to_string().as_bytes(), &name);
        }
        out.push(b'\n');
        Ok(out)
    }

    fn list(&mut self) -> Result<Vec<u8>, Failure> {
        let mut out = Vec::new();
        for RemoteRef { name, id } in self.remote.remote.read_refs(&["refs/".into()])? {
            add_ref(&mut out, id.to_string().as_bytes(), &name);
        }
        match self.remote.remote.head()? {
            Head::Names(name) => add_ref(&mut out, &[b"@", &name[..]].concat(), b"HEAD"),
            Head::Detached(id) => add_ref(&mut out, id.to_string().as_bytes(), b"HEAD"),
            Head::Dangles(_) => {}
        }
        out.push(b'\n');
        Ok(out)
    }

    fn push(&mut self, refspecs: &[BString]) -> Result<Vec<u8>, Failure> {
        let order = Order {
            refspecs: Refspecs::parse(refspecs).map_err(PushError::from)?,
            ..self.order.clone()
        };
        let tracking = Tracking::new(&self.local, None);
        let refs = porcelain::push(&mut self.remote, &self.local, &tracking, &order, &())?;
        let mut out: Vec<u8> = refs.iter().flat_map(status).collect();
        out.push(b'\n');
        Ok(out)
    }

    fn fetch(&mut self, wanted: &[BString]) -> Result<Vec<u8>, Failure> {
        let haves = if self.is_cloning {
            Vec::new()
        } else {
            let refs = self.local.all_refs().map_err(PushError::from)?;
            refs.ids.into_values().collect()
        };
        let ids: BTreeSet<_> = wanted
            .iter()
            .filter_map(|line| ObjectId::from_hex(line.fields().next()?).ok())
            .collect();
        for id in ids {
            self.remote.remote.fetch(id, self.local.repository(), &haves)?;
        }
        Ok(b"\n".to_vec())
    }
}

/// Reads the lines of a batch up to an empty one. Each starts with `command`; `first` is the rest of the first one.
fn batch(first: &[u8], command: &[u8], input: &mut impl BufRead) -> Result<Vec<BString>, Failure> {
    let mut lines = vec![BString::from(first)];
    while let Some(line) = next_line(input)?.filter(|line| !line.is_empty()) {
        lines.push(line.strip_prefix(command).unwrap_or(&line).into());
    }
    Ok(lines)
}

fn add_ref(out: &mut Vec<u8>, value: &[u8], name: &[u8]) {
    out.extend_from_slice(value);
    out.push(b' ');
    out.extend_from_slice(name);
    out.push(b'\n');
}

/// Returns the line of a ref's result: `ok <ref>` or `error <ref> <why>`.
fn status(report: &RefReport) -> Vec<u8> {
    let why = match &report.fate {
        Fate::UpToDate => "up to date".to_owned(),
        Fate::Planned | Fate::Accepted | Fate::ServerSide => {
            return [b"ok ", &report.name[..], b"\n"].concat();
        }
        Fate::Refused(refusal) => refusal.to_string(),
        Fate::Rejected(reason) => git_push::cleaned(reason),
        Fate::Unknown(how) => how.clone(),
    };
    [b"error ", &report.name[..], b" ", why.as_bytes(), b"\n"].concat()
}

/// Removes the quotes of a C string, if there are any.
fn unquoted(text: &[u8]) -> Option<BString> {
    if !text.starts_with(b"\"") {
        return Some(text.into());
    }
    let (unquoted, _) = gix::quote::ansi_c::undo(text.as_bstr()).ok()?;
    Some(unquoted.into_owned())
}

/// A connection whose advertisement is read once for listing and pushing.
struct Remembering {
    remote: Remote,
    advertisement: Option<Advertisement>,
}

impl Connection for Remembering {
    fn advertisement(&mut self) -> Result<Advertisement, Error> {
        if let Some(advertisement) = self.advertisement.take() {
            return Ok(advertisement);
        }
        let advertisement = self.remote.advertisement()?;
        self.advertisement = Some(advertisement.clone());
        Ok(advertisement)
    }

    fn send(&mut self, request: &Request, pack: Option<Pack>) -> Result<Report, Error> {
        self.advertisement = None;
        self.remote.send(request, pack)
    }

    fn takes_streams(&self) -> bool {
        self.remote.takes_streams()
    }

    fn may_refuse_thin(&self) -> bool {
        self.remote.may_refuse_thin()
    }

    fn watch(&mut self, interrupt: &Arc<AtomicBool>) {
        self.remote.watch(interrupt);
    }

    fn takes_packs(&self) -> bool {
        self.remote.takes_packs()
    }

    fn read_refs(&mut self, prefixes: &[BString]) -> Result<Vec<RemoteRef>, Error> {
        self.remote.read_refs(prefixes)
    }

    fn traffic(&self) -> Traffic {
        self.remote.traffic()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_recognized_by_its_name() {
        assert!(is_remote_helper("/usr/bin/git-remote-stargate".as_ref()));
        assert!(!is_remote_helper("stargate-mirror".as_ref()));
    }

    #[test]
    fn a_batch_ends_with_an_empty_line() {
        let mut input = &b"push b:b\n\nlist\n"[..];
        let lines = batch(b"+a:a", b"push ", &mut input).expect("lines");
        assert_eq!(lines, ["+a:a", "b:b"]);
        assert_eq!(next_line(&mut input).expect("a line"), Some("list".into()));
    }

    #[test]
    fn options_may_be_quoted() {
        assert_eq!(unquoted(b"ci.skip").expect("plain"), "ci.skip");
        assert_eq!(unquoted(b"\"a\\tb\"").expect("quoted"), "a\tb");
    }
}
