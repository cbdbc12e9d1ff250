//! A server of the batch API with the transfer `basic`.
use std::{
    fs::File,
    io::{self, Read, Write},
};

use git_push::{Error, ErrorKind, Traffic};
use git_push_transport::{
    Settings,
    authenticated::{Authenticated, Outgoing, retry_after},
    http_client::{HttpResponse, Method, RequestBody},
    stream,
};
use ring::digest;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{
    action::Action,
    batch::{self, MEDIA_TYPE, Operation, Verdict},
    failure,
    source::{Checked, hex},
};
use crate::lfs_pointer::Pointer;

/// Limit of an answer to a batch request, in bytes.
const MAX_ANSWER: u64 = 4 << 20;
/// Limit of other answers.
const MAX_OTHER_ANSWER: u64 = 64 << 10;
/// Headers of an action that the client sets itself.
const OWN_HEADERS: [&str; 3] = ["content-length", "host", "transfer-encoding"];

/// A server.
pub(super) struct Server {
    web: Authenticated,
    /// Headers from `git-lfs-authenticate`, instead of credentials.
    given: Option<(String, Vec<(String, SecretString)>)>,
}

/// Answer of `git-lfs-authenticate`.
#[derive(Deserialize)]
struct Granted {
    href: SecretString,
    #[serde(default)]
    header: std::collections::BTreeMap<String, SecretString>,
}

impl Server {
    /// Opens the server at an http or https URL. Nothing is sent yet.
    pub(super) fn open(url: &gix::Url, settings: &Settings) -> Result<Self, Error> {
        let web = Authenticated::open(url, settings)?;
        Ok(Server { web, given: None })
    }

    /// Runs `git-lfs-authenticate` on the server of an ssh URL, and opens the server that it names.
    pub(super) fn over_ssh(url: &gix::Url, settings: &Settings) -> Result<Self, Error> {
        let printed = stream::output_of(url, settings, "git-lfs-authenticate", "upload", MAX_OTHER_ANSWER)?;
        // The error of the parser may quote a secret.
        let granted: Granted = serde_json::from_slice(&printed).map_err(|_| {
            let what = "git-lfs-authenticate on the mirror's server did not print JSON with a URL";
            Error::new(ErrorKind::Misconfigured, what)
                .with_hint("enable LFS at the mirror, or set lfs.url in the repository's configuration")
        })?;
        let href = granted.href.expose_secret().trim_end_matches('/').to_owned();
        let parsed = gix::url::parse(href.as_str()).map_err(|_| {
            Error::new(
                ErrorKind::Misconfigured,
                "git-lfs-authenticate on the mirror's server printed an invalid URL",
            )
        })?;
        let mut settings = settings.clone();
        settings.token = None;
        Ok(Server {
            web: Authenticated::open(&parsed, &settings)?,
            given: Some((href, granted.header.into_iter().collect())),
        })
    }

    /// Returns the URL without secrets.
    pub(super) fn shown(&self) -> String {
        self.web.url().to_string()
    }

    /// Returns the requests so far.
    pub(super) fn traffic(&self) -> Traffic {
        self.web.traffic()
    }

    /// Asks which of these objects are to be transferred. Returns none if there is no LFS server at the URL.
    pub(super) fn batch(
        &self,
        operation: Operation,
        pointers: &[Pointer],
        reference: Option<&str>,
    ) -> Result<Option<Vec<Verdict>>, Error> {
        let located = |error: Error| {
            let what = format!("{}: {error}", self.shown());
            error.reworded(what)
        };
        let response = self
            .post_batch(&batch::request(operation, pointers, reference))
            .map_err(located)?;
        match response.status {
            200..=299 => {}
            404 | 405 | 410 | 501 => return Ok(None),
            status => return Err(located(failure::of_batch(status, retry_after(&response)))),
        }
        let mut body = Vec::new();
        let read = response.body.take(MAX_ANSWER + 1).read_to_end(&mut body);
        read.map_err(|error| located(lost(error)))?;
        if body.len() as u64 > MAX_ANSWER {
            let what = format!("the LFS server's answer is larger than {MAX_ANSWER} bytes");
            return Err(located(Error::new(ErrorKind::Rejected, what)));
        }
        let verdicts = batch::verdicts(&body, pointers);
        verdicts
            .map(Some)
            .map_err(|error| located(Error::new(ErrorKind::Rejected, error.to_string())))
    }

    fn post_batch(&self, body: &[u8]) -> Result<HttpResponse, Error> {
        let Some((href, given)) = &self.given else {
            let headers = [("Accept", MEDIA_TYPE), ("Content-Type", MEDIA_TYPE)];
            return self.web.post("objects/batch", &headers, body, MAX_ANSWER);
        };
        self.send(
            Method::Post,
            &format!("{href}/objects/batch"),
            json_headers(given),
            Some((body.len() as u64, &mut &*body)),
        )
    }

    /// Uploads an object, and has the server verify it if it asks for that.
    pub(super) fn upload(&self, object: &mut Checked, action: &Action, verify: Option<&Action>) -> Result<(), Error> {
        let oid = object.pointer.oid.clone();
        let size = object.pointer.size;
        let headers = with_type(&action.headers, "application/octet-stream");
        let sent = self.send(Method::Put, action.url(), headers, Some((size, &mut *object)));
        if object.is_wrong {
            return Err(object.wrong());
        }
        let response = sent.map_err(|error| {
            let what = format!(
                "LFS object {oid}: upload: {error} ({} of {size} bytes were read)",
                object.read
            );
            error.reworded(what)
        })?;
        if !(200..300).contains(&response.status) {
            return Err(failure::of_object(
                &oid,
                "upload",
                response.status,
                retry_after(&response),
            ));
        }
        let Some(verify) = verify else { return Ok(()) };
        let body = serde_json::to_vec(&serde_json::json!({ "oid": oid.as_str(), "size": size })).expect("it is JSON");
        let body = Some((body.len() as u64, &mut &body[..] as &mut (dyn Read + Send)));
        let response = self.send(Method::Post, verify.url(), json_headers(&verify.headers), body);
        let response = response.map_err(|error| {
            let what = format!("LFS object {oid}: verification: {error}");
            error.reworded(what)
        })?;
        if (200..300).contains(&response.status) {
            return Ok(());
        }
        Err(failure::of_object(
            &oid,
            "verification",
            response.status,
            retry_after(&response),
        ))
    }

    /// Downloads an object, and checks its size and hash.
    pub(super) fn download(&self, pointer: &Pointer, action: &Action, into: &mut File) -> Result<(), Error> {
        let named =
            |kind: ErrorKind, why: String| Error::new(kind, format!("LFS object {}: download: {why}", pointer.oid));
        let request = Outgoing {
            method: Method::Get,
            url: action.url(),
            headers: &own_headers_removed(&action.headers),
            body: None,
            max_answer: pointer.size.saturating_add(1),
        };
        let response = self
            .web
            .send(request)
            .map_err(|error| named(error.kind(), error.to_string()))?;
        if response.status != 200 {
            return Err(failure::of_object(
                &pointer.oid,
                "download",
                response.status,
                retry_after(&response),
            ));
        }
        let mut hash = digest::Context::new(&digest::SHA256);
        let (mut body, mut piece, mut received) = (response.body.take(pointer.size + 1), vec![0; 64 << 10], 0);
        loop {
            let length = match body.read(&mut piece) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let error = lost(error);
                    return Err(named(error.kind(), error.to_string()));
                }
            };
            received += length as u64;
            hash.update(&piece[..length]);
            into.write_all(&piece[..length])
                .map_err(|error| named(ErrorKind::Broken, error.to_string()))?;
        }
        if received != pointer.size || hex(&hash.finish()) != pointer.oid.as_str() {
            let why = "the server of stargate.lfsUrl sent content that does not match the object's id".to_owned();
            return Err(named(ErrorKind::Broken, why));
        }
        Ok(())
    }

    /// Returns a text of the server without secrets that were sent to it.
    pub(super) fn scrubbed(&self, text: &str) -> String {
        let given = self.given.iter().flat_map(|(_, headers)| headers);
        let text = given.fold(text.to_owned(), |text, (_, value)| {
            text.replace(value.expose_secret(), "***")
        });
        git_push::cleaned(self.web.scrubbed(&text).as_bytes())
            .chars()
            .take(200)
            .collect()
    }

    fn send(
        &self,
        method: Method,
        url: &str,
        headers: Vec<(String, SecretString)>,
        body: Option<(u64, &mut (dyn Read + Send))>,
    ) -> Result<HttpResponse, Error> {
        let body = body.map(|(length, reader)| RequestBody {
            length: Some(length),
            reader,
        });
        let max_answer = MAX_ANSWER;
        self.web.send(Outgoing {
            method,
            url,
            headers: &headers,
            body,
            max_answer,
        })
    }
}

fn own_headers_removed(headers: &[(String, SecretString)]) -> Vec<(String, SecretString)> {
    let is_own = |name: &str| OWN_HEADERS.iter().any(|own| own.eq_ignore_ascii_case(name));
    headers.iter().filter(|(name, _)| !is_own(name)).cloned().collect()
}

fn with_type(headers: &[(String, SecretString)], content_type: &str) -> Vec<(String, SecretString)> {
    let mut headers = own_headers_removed(headers);
    if !headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("content-type"))
    {
        headers.push(("Content-Type".into(), content_type.into()));
    }
    headers
}

fn json_headers(headers: &[(String, SecretString)]) -> Vec<(String, SecretString)> {
    let mut headers = with_type(headers, MEDIA_TYPE);
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("accept")) {
        headers.push(("Accept".into(), MEDIA_TYPE.into()));
    }
    headers
}

/// Returns the error of an answer that was not read to its end.
fn lost(error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => Error::new(ErrorKind::Transient, format!("the answer is incomplete: {error}")),
    }
}
