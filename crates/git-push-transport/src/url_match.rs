//! Matching of `[http "<url>"]` sections with a URL (git-config, *http.&lt;url&gt;.\**).
//!
//! Scheme and port must be the same, the host too, where `*` stands for one label; the path must be that of the URL or a
//! folder above it; the user must be the same where the section names one.
use bstr::{BStr, BString, ByteSlice};

use crate::git_config::GitConfig;

/// Closeness of a match, by precedence: length of the host, length of the path, presence of a user.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Closeness {
    host: usize,
    path: usize,
    user: bool,
}

/// Returns the closeness of `pattern` to `url`; `None` if it does not match or is not a URL.
pub(crate) fn closeness(pattern: &BStr, url: &gix::Url) -> Option<Closeness> {
    let pattern = pattern.to_str().ok()?;
    let (scheme, rest) = pattern.split_once("://")?;
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let (host, port) = match host.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (host, None),
    };
    let default_port = match scheme {
        "https" => Some(443),
        "http" => Some(80),
        _ => None,
    };
    let port = port.map_or(default_port, |port| port.parse().ok());
    let user = user.map(|user| user.split_once(':').map_or(user, |(user, _)| user));
    let same = scheme.eq_ignore_ascii_case(url.scheme.as_str())
        && port == url.port_or_default()
        && host_matches(host, url.host().unwrap_or_default())
        && user.is_none_or(|user| url.user() == Some(user));
    let path = path.trim_end_matches('/');
    let below = url.path.strip_prefix(path.as_bytes()).filter(|_| same)?;
    (below.is_empty() || below.starts_with(b"/")).then_some(Closeness {
        host: host.len(),
        path: path.len(),
        user: user.is_some(),
    })
}

/// Returns all values of a key of `[<section>]` and `[<section> "<url>"]` that apply to `url`, in order, with their closeness. A
/// value for a more specific URL overrides later values for a less specific one.
pub(crate) fn values(config: &GitConfig, section: &str, key: &str, url: &gix::Url) -> Vec<(Closeness, BString)> {
    let mut closest = Closeness::default();
    let mut found = Vec::new();
    for section in config.sections(section) {
        let closeness = match section.header().subsection_name() {
            None => Some(Closeness::default()),
            Some(pattern) => closeness(pattern, url),
        };
        let Some(closeness) = closeness.filter(|closeness| *closeness >= closest) else {
            continue;
        };
        let values = section.values(key);
        if !values.is_empty() {
            closest = closeness;
        }
        found.extend(values.into_iter().map(|value| (closeness, value)));
    }
    found
}

fn host_matches(pattern: &str, host: &str) -> bool {
    let (mut pattern, mut host) = (pattern.split('.'), host.split('.'));
    loop {
        match (pattern.next(), host.next()) {
            (None, None) => return true,
            (Some(label), Some(of_host)) if label == "*" || label.eq_ignore_ascii_case(of_host) => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pattern: &str, url: &str) -> Option<Closeness> {
        closeness(pattern.into(), &gix::url::parse(url).expect("a URL"))
    }

    #[test]
    fn scheme_host_port_path_and_user_must_match() {
        let url = "https://me@git.host.example/o/r.git";
        for pattern in [
            "https://git.host.example",
            "https://git.host.example/",
            "https://GIT.host.example:443/o",
            "https://git.host.example/o/",
            "https://git.host.example/o/r.git",
            "https://*.host.example/o",
            "https://me@git.host.example",
        ] {
            assert!(names(pattern, url).is_some(), "{pattern}");
        }
        for pattern in [
            "http://git.host.example",
            "https://git.host.example:444",
            "https://git.host.example/o/r",
            "https://git.host.example/O",
            "https://host.example",
            "https://*.example",
            "https://you@git.host.example",
            "git.host.example",
            "",
        ] {
            assert_eq!(names(pattern, url), None, "{pattern}");
        }
        assert!(names("http://[::1]:8080", "http://[::1]:8080/r").is_some());
    }

    #[test]
    fn a_closer_name_is_greater() {
        let url = "https://me@git.host.example/o/r.git";
        let order = [
            "https://*.host.example/o/r.git",
            "https://git.host.example",
            "https://me@git.host.example",
            "https://git.host.example/o",
            "https://git.host.example/o/r.git",
        ];
        let order: Vec<_> = order
            .iter()
            .map(|pattern| names(pattern, url).expect(pattern))
            .collect();
        assert!(order.is_sorted(), "{order:?}");
    }
}
