//! Delivery to a URL: `stargate.alertUrl`, signed with the key in `stargate.alertSecretFile`.
use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use bstr::BString;
use durable::{
    clock::{Clock, SystemClock},
    retry::RetryPolicy,
};
use git_push::{Error, ErrorKind};
use git_push_transport::{
    Settings,
    webhook::{PostError, PostExtent, Webhook},
};
use ring::hmac;
use secrecy::{ExposeSecret, SecretString};

use super::failure::Failure;
use crate::config::AGENT;

/// Header with the signature.
const SIGNATURE: &str = "X-Stargate-Signature-256";
/// Time limit of connecting, and of silence.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Time after which there is no further attempt in this cycle.
const LIMIT: Duration = Duration::from_secs(20);
/// Longest time of all attempts together. A server that sends its answer byte by byte is abandoned.
pub(super) const LONGEST_POST: Duration = Duration::from_secs(30);
/// Largest file with a key, in bytes.
const MAX_KEY: u64 = 64 << 10;
/// Variables with credentials for mirrors. They are of no use here, and an error in them must not stop alerts.
const CREDENTIALS: [&str; 5] = [
    "GITHUB_PAT",
    "GITHUB_PAT_FILE",
    "STARGATE_GITHUB_APP",
    "STARGATE_GITHUB_APP_KEY",
    "STARGATE_GITHUB_APP_KEY_FILE",
];

/// Reads an environment variable.
type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// A URL that is ready for alerts.
pub(super) struct Recipient {
    webhook: Arc<Webhook>,
    key: Option<hmac::Key>,
}

impl Recipient {
    /// Prepares the URL, with the transport settings of the repository, if it can be read.
    ///
    /// # Errors
    /// The URL, the settings or the key cannot be used, as text.
    pub(super) fn new(
        url: &SecretString,
        key: Option<&BString>,
        environment: Environment<'_>,
        repository: Option<&gix::Repository>,
    ) -> Result<Self, String> {
        let key = key.map(|key| read_key(key, environment)).transpose()?;
        let open = || -> Result<Webhook, Error> {
            let variable = |name: &str| environment(name).filter(|_| !CREDENTIALS.contains(&name));
            let settings = Settings::from_environment(variable)?.with_user_agent(AGENT);
            let mut settings = match repository {
                Some(repository) => settings.with_git_config(repository)?,
                None => settings.with_user_config()?,
            };
            (settings.connect_timeout, settings.idle_timeout) = (TIMEOUT, TIMEOUT);
            Webhook::open(url.expose_secret(), &settings)
        };
        let webhook = open().map_err(|error| format!("stargate.alertUrl: {error}"))?;
        Ok(Recipient {
            webhook: Arc::new(webhook),
            key,
        })
    }

    /// Posts an alert, in a few attempts.
    ///
    /// # Errors
    /// The last attempt failed, or there was no answer within [`LONGEST_POST`], as text without secrets.
    pub(super) fn post(&self, body: &str) -> Result<(), Failure> {
        self.post_within(body, LONGEST_POST)
    }

    fn post_within(&self, body: &str, limit: Duration) -> Result<(), Failure> {
        let signature = self.key.as_ref().map(|key| signature(key, body));
        let (webhook, body) = (self.webhook.clone(), body.to_owned());
        let (sender, answer) = mpsc::channel();
        let post = move || {
            // Fails only if nobody waits for it any more.
            let _ = sender.send(attempts(&webhook, &body, signature.as_deref()));
        };
        let started = thread::Builder::new().spawn(post);
        started.map_err(|error| Failure::not_sent(format!("stargate.alertUrl: cannot start a thread: {error}")))?;
        let abandoned = || Failure::unanswered(format!("stargate.alertUrl: no complete answer within {limit:?}"));
        answer.recv_timeout(limit).map_err(|_| abandoned())?
    }
}

fn attempts(webhook: &Webhook, body: &str, signature: Option<&str>) -> Result<(), Failure> {
    let clock = SystemClock::default();
    let mut delays = RetryPolicy::default().delays(|| clock.random());
    let mut is_sent = false;
    loop {
        let headers = signature.map(|signature| (SIGNATURE, signature));
        let Err(PostError { extent, error }) = webhook.post_json(body, headers.as_slice()) else {
            return Ok(());
        };
        is_sent |= extent != PostExtent::NotSent;
        let delay = delays.next().filter(|_| error.kind() == ErrorKind::Transient);
        let delay = delay.map(|delay| delay.max(error.retry_after().unwrap_or_default()));
        match delay.filter(|delay| clock.elapsed() + *delay < LIMIT) {
            Some(delay) => clock.sleep(delay),
            None => {
                return Err(match extent {
                    PostExtent::Refused => Failure::refused(shown(&error)),
                    PostExtent::NotSent if !is_sent => Failure::not_sent(shown(&error)),
                    PostExtent::NotSent | PostExtent::NotAnswered => Failure::unanswered(shown(&error)),
                });
            }
        }
    }
}

fn shown(error: &Error) -> String {
    match error.hint() {
        Some(hint) => format!("{error}; {hint}"),
        None => error.to_string(),
    }
}

/// Returns the value of the header: an HMAC with SHA-256 (RFC 2104) of the body, as GitHub's webhooks have it.
fn signature(key: &hmac::Key, body: &str) -> String {
    let tag = hmac::sign(key, body.as_bytes());
    let digits = tag.as_ref().iter().map(|byte| format!("{byte:02x}"));
    format!("sha256={}", digits.collect::<String>())
}

/// Reads the key of signatures: a file, without line feeds at its end.
fn read_key(setting: &BString, environment: Environment<'_>) -> Result<hmac::Key, String> {
    let failed = |why: String| format!("stargate.alertSecretFile = {setting}: {why}");
    let path = gix::path::from_bstring(setting.clone()).map_err(|_| failed("not UTF-8".into()))?;
    let path = located(&path, environment).map_err(failed)?;
    let bytes = read(&path).map_err(|error| failed(error.to_string()))?;
    let end = bytes.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r'));
    match end {
        Some(end) => Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes[..=end])),
        None => Err(failed("the file is empty".into())),
    }
}

/// Returns the path of the key. A relative one is below the folder of systemd's credentials.
fn located(path: &Path, environment: Environment<'_>) -> Result<PathBuf, String> {
    if path.is_absolute() {
        return Ok(path.to_owned());
    }
    let folder = environment("CREDENTIALS_DIRECTORY").filter(|folder| !folder.is_empty());
    let folder = folder.ok_or("a relative path is a systemd credential, and CREDENTIALS_DIRECTORY is not set")?;
    Ok(Path::new(&folder).join(path))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_KEY + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_KEY {
        return Err(io::Error::other(format!("larger than {MAX_KEY} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_githubs_documentation() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"It's a Secret to Everybody");
        let expected = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert_eq!(signature(&key, "Hello, World!"), expected);
    }

    #[test]
    fn a_server_that_never_answers_is_abandoned() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/canary", silent.local_addr().expect("an address"));
        let recipient = Recipient::new(&url.into(), None, &|_| None, None).expect("a recipient");
        let error = recipient
            .post_within("{}", Duration::from_millis(50))
            .expect_err("no answer");
        assert_eq!(
            error,
            Failure::unanswered("stargate.alertUrl: no complete answer within 50ms".into())
        );
    }

    #[test]
    fn the_key_is_a_file_or_a_credential_of_systemd_without_its_line_feed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("alert-key");
        let inside = folder.path().as_os_str().to_owned();
        let environment = move |name: &str| (name == "CREDENTIALS_DIRECTORY").then(|| inside.clone());
        let absolute = BString::from(path.display().to_string());
        let sign = |setting: &BString| read_key(setting, &environment).map(|key| signature(&key, "x"));
        std::fs::write(&path, "canary\n").expect("a file");
        let expected = signature(&hmac::Key::new(hmac::HMAC_SHA256, b"canary"), "x");
        assert_eq!(sign(&absolute), Ok(expected.clone()));
        assert_eq!(sign(&"alert-key".into()), Ok(expected));
        let error = read_key(&"alert-key".into(), &|_: &str| None).expect_err("no folder");
        assert!(error.contains("CREDENTIALS_DIRECTORY"), "{error}");
        for (text, why) in [("\n", "empty"), ("x".repeat(MAX_KEY as usize + 1).as_str(), "larger")] {
            std::fs::write(&path, text).expect("a file");
            let error = sign(&absolute).expect_err(why);
            assert!(error.contains(why), "{error}");
        }
    }
}
