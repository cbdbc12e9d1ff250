//! Pushes in asynchronous code:
//!
//! ```sh
//! cargo run -p git-push-transport --example spawn_blocking -- https://example.com/o/r.git refs/heads/main
//! ```
use std::{error::Error, sync::Arc, sync::atomic::AtomicBool};

use bstr::BStr;
use git_push::{Command, Connection, Push, Report};
use git_push_transport::{Location, Remote, Settings};
use gix::ObjectId;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [remote, name] = &arguments[..] else {
        return Err("usage: spawn_blocking REMOTE REF".into());
    };
    let repository = gix::discover(".")?;
    let new = repository.head_id()?.detach();
    let settings = Settings::from_environment(|name| std::env::var_os(name))?.with_git_config(&repository)?;
    let connection = Remote::open(Location::parse(BStr::new(remote))?, &settings)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let pushed = push(connection, repository.into_sync(), name.clone(), new, Arc::default());
    println!("{:?}", runtime.block_on(pushed)??);
    Ok(())
}

/// Sets the ref `name` to `new` without blocking the runtime. Setting `stop` stops the push.
///
/// # Errors
/// Outside, the thread panicked or the runtime is shut down; inside, those of a push.
pub async fn push(
    mut connection: Remote,
    repository: gix::ThreadSafeRepository,
    name: String,
    new: ObjectId,
    stop: Arc<AtomicBool>,
) -> Result<Result<Report, git_push::Error>, tokio::task::JoinError> {
    let push = move || {
        let repository = repository.to_thread_local();
        let advertisement = connection.advertisement()?;
        let command = Command::set(name.as_str(), &advertisement, new);
        Push::new(&repository, &advertisement)
            .command(command)
            .interrupt(&stop)
            .send(&mut connection)
    };
    tokio::task::spawn_blocking(push).await
}
