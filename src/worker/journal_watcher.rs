//! Detection of appends to journals: within milliseconds by inotify, or within half a second by polling.
use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, SystemTime},
};

use crate::journal;

/// Interval of polling where inotify is unavailable.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Callback for a repository whose journal has changed.
pub type OnAppend = Arc<dyn Fn(&Path) + Send + Sync>;

/// Watches journals until the process ends.
pub struct JournalWatcher {
    notifications: Option<platform::Notifications>,
    polled: Arc<Mutex<HashMap<PathBuf, Option<Metadata>>>>,
}

/// Size and modification time of a journal.
type Metadata = (u64, Option<SystemTime>);

impl JournalWatcher {
    /// Starts without any journals.
    pub fn start(on_append: OnAppend) -> Self {
        let notifications = platform::Notifications::start(on_append.clone());
        if let Err(error) = &notifications {
            tracing::warn!(%error, "file notifications are unavailable; journals are polled twice a second");
        }
        let watcher = JournalWatcher {
            notifications: notifications.ok(),
            polled: Arc::default(),
        };
        let polled = watcher.polled.clone();
        thread::spawn(move || poll(&polled, &on_append));
        watcher
    }

    /// Watches the journal of the repository at `git_dir`, whose `.stargate` folder must exist. A second call has no effect.
    pub fn add(&self, git_dir: &Path) {
        let notifications = match &self.notifications {
            Some(notifications) => notifications.add(git_dir),
            None => Err(io::ErrorKind::Unsupported.into()),
        };
        if notifications.is_err() {
            locked(&self.polled)
                .entry(git_dir.to_owned())
                .or_insert_with(|| metadata(git_dir));
        }
    }
}

fn poll(polled: &Mutex<HashMap<PathBuf, Option<Metadata>>>, on_append: &OnAppend) {
    loop {
        for (git_dir, before) in locked(polled).iter_mut() {
            let now = metadata(git_dir);
            if now != *before {
                *before = now;
                on_append(git_dir);
            }
        }
        thread::sleep(POLL_INTERVAL);
    }
}

fn metadata(git_dir: &Path) -> Option<Metadata> {
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

    /// Notifications by inotify.
    pub(super) struct Notifications {
        inotify: Arc<OwnedFd>,
        watched: Arc<Mutex<HashMap<i32, PathBuf>>>,
    }

    impl Notifications {
        pub(super) fn start(on_append: OnAppend) -> io::Result<Self> {
            let notifications = Notifications {
                inotify: Arc::new(inotify::init(CreateFlags::CLOEXEC)?),
                watched: Arc::default(),
            };
            let (inotify, watched) = (notifications.inotify.clone(), notifications.watched.clone());
            thread::spawn(move || listen(&inotify, &watched, &on_append));
            Ok(notifications)
        }

        pub(super) fn add(&self, git_dir: &Path) -> io::Result<()> {
            // Watches the folder, not the file, because rotation renames the journal and creates a new one.
            let events = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
            // Locked before the watch exists, so that its first event finds a name.
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
                    tracing::error!(%error, "file notifications failed; cycles start at their scheduled times only");
                    return;
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use super::*;

    /// No notifications on this system.
    pub(super) struct Notifications;

    impl Notifications {
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
    fn an_append_and_a_new_journal_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(journal::FOLDER)).unwrap();
        let (sender, events) = mpsc::channel();
        let sender = Mutex::new(sender);
        let watcher = JournalWatcher::start(Arc::new(move |path: &Path| {
            let _ = sender.lock().unwrap().send(path.to_owned());
        }));
        watcher.add(folder.path());
        for text in ["one\n", "one\ntwo\n"] {
            fs::write(journal::path_in(folder.path()), text).unwrap();
            let noticed = events.recv_timeout(Duration::from_secs(30)).expect("an event");
            assert_eq!(noticed, folder.path());
        }
    }
}
