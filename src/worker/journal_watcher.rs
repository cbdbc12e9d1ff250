//! Notices appends to journals: within milliseconds where the system tells (inotify), within half a second by looking
//! where it does not.
use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, SystemTime},
};

use crate::journal;

/// How often is looked where nobody tells.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What is called with a repository whose journal has changed.
pub type OnAppend = Arc<dyn Fn(&Path) + Send + Sync>;

/// Watches journals until the process ends.
pub struct JournalWatcher {
    told: Option<platform::Told>,
    looked_at: Arc<Mutex<HashMap<PathBuf, Option<Seen>>>>,
}

/// What a journal looks like from outside.
type Seen = (u64, Option<SystemTime>);

impl JournalWatcher {
    /// Begins to watch; nothing yet.
    pub fn start(on_append: OnAppend) -> Self {
        let told = platform::Told::start(on_append.clone());
        if let Err(error) = &told {
            tracing::warn!(%error, "the system does not tell of changes; journals are looked at twice a second");
        }
        let notice = JournalWatcher {
            told: told.ok(),
            looked_at: Arc::default(),
        };
        let looked_at = notice.looked_at.clone();
        thread::spawn(move || look(&looked_at, &on_append));
        notice
    }

    /// Watches the journal of the repository at `git_dir`, whose `.stargate` folder is there. Doing it again is nothing.
    pub fn add(&self, git_dir: &Path) {
        let told = match &self.appended {
            Some(told) => told.add(git_dir),
            None => Err(io::ErrorKind::Unsupported.into()),
        };
        if told.is_err() {
            locked(&self.looked_at)
                .entry(git_dir.to_owned())
                .or_insert_with(|| seen(git_dir));
        }
    }
}

fn look(looked_at: &Mutex<HashMap<PathBuf, Option<Seen>>>, on_append: &OnAppend) {
    loop {
        for (git_dir, before) in locked(looked_at).iter_mut() {
            let now = seen(git_dir);
            if now != *before {
                *before = now;
                on_append(git_dir);
            }
        }
        thread::sleep(LOOK_EVERY);
    }
}

fn seen(git_dir: &Path) -> Option<Seen> {
    let found = fs::metadata(journal::path_in(git_dir)).ok()?;
    Some((found.len(), found.modified().ok()))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(target_os = "linux")]
mod platform {
    use std::{mem::MaybeUninit, os::fd::OwnedFd};

    use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

    use super::*;

    /// Told by inotify.
    pub(super) struct Told {
        inotify: Arc<OwnedFd>,
        watched: Arc<Mutex<HashMap<i32, PathBuf>>>,
    }

    impl Told {
        pub(super) fn start(on_append: OnAppend) -> io::Result<Self> {
            let told = Told {
                inotify: Arc::new(inotify::init(CreateFlags::CLOEXEC)?),
                watched: Arc::default(),
            };
            let (inotify, watched) = (told.inotify.clone(), told.watched.clone());
            thread::spawn(move || listen(&inotify, &watched, &on_append));
            Ok(told)
        }

        pub(super) fn add(&self, git_dir: &Path) -> io::Result<()> {
            // The folder, not the file: the journal is renamed away and made anew.
            let events = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
            // Before the watch is there, so that its first event finds a name.
            let mut watched = locked(&self.watched);
            let id = inotify::add_watch(&*self.inotify, git_dir.join(journal::FOLDER), events)?;
            watched.insert(id, git_dir.to_owned());
            Ok(())
        }
    }

    fn listen(inotify: &OwnedFd, watched: &Mutex<HashMap<i32, PathBuf>>, on_append: &OnAppend) {
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let mut reader = inotify::Reader::new(inotify, &mut buffer);
        loop {
            match reader.next() {
                Ok(event)
                    if event
                        .file_name()
                        .is_some_and(|name| name.to_bytes() == journal::JOURNAL.as_bytes()) =>
                {
                    let git_dir = locked(watched).get(&event.wd()).cloned();
                    git_dir.iter().for_each(|git_dir| on_append(git_dir));
                }
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    tracing::error!(%error, "the system tells of no more changes; cycles come by their time");
                    return;
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use super::*;

    /// Nobody tells.
    pub(super) struct Told;

    impl Told {
        pub(super) fn start(_: OnAppend) -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(super) fn add(&self, _: &Path) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn an_append_is_noticed_and_a_new_journal_too() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(journal::FOLDER)).unwrap();
        let (sender, events) = mpsc::channel();
        let sender = Mutex::new(sender);
        let notice = JournalWatcher::start(Arc::new(move |path: &Path| {
            let _ = sender.lock().unwrap().send(path.to_owned());
        }));
        notice.add(folder.path());
        for text in ["one\n", "one\ntwo\n"] {
            fs::write(journal::path_in(folder.path()), text).unwrap();
            let noticed = events.recv_timeout(Duration::from_secs(30)).expect("an event");
            assert_eq!(noticed, folder.path());
        }
    }
}
