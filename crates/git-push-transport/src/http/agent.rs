//! A client of HTTP with our TLS, proxy and time limits: what every server over HTTP is reached with.
use std::sync::Arc;

use git_push::Error;
use ureq::tls::TlsConfig;

use super::{HttpUrl, Options};
use crate::Settings;

/// Some servers serve git's protocol only to what says it is git.
const USER_AGENT: &str = concat!("git/git-push-transport-", env!("CARGO_PKG_VERSION"));

/// An agent for the server of `url`. It follows no redirect, and takes no status for an error.
///
/// # Errors
/// A setting about certificates is not usable.
pub(crate) fn agent(
    url: &HttpUrl,
    proxy: Option<ureq::Proxy>,
    options: &Options,
    settings: &Settings,
) -> Result<ureq::Agent, Error> {
    let user_agent = options.user_agent.as_deref().or(settings.user_agent.as_deref());
    let mut config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(proxy)
        .timeout_resolve(Some(settings.connect_timeout))
        .timeout_connect(Some(settings.connect_timeout))
        .timeout_per_read(Some(settings.idle_timeout))
        .timeout_per_write(Some(settings.idle_timeout))
        .user_agent(user_agent.unwrap_or(USER_AGENT));
    if url.is_https() {
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .client_cert(options.client_certificate()?)
            .root_certs(settings.trust_roots(options)?.into());
        config = config.tls_config(tls.build());
    }
    Ok(config.build().new_agent())
}
