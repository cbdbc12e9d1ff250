//! The thread that writes the tables of the index, so that writers of events do not wait for it.
use std::{
    io,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
};

use super::{
    index::{Frozen, MAX_TAIL, TAIL, files::IndexFiles, manifest::Mark},
    store::Shared,
};

/// Task for the thread: write the entries that were frozen when the log was read up to these marks.
#[derive(Debug, Clone)]
struct Job {
    frozen: Frozen,
    marks: Vec<Mark>,
}

/// Handle of the thread.
#[derive(Debug)]
pub struct Indexer {
    shared: Arc<Shared>,
    jobs: mpsc::Sender<Job>,
    written: mpsc::Receiver<io::Result<()>>,
    /// The job that is being written, or has failed.
    job: Option<Job>,
    has_failed: bool,
    /// File of the log up to which the tables are.
    written_file: u32,
    thread: JoinHandle<()>,
}

impl Indexer {
    /// Starts the thread.
    pub fn start(files: IndexFiles, shared: Arc<Shared>) -> Self {
        let (jobs, queue) = mpsc::channel();
        let (done, written) = mpsc::channel();
        let of_thread = shared.clone();
        Indexer {
            shared,
            jobs,
            written,
            job: None,
            has_failed: false,
            written_file: 0,
            thread: thread::spawn(move || write_tables(files, &of_thread, &queue, &done)),
        }
    }

    /// Writes the events in memory to a table, if there are many and the thread is not busy. If there are too many,
    /// waits for the thread.
    ///
    /// # Errors
    /// There are too many events in memory, and they could not be written.
    pub fn keep_up(&mut self, marks: &[Mark]) -> io::Result<()> {
        let tail = self.shared.index().tail();
        if tail < TAIL {
            return Ok(());
        }
        let must_wait = tail >= MAX_TAIL;
        if self.job.is_some() {
            let retried = std::mem::take(&mut self.has_failed);
            if retried {
                self.send();
            }
            let outcome = if must_wait {
                self.written.recv().map_err(|_| ended())
            } else {
                match self.written.try_recv() {
                    Ok(outcome) => Ok(outcome),
                    Err(_) => return Ok(()),
                }
            };
            if let Err(error) = self.take(outcome.and_then(|written| written)) {
                return if must_wait { Err(error) } else { Ok(()) };
            }
        }
        self.freeze(marks);
        Ok(())
    }

    /// Last known number of the log file up to which the tables have all events.
    pub fn written_file(&self) -> u32 {
        self.written_file
    }

    /// Writes all events in memory to a table, and waits for it.
    ///
    /// # Errors
    /// The disk fails.
    pub fn write_now(&mut self, marks: &[Mark]) -> io::Result<()> {
        if std::mem::take(&mut self.has_failed) {
            self.send();
        }
        self.finish()?;
        self.freeze(marks);
        self.finish()
    }

    /// Writes all events in memory to a table, and ends the thread. If this fails, the next start reads them from the log.
    pub fn end(mut self, marks: &[Mark]) {
        let ended = self.write_now(marks);
        if let Err(error) = ended {
            tracing::warn!("cannot write the index, so the next start takes longer: {error}");
        }
        drop(self.jobs);
        // It logs its errors.
        let _ = self.thread.join();
    }

    fn finish(&mut self) -> io::Result<()> {
        if self.job.is_none() || self.has_failed {
            return Ok(());
        }
        let outcome = self.written.recv().map_err(|_| ended());
        self.take(outcome.and_then(|written| written))
    }

    fn freeze(&mut self, marks: &[Mark]) {
        let frozen = self.shared.change_index(|index| index.freeze());
        if let Some(frozen) = frozen {
            let marks = marks.to_vec();
            self.job = Some(Job { frozen, marks });
            self.send();
        }
    }

    fn send(&self) {
        if let Some(job) = &self.job {
            // If the thread has ended, its answers end, too.
            let _ = self.jobs.send(job.clone());
        }
    }

    fn take(&mut self, outcome: io::Result<()>) -> io::Result<()> {
        match &outcome {
            Ok(()) => {
                let job = self.job.take();
                self.written_file = job
                    .and_then(|job| job.marks.last().map(|mark| mark.file))
                    .unwrap_or_default();
            }
            Err(error) => {
                tracing::error!("cannot write the index: {error}");
                self.has_failed = true;
            }
        }
        outcome
    }
}

fn ended() -> io::Error {
    io::Error::other("the thread that writes the index has ended")
}

fn write_tables(
    mut files: IndexFiles,
    shared: &Shared,
    queue: &mpsc::Receiver<Job>,
    done: &mpsc::Sender<io::Result<()>>,
) {
    while let Ok(Job { frozen, marks }) = queue.recv() {
        let first_file = marks.first().map_or(0, |mark| mark.file);
        let written = files.fold(&frozen, marks);
        if written.is_ok() {
            shared.change_index(|index| index.use_tables(files.tables(), true));
        }
        let is_written = written.is_ok();
        drop(frozen);
        if done.send(written).is_err() {
            return;
        }
        if is_written {
            merge_all(&mut files, first_file, shared);
        }
    }
}

/// Merges tables until no more need it.
fn merge_all(files: &mut IndexFiles, first_file: u32, shared: &Shared) {
    loop {
        match files.merge(first_file) {
            Ok(true) => shared.change_index(|index| index.use_tables(files.tables(), false)),
            Ok(false) => return,
            Err(error) => {
                shared.damaged().note(&error);
                tracing::error!("cannot merge tables of the index: {error}");
                return;
            }
        }
    }
}
