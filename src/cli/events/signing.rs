//! `stargate-mirror events keygen` and `events sign`: keys of authors, and signed events.
use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use durable::storage::{Disk, Names};
use ring::rand::{SecureRandom, SystemRandom};
use secrecy::{ExposeSecret, SecretBox, SecretString};

use super::super::report::{Exit, Failure};
use crate::event::{KEY_BYTES, MAX_FILE, NotAKey, SigningKey, pem};

const KEYGEN_EXAMPLES: &str = "\
Examples:
  stargate-mirror events keygen author.pem";

const SIGN_EXAMPLES: &str = "\
Examples:
  stargate-mirror events sign --key author.pem < event.json > signed.json
  stargate-mirror events sign --key author.pem < event.json |
    curl -H 'Content-Type: application/json' --data-binary @- \\
    http://127.0.0.1:3000/feeds/general/events";

/// Mode of the file of a key.
const KEY_MODE: u32 = 0o600;
/// Maximum length of the file of a key, in bytes.
const MAX_KEY_FILE: u64 = 4096;

/// Create a key that signs events, and print its author_identity_id.
#[derive(Debug, clap::Args)]
#[command(after_help = KEYGEN_EXAMPLES)]
pub(super) struct Keygen {
    /// A new file for the key
    file: PathBuf,
}

/// Read an event from standard input, sign it, and print it.
///
/// The signature covers the whole event, so sign it last. An event without an author_identity_id gets that of the key.
#[derive(Debug, clap::Args)]
#[command(after_help = SIGN_EXAMPLES)]
pub(super) struct Sign {
    /// File of the key, as events keygen or `openssl genpkey -algorithm ed25519` writes it; only its owner may read it
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

/// Runs `events keygen`.
///
/// # Errors
/// The file exists or cannot be written.
pub(super) fn keygen(args: &Keygen) -> Result<Exit, Failure> {
    let mut filled = Ok(());
    let key = SecretBox::init_with_mut(|key: &mut [u8; KEY_BYTES]| filled = SystemRandom::new().fill(key));
    filled.map_err(|_| Failure::new(Exit::Failed, "the system provides no random numbers"))?;
    let text = pem(key.expose_secret());
    let author = SigningKey::from_pem(&text)
        .map_err(|error| unusable(&args.file, error))?
        .author();
    let written = Disk.write_new(&args.file, text.expose_secret().as_bytes(), KEY_MODE);
    written.map_err(|error| {
        let failure = Failure::new(Exit::Failed, format!("cannot create {}: {error}", args.file.display()));
        failure.hint("name a new file in a folder that you can write to; an existing file is not overwritten")
    })?;
    println!("{author}");
    Ok(Exit::Done)
}

/// Runs `events sign`.
///
/// # Errors
/// The key cannot be used, or the event is invalid.
pub(super) fn sign(args: &Sign) -> Result<Exit, Failure> {
    let key = read_key(&args.key)?;
    let mut json = Vec::new();
    let read = io::stdin().take(MAX_FILE as u64 + 1).read_to_end(&mut json);
    read.map_err(|error| Failure::new(Exit::Failed, format!("cannot read standard input: {error}")))?;
    let event = key.sign(&json).map_err(|problems| {
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        Failure::new(
            Exit::Refused,
            format!("the event cannot be signed: {}", problems.join("; ")),
        )
    })?;
    println!("{}", String::from_utf8_lossy(&event.to_json()));
    Ok(Exit::Done)
}

fn read_key(path: &Path) -> Result<SigningKey, Failure> {
    let failed =
        |error: io::Error| Failure::new(Exit::Failed, format!("cannot read the key {}: {error}", path.display()));
    let file = File::open(path).map_err(failed)?;
    if is_readable_by_others(&file).map_err(failed)? {
        let what = format!("the key {} is readable by others than its owner", path.display());
        return Err(Failure::new(Exit::Misconfigured, what).hint(format!("run `chmod 600 {}`", path.display())));
    }
    let mut text = String::new();
    file.take(MAX_KEY_FILE).read_to_string(&mut text).map_err(failed)?;
    SigningKey::from_pem(&SecretString::from(text)).map_err(|error| unusable(path, error))
}

fn unusable(path: &Path, error: NotAKey) -> Failure {
    let what = format!("the key {} cannot be used: {error}", path.display());
    Failure::new(Exit::Misconfigured, what).hint("create a key with `stargate-mirror events keygen`")
}

#[cfg(unix)]
fn is_readable_by_others(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    Ok(file.metadata()?.mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn is_readable_by_others(_: &File) -> io::Result<bool> {
    Ok(false)
}
