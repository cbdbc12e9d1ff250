//! The default [`HttpClient`], on ureq and rustls, with the settings of git: trust roots, client certificates, proxies, time
//! limits.
mod early_answer;
mod failure;
mod named_certificate;
mod named_tls;
mod proxy;
mod purposes;
mod tls;

use std::{
    fmt, io,
    io::Read,
    sync::{Arc, Mutex, PoisonError},
};

use bstr::ByteSlice;
use git_push::{Error, ErrorKind};
use ureq::http::{Request, Response, request::Builder};
use ureq::tls::TlsConfig;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::{Agent, Body, SendBody};

use self::{early_answer::Watching, named_tls::Opens};

use crate::http_client::{HttpClient, HttpRequest, HttpResponse};
use crate::http_config::HttpConfig;
use crate::secrets::Secrets;
use crate::settings::Settings;
use crate::url::HttpUrl;

/// Some servers serve git's protocol only to clients that say they are git.
const USER_AGENT: &str = concat!("git/git-push-transport-", env!("CARGO_PKG_VERSION"));

/// Number of servers to which connections are kept.
const MAX_SERVERS: usize = 8;

/// A client of HTTP that keeps connections and TLS sessions between requests.
pub struct UreqClient {
    settings: Arc<Settings>,
    config: HttpConfig,
    servers: Mutex<Vec<Server>>,
}

/// A server with its agent: TLS and proxy depend on the URL.
#[derive(Clone)]
struct Server {
    origin: HttpUrl,
    agent: Agent,
    /// Secrets of the proxy.
    secrets: Secrets,
}

impl UreqClient {
    /// Returns the proxy to `url` as host and port, if one is used.
    pub(crate) fn proxy(url: &gix::Url, settings: &Settings) -> Result<Option<String>, Error> {
        let config = HttpConfig::new(&settings.git, url)?;
        let url = HttpUrl::new(url).ok_or_else(not_http)?;
        let proxy = proxy::to(&url, &config, &settings.proxies)?;
        Ok(proxy.map(|proxy| format!("{}:{}", proxy.host(), proxy.port())))
    }

    /// Creates a client for the server of `url` and the servers that it redirects to. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if the URL is not http or https, or a setting of TLS or of the proxy is invalid.
    pub fn new(url: &gix::Url, settings: &Settings) -> Result<Self, Error> {
        let config = HttpConfig::new(&settings.git, url)?;
        let url = HttpUrl::new(url).ok_or_else(not_http)?;
        let first = Server::new(&url, &config, settings)?;
        Ok(UreqClient {
            settings: Arc::new(settings.clone()),
            config,
            servers: Mutex::new(vec![first]),
        })
    }

    /// Returns the secrets of the proxies so far.
    pub(crate) fn secrets(&self) -> Secrets {
        let servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.iter().fold(Secrets::default(), |mut all, server| {
            all.extend(server.secrets.clone());
            all
        })
    }

    fn server(&self, url: &str) -> Result<Server, Error> {
        let parsed = gix::url::parse(url.as_bytes().as_bstr()).ok();
        let url = parsed.as_ref().and_then(HttpUrl::new).ok_or_else(not_http)?;
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = servers.iter().find(|server| server.origin.same_origin(&url)) {
            return Ok(known.clone());
        }
        let server = Server::new(&url, &self.config, &self.settings)?;
        if servers.len() == MAX_SERVERS {
            servers.remove(0);
        }
        servers.push(server.clone());
        Ok(server)
    }
}

impl Server {
    fn new(origin: &HttpUrl, config: &HttpConfig, settings: &Settings) -> Result<Self, Error> {
        let proxy = proxy::to(origin, config, &settings.proxies)?;
        let mut secrets = Secrets::default();
        let password = proxy
            .as_ref()
            .and_then(|proxy| Some((proxy.username()?, proxy.password()?)));
        if let Some((user, password)) = password {
            secrets.add_identity(user, password);
        }
        let user_agent = config.user_agent.as_deref().or(settings.user_agent.as_deref());
        let mut agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(proxy)
            .timeout_resolve(Some(settings.connect_timeout))
            .timeout_connect(Some(settings.connect_timeout))
            .timeout_per_read(Some(settings.idle_timeout))
            .timeout_per_write(Some(settings.idle_timeout))
            .user_agent(user_agent.unwrap_or(USER_AGENT));
        let mut opens = Opens::default();
        if origin.is_https() {
            let client = tls::client_certificate(config)?;
            let roots = tls::trust_roots(config, settings)?;
            if tls::names_certificates(config, settings) {
                opens = Opens::new(Some(named_certificate::client_config(&roots, client.as_ref())?));
            }
            let tls = TlsConfig::builder()
                .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .client_cert(client)
                .root_certs(roots.into());
            agent = agent.tls_config(tls.build());
        }
        Ok(Server {
            origin: origin.clone(),
            agent: Agent::with_parts(agent.build(), Watching::new(opens), DefaultResolver::default()),
            secrets,
        })
    }
}

impl HttpClient for UreqClient {
    fn send(&self, request: HttpRequest<'_>) -> Result<HttpResponse, Error> {
        let server = self.server(&request.url)?;
        let max_answer = request.max_answer;
        let response = send(&server.agent, request).map_err(|error| {
            let error = failure::lost(&error, &self.settings);
            let text = server.secrets.scrub(&error.to_string());
            error.reworded(text)
        })?;
        let status = response.status().as_u16();
        let headers = response.headers().iter();
        let headers = headers.filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
        let headers = headers.collect();
        // ureq does not look for the end of a body that has exactly the size of the limit.
        let limit = max_answer.map_or(u64::MAX, |limit| limit.saturating_add(1));
        let body = response.into_body().into_with_config().limit(limit).reader();
        let settings = self.settings.clone();
        Ok(HttpResponse::new(status, headers, Box::new(Answer { body, settings })))
    }

    fn takes_streams(&self) -> bool {
        true
    }
}

impl fmt::Debug for UreqClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UreqClient")
    }
}

fn send(agent: &Agent, request: HttpRequest<'_>) -> Result<Response<Body>, ureq::Error> {
    let mut builder: Builder = Request::builder().method(request.method.name()).uri(request.url);
    for header in &request.headers {
        let mut value =
            ureq::http::HeaderValue::from_bytes(header.value().as_bytes()).map_err(ureq::http::Error::from)?;
        value.set_sensitive(true);
        builder = builder.header(header.name(), value);
    }
    match request.body {
        None => agent.run(builder.body(())?),
        Some(body) => {
            let builder = match body.length {
                Some(length) => builder.header(ureq::http::header::CONTENT_LENGTH, length),
                None => builder,
            };
            let mut reader = early_answer::Body::new(body.reader, body.length);
            agent.run(builder.body(SendBody::from_reader(&mut reader))?)
        }
    }
}

fn not_http() -> Error {
    Error::new(ErrorKind::Misconfigured, "not an http or https URL").with_hint("use the https URL of the repository")
}

/// The body of an answer, with errors that say why.
struct Answer<R> {
    body: R,
    settings: Arc<Settings>,
}

impl<R: Read> Read for Answer<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.body.read(buffer).map_err(|error| {
            let kind = error.kind();
            if kind == io::ErrorKind::Interrupted {
                return error;
            }
            io::Error::new(kind, failure::lost(&error.into(), &self.settings))
        })
    }
}
