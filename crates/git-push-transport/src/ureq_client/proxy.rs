//! The choice of a proxy.
use git_push::{Error, ErrorKind};
use secrecy::ExposeSecret;

use crate::http_config::HttpConfig;
use crate::settings::Proxies;
use crate::url::HttpUrl;

/// Returns the proxy to use for `url`. Requests to this machine use none, so that they do not leave it.
///
/// # Errors
/// [`ErrorKind::Misconfigured`] if the URL of the proxy is invalid, or its protocol is not supported.
pub(super) fn to(url: &HttpUrl, config: &HttpConfig, proxies: &Proxies) -> Result<Option<ureq::Proxy>, Error> {
    let by_scheme = if url.is_https() { &proxies.https } else { &proxies.http };
    let proxy = config.proxy.as_ref().or(by_scheme.as_ref());
    let proxy = proxy.map(ExposeSecret::expose_secret).filter(|proxy| !proxy.is_empty());
    let direct = url.is_loopback() || is_listed(url.host(), &proxies.not_for);
    let (Some(proxy), false) = (proxy, direct) else {
        return Ok(None);
    };
    let refused = |what: String| {
        Error::new(ErrorKind::Misconfigured, what)
            .with_hint("correct http.proxy in git configuration, HTTPS_PROXY, http_proxy or ALL_PROXY")
    };
    if let Some(protocol) = unsupported(proxy) {
        return Err(refused(format!(
            "a proxy over {protocol} is not supported; use one over http"
        )));
    }
    let proxy = ureq::Proxy::new(proxy);
    proxy
        .map(Some)
        .map_err(|_| refused("the URL of the proxy is invalid".into()))
}

/// Returns the protocol of a proxy, if it is not one to which ureq connects.
fn unsupported(proxy: &str) -> Option<String> {
    let (protocol, _) = proxy.split_once("://")?;
    let protocol = protocol.to_ascii_lowercase();
    (!["http", "https"].contains(&protocol.as_str())).then(|| git_push::cleaned(protocol.as_bytes()))
}

/// Returns true if `list` has `host`, a domain above it, or `*`.
fn is_listed(host: &str, list: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    list.split([',', ' '])
        .map(|entry| entry.trim_start_matches('.').to_ascii_lowercase())
        .any(|entry| {
            let below = || host.strip_suffix(&entry).is_some_and(|below| below.ends_with('.'));
            !entry.is_empty() && (entry == "*" || host == entry || below())
        })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::settings::Settings;

    fn proxy(environment: &[(&str, &str)], url: &str) -> Option<String> {
        let variable = |name: &str| {
            let (_, value) = environment.iter().find(|(key, _)| *key == name)?;
            Some(OsString::from(*value))
        };
        let settings = Settings::from_environment(variable).expect("no token, no error");
        let url = HttpUrl::new(&gix::url::parse(url).expect("a URL")).expect("http or https");
        to(&url, &HttpConfig::default(), &settings.proxies)
            .expect("a proxy")
            .map(|proxy| format!("{}:{}", proxy.host(), proxy.port()))
    }

    #[test]
    fn the_proxy_is_that_of_the_scheme_and_never_on_the_way_to_this_machine() {
        let both = [("HTTPS_PROXY", "http://a:1"), ("http_proxy", "http://b:2")];
        assert_eq!(proxy(&both, "https://host/r").as_deref(), Some("a:1"));
        assert_eq!(proxy(&both, "http://host/r").as_deref(), Some("b:2"));
        assert_eq!(proxy(&both, "http://127.0.0.1/r"), None);
        assert_eq!(
            proxy(&[("ALL_PROXY", "http://c:3")], "http://host/r").as_deref(),
            Some("c:3")
        );
        assert_eq!(proxy(&[("HTTP_PROXY", "http://c:3")], "http://host/r"), None);
        assert_eq!(proxy(&[("HTTPS_PROXY", "")], "https://host/r"), None);
    }

    #[test]
    fn a_proxy_over_socks_is_refused_and_never_bypassed() {
        let url = HttpUrl::new(&gix::url::parse("https://host/r").expect("a URL")).expect("http or https");
        for protocol in ["socks", "socks4", "socks4a", "SOCKS5", "socks5h", "ftp"] {
            let proxies = Proxies {
                https: Some(format!("{protocol}://me:canary@proxy:1080").into()),
                ..Proxies::default()
            };
            let error = to(&url, &HttpConfig::default(), &proxies).expect_err(protocol);
            assert_eq!(error.kind(), ErrorKind::Misconfigured);
            let protocol = protocol.to_lowercase();
            assert_eq!(
                error.to_string(),
                format!("a proxy over {protocol} is not supported; use one over http")
            );
        }
    }

    #[test]
    fn no_proxy_names_hosts_and_domains() {
        let listed = ["host.example", "a.host.example", "HOST.example"];
        for entry in ["host.example", "other, .host.example", "*"] {
            assert!(listed.iter().all(|host| is_listed(host, entry)), "{entry}");
        }
        for entry in ["", "ost.example", "a.host.example.org", "xhost.example"] {
            assert!(!is_listed("host.example", entry), "{entry}");
        }
    }
}
