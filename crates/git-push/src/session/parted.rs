//! Driver of a push in parts (see `parts`).
use std::collections::{HashMap, HashSet};

use bstr::BString;
use gix::ObjectId;

use super::super::{
    Advertisement, Command, Connection, Error, ErrorKind, Options, Remedy, Report, Stage, Verdict, filler, negotiate,
    pack::{self, bounds::Bounds},
    parts::{self, Part, Parts},
    sizes::{NewObjects, SizedObject, Sizes},
};
use super::{
    Push,
    temporary_refs::{remove, temporary},
};

/// Estimated bytes of the smallest part that is halved after the server refused it.
const LEAST_REFUSED: u64 = 1 << 10;
/// Bytes of the smallest push that is halved after a lost connection or an answer that came too late.
const LEAST_LOST: u64 = 1 << 20;
/// Number of lost connections in a row after which the push fails.
const MOST_LOST: u32 = 8;

impl Push<'_> {
    /// Carries out the push, in parts if its pack is larger than [`Parts::max_bytes`], or the server refuses its size (see
    /// [`parts`](super::super::parts)). The parts are halved when the server refuses them, too. Blocks.
    ///
    /// The report is that of the last push, which has the commands. Temporary refs below [`Parts::namespace`] that the
    /// refs of the remote reach are then deleted, those of earlier pushes among them. If the server does not allow that,
    /// they stay.
    ///
    /// # Errors
    /// The errors of [`send()`](Push::send()). Parts that have arrived stay. The same push continues after them.
    pub fn send_in_parts(mut self, parts: &Parts, connection: &mut dyn Connection) -> Result<Report, Error> {
        self.bounds.bytes = Some(parts.max_bytes);
        let before = connection.traffic().bytes_sent;
        match self.sent(connection) {
            Ok(report) => {
                if report.all_accepted() {
                    remove(&self, parts, self.advertisement, connection);
                }
                Ok(report)
            }
            Err(error) if is_worth_parts(&error, connection.traffic().bytes_sent - before) => {
                Parted::new(&self, parts, connection, error)?.run()
            }
            Err(error) => Err(error),
        }
    }
}

/// A push in parts.
struct Parted<'p, 'a> {
    push: &'p Push<'a>,
    parts: &'p Parts,
    connection: &'p mut dyn Connection,
    /// Refs of the remote, and the objects that have arrived since.
    advertisement: Advertisement,
    new: NewObjects,
    /// Owners of temporary commits whose objects have all arrived.
    filled: HashSet<ObjectId>,
    /// Largest pack in bytes.
    limit: u64,
    /// Largest estimate of a part in bytes.
    target: u64,
    /// Number of lost connections in a row.
    lost: u32,
    thin: bool,
    refused_thin: bool,
    /// Parts may be sent while they are made.
    stream: bool,
    refused_stream: bool,
    /// Estimated bytes of everything.
    total: u64,
    /// Number of parts that have arrived, and their estimated bytes.
    arrived: (usize, u64),
}

impl<'p, 'a> Parted<'p, 'a> {
    /// Prepares to send in parts a push that failed as a whole because of `error`.
    fn new(
        push: &'p Push<'a>,
        parts: &'p Parts,
        connection: &'p mut dyn Connection,
        error: Error,
    ) -> Result<Self, Error> {
        let (advertisement, error) = look_after(push, connection, error)?;
        let effective: Vec<_> = push.effective().cloned().collect();
        push.observer.stage(Stage::Counting);
        let sizes = Sizes::new(push.repository, push.monitor());
        let new = sizes.new_objects(&advertisement, &effective)?;
        let mut parted = Parted {
            total: new.bytes(),
            new,
            push,
            parts,
            connection,
            advertisement,
            filled: HashSet::new(),
            limit: parts.max_bytes,
            target: parts.max_bytes,
            lost: 0,
            thin: push.bounds.thin,
            refused_thin: false,
            stream: push.bounds.stream,
            refused_stream: false,
            arrived: (0, 0),
        };
        if error.kind() != ErrorKind::NotSent {
            parted.shrink(error, parted.total)?;
        }
        Ok(parted)
    }

    fn run(mut self) -> Result<Report, Error> {
        self.send_all().map_err(|error| {
            if error.kind() == ErrorKind::Interrupted && self.arrived.0 > 0 {
                error
                    .reworded("interrupted; no ref was moved, and the next push continues after the parts that arrived")
            } else {
                error
            }
        })
    }

    fn send_all(&mut self) -> Result<Report, Error> {
        let mut start = 0;
        while let Some(part) = parts::next(&self.new.commits, start, self.target) {
            match self.send_part(&part) {
                Ok(()) => start = part.commits.end,
                Err(error) => self.halve(error, part.bytes)?,
            }
        }
        let report = self.send_last()?;
        if report.all_accepted() {
            remove(self.push, self.parts, &self.advertisement, self.connection);
        }
        Ok(report)
    }

    /// Sends commits to temporary refs.
    fn send_part(&mut self, part: &Part) -> Result<(), Error> {
        self.show();
        let ids = part.tips.iter().map(|place| self.new.commits[*place].id);
        let namespace = self.parts.namespace.as_slice();
        let create = |id: ObjectId| Command::create([namespace, id.to_string().as_bytes()].concat(), id);
        let mut commands: Vec<_> = ids.map(create).collect();
        let alone = self.new.commits[part.commits.start].id;
        // It is a single commit.
        let is_too_large = part.bytes > self.target;
        if is_too_large {
            self.fill(alone)?;
        }
        commands.retain(|command| self.advertisement.id(command.name.as_ref()) != Some(command.new));
        let sent = self.send_commands(commands);
        if is_too_large {
            // It is as small as it can be, and its objects were counted.
            sent.map_err(Error::without_remedy)?;
            self.arrive(0);
        } else {
            sent?;
            self.arrive(part.bytes);
        }
        Ok(())
    }

    fn send_commands(&mut self, commands: Vec<Command>) -> Result<(), Error> {
        let report = Push {
            repository: self.push.repository,
            advertisement: &self.advertisement,
            commands,
            options: self.options(),
            observer: self.push.observer,
            interrupt: self.push.interrupt.clone(),
            bounds: self.bounds(),
            signer: None,
        }
        .sent(self.connection)?;
        self.landed(report)
    }

    /// Sends the objects that `owner` adds, in temporary commits.
    fn fill(&mut self, owner: ObjectId) -> Result<(), Error> {
        let objects = Sizes::new(self.push.repository, self.push.monitor()).added_by(owner)?;
        let mut start = self.arrived_of(owner, &objects)?;
        while start < objects.len() {
            let sizes = objects[start..].iter().map(|object| object.bytes + filler::ENTRY);
            let end = start + parts::fitting(sizes, self.target);
            let run = &objects[start..end];
            match self.send_filler(&filler::name(&self.parts.namespace, owner, start, end), run) {
                Ok(()) => start = end,
                Err(error) if run.len() > 1 => {
                    self.halve(error, run.iter().map(|object| object.bytes).sum())?;
                    start = start.max(self.arrived_of(owner, &objects)?);
                }
                Err(error) => return Err(error.without_remedy()),
            }
        }
        self.filled.insert(owner);
        let ids = objects.iter().map(|object| object.id);
        self.advertisement.haves.extend(ids);
        Ok(())
    }

    /// Returns how many of the objects of `owner`, counted from the first, have arrived.
    fn arrived_of(&self, owner: ObjectId, objects: &[SizedObject]) -> Result<usize, Error> {
        let mut runs: HashMap<usize, Vec<(usize, ObjectId)>> = HashMap::new();
        for (rest, id) in temporary(self.parts, &self.advertisement) {
            if let Some((of, Some((start, end)))) = filler::parse(rest)
                && of == owner
                && (start + 1..=objects.len()).contains(&end)
            {
                runs.entry(start).or_default().push((end, id));
            }
        }
        let mut start = 0;
        'runs: while let Some(ends) = runs.remove(&start) {
            for (end, id) in ends {
                if filler::fill(self.push.repository, &objects[start..end])?.id == id {
                    start = end;
                    continue 'runs;
                }
            }
        }
        Ok(start)
    }

    /// Sends a temporary commit with these objects. A single object is sent whatever its size.
    fn send_filler(&mut self, name: &BString, objects: &[SizedObject]) -> Result<(), Error> {
        self.show();
        let push = self.push;
        let filler = filler::fill(push.repository, objects)?;
        let mut bounds = self.bounds();
        bounds.bytes = bounds.bytes.filter(|_| objects.len() > 1);
        let offered = &self.advertisement.capabilities;
        let commands = vec![Command::set(name.clone(), &self.advertisement, filler.id)];
        let request = negotiate(offered, push.repository.object_hash(), commands, &self.options())?;
        let format = bounds.format(offered);
        let connection = &mut *self.connection;
        let send = |pack| push.transmit(connection, &request, Some(pack));
        // Here, nothing sends a pack once more with its length.
        bounds.stream = false;
        let report = pack::deliver_list(&filler.repository, &filler.list, format, bounds, push.monitor(), send)?;
        self.landed(report)?;
        self.arrive(objects.iter().map(|object| object.bytes).sum());
        Ok(())
    }

    /// Sends the commands themselves. The remote has all commits.
    fn send_last(&mut self) -> Result<Report, Error> {
        self.advertisement.haves.extend(&self.new.in_commits);
        self.fill_roots(Some(self.target))?;
        self.show();
        match self.send_whole() {
            // Trees that refs name are sent whole, with what the remote has in commits.
            Err(error) if error.remedy() == Some(Remedy::SmallerPack) => self.send_filled(error),
            sent => sent,
        }
    }

    /// Sends the commands once more after `error`, when all trees and blobs that refs name have arrived. If nothing was
    /// missing, `error` stays.
    fn send_filled(&mut self, error: Error) -> Result<Report, Error> {
        let error = if error.kind() == ErrorKind::Uncertain {
            let (advertisement, error) = look_after(self.push, self.connection, error)?;
            self.see(advertisement);
            error
        } else {
            error
        };
        if self.fill_roots(None)? {
            self.send_whole()
        } else {
            Err(error)
        }
    }

    fn send_whole(&mut self) -> Result<Report, Error> {
        let is_filled = self.new.roots.iter().all(|root| self.filled.contains(&root.id));
        let last = Push {
            advertisement: &self.advertisement,
            commands: self.push.commands.clone(),
            options: self.push.options.clone(),
            interrupt: self.push.interrupt.clone(),
            bounds: Bounds {
                thin: self.thin,
                bytes: Some(self.limit).filter(|_| !is_filled),
                stream: self.stream,
                shallow: false,
            },
            ..*self.push
        };
        let report = last.sent(self.connection)?;
        let refused_thin = self.refused_thin || report.has_refused_thin();
        let refused_stream = self.refused_stream || report.has_refused_stream();
        Ok(report
            .with_refused_thin(refused_thin)
            .with_refused_stream(refused_stream))
    }

    /// Sends trees and blobs that refs name, except for the first ones, which have at most `but` bytes. Returns true if
    /// something was sent.
    fn fill_roots(&mut self, mut but: Option<u64>) -> Result<bool, Error> {
        let mut is_new = false;
        for root in self.new.roots.clone() {
            if self.filled.contains(&root.id) || self.advertisement.haves.contains(&root.id) {
                self.filled.insert(root.id);
            } else if let Some(rest) = but.and_then(|but| but.checked_sub(root.bytes)) {
                but = Some(rest);
            } else {
                self.fill(root.id)?;
                is_new = true;
            }
        }
        Ok(is_new)
    }

    /// Makes the parts smaller after one of `bytes` failed, and reads the refs of the remote.
    fn halve(&mut self, error: Error, bytes: u64) -> Result<(), Error> {
        let was_sent = error.kind() != ErrorKind::NotSent;
        self.shrink(error, bytes)?;
        if was_sent { self.look() } else { Ok(()) }
    }

    fn shrink(&mut self, error: Error, bytes: u64) -> Result<(), Error> {
        if error.remedy() != Some(Remedy::SmallerPack) || error.retry_after().is_some() {
            return Err(error);
        }
        let refused = bytes.min(self.target);
        self.lost += u32::from(error.is_retryable());
        let least = if error.is_retryable() {
            LEAST_LOST
        } else {
            LEAST_REFUSED
        };
        if refused < least || self.lost > MOST_LOST {
            return Err(error);
        }
        self.target = refused / 2;
        if error.kind() != ErrorKind::NotSent {
            self.limit = self.limit.min(refused);
        }
        Ok(())
    }

    /// Reads the refs of the remote after a failure.
    fn look(&mut self) -> Result<(), Error> {
        let advertisement = self.connection.advertisement()?;
        self.see(advertisement);
        Ok(())
    }

    /// Sets the refs of the remote. Objects that are known to have arrived are kept.
    fn see(&mut self, advertisement: Advertisement) {
        let before = std::mem::replace(&mut self.advertisement, advertisement);
        self.advertisement.haves.extend(before.haves);
    }

    /// Adds the temporary refs that have arrived. They must all have been accepted.
    fn landed(&mut self, report: Report) -> Result<(), Error> {
        let report = report.with_reasons_explained();
        for (command, verdict) in report.verdicts() {
            let name = &command.name;
            let error = match verdict {
                Verdict::Accepted | Verdict::UpToDate => {
                    self.advertisement.refs.insert(name.clone(), command.new);
                    continue;
                }
                Verdict::Rejected(reason) => {
                    let what = format!("the server rejected {name}, a temporary ref of a push in parts: {reason}");
                    let hint = format!("configure the server to accept refs below {}", self.parts.namespace);
                    Error::new(ErrorKind::Rejected, what).with_hint(hint)
                }
                Verdict::Unknown => {
                    let what = format!("the server did not report on {name}, a temporary ref of a push in parts");
                    Error::new(ErrorKind::Uncertain, what)
                }
            };
            return Err(error.with_server_words(report.server_words()));
        }
        if report.has_refused_thin() {
            (self.thin, self.refused_thin) = (false, true);
        }
        if report.has_refused_stream() {
            (self.stream, self.refused_stream) = (false, true);
        }
        Ok(())
    }

    fn arrive(&mut self, bytes: u64) {
        self.lost = 0;
        self.arrived.0 += 1;
        self.arrived.1 += bytes;
    }

    fn show(&self) {
        self.push.observer.stage(Stage::Part {
            number: self.arrived.0 + 1,
            sent: self.arrived.1,
            bytes: self.total,
        });
    }

    fn bounds(&self) -> Bounds {
        Bounds {
            thin: self.thin,
            bytes: Some(self.limit),
            stream: self.stream,
            shallow: false,
        }
    }

    /// Returns the options of parts. They are not atomic, and have no push options.
    fn options(&self) -> Options {
        Options {
            quiet: self.push.options.quiet,
            agent: self.push.options.agent.clone(),
            ..Options::default()
        }
    }
}

/// Reads the refs of the remote after `error`. If the push may have been carried out, and a ref has moved or the refs cannot
/// be read, that error is the result: another push would have another result.
fn look_after(push: &Push<'_>, connection: &mut dyn Connection, error: Error) -> Result<(Advertisement, Error), Error> {
    let is_uncertain = error.kind() == ErrorKind::Uncertain;
    let advertisement = match connection.advertisement() {
        Err(_) if is_uncertain => return Err(error),
        read => read?,
    };
    let is_there = |command: &Command| {
        let there = advertisement.id(command.name.as_ref());
        command.old != command.new && there.unwrap_or(command.new.kind().null()) == command.new
    };
    if is_uncertain && push.effective().any(is_there) {
        return Err(error);
    }
    Ok((advertisement, error))
}

/// Returns true if a smaller pack may help. A connection that is lost at once is lost for another reason.
fn is_worth_parts(error: &Error, sent: u64) -> bool {
    error.remedy() == Some(Remedy::SmallerPack) && (!error.is_retryable() || sent >= LEAST_LOST)
}
