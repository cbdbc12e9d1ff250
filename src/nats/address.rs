//! PURE: the URL of a stream: `nats://host[:port][,host[:port]…][/name]`, or `tls://…`.
use std::str::FromStr;

/// Name of the stream, if the URL has none.
pub const STREAM: &str = "stargate";
/// Maximum length of the name of a stream, in bytes.
const MAX_STREAM: usize = 64;

/// Servers of a cluster, and the name of a stream there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// URLs of the servers, without a path; at least one.
    pub servers: Vec<String>,
    /// Name of the stream, and first token of its subjects.
    pub stream: String,
}

/// Defect of a URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAddress {
    /// It is not a URL of NATS servers.
    #[error("is not like nats://host:4222/{STREAM} or tls://one:4222,two:4222/{STREAM}")]
    NotNats,
    /// It has a user name or a password, which other processes could see.
    #[error("has a user name or a password, which others can see; use a credentials file")]
    Secret,
    /// The name of the stream is invalid.
    #[error("has the stream {0:?}; its name has at most {MAX_STREAM} letters, digits, - and _")]
    Stream(String),
}

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let (scheme, rest) = text.split_once("://").ok_or(BadAddress::NotNats)?;
        if !["nats", "tls"].contains(&scheme) {
            return Err(BadAddress::NotNats);
        }
        if rest.contains('@') {
            return Err(BadAddress::Secret);
        }
        let (hosts, stream) = rest.split_once('/').unwrap_or((rest, ""));
        let stream = if stream.is_empty() { STREAM } else { stream };
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if stream.len() > MAX_STREAM || !stream.bytes().all(is_plain) {
            return Err(BadAddress::Stream(stream.chars().take(MAX_STREAM).collect()));
        }
        let is_host = |host: &str| !host.is_empty() && !host.contains(['?', '#', ' ']);
        if !hosts.split(',').all(is_host) {
            return Err(BadAddress::NotNats);
        }
        Ok(Address {
            servers: hosts.split(',').map(|host| format!("{scheme}://{host}")).collect(),
            stream: stream.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_servers_and_a_stream_and_never_a_secret() {
        let parsed = |text: &str| {
            text.parse::<Address>()
                .map(|address| (address.servers.join(" "), address.stream))
        };
        let is = |servers: &str, stream: &str| Ok((servers.to_owned(), stream.to_owned()));
        assert_eq!(parsed("nats://localhost"), is("nats://localhost", "stargate"));
        assert_eq!(
            parsed("tls://a:4222,[::1]:1/Chat_1"),
            is("tls://a:4222 tls://[::1]:1", "Chat_1")
        );
        for (text, problem) in [
            ("localhost:4222", BadAddress::NotNats),
            ("http://localhost", BadAddress::NotNats),
            ("nats://", BadAddress::NotNats),
            ("nats://a,,b", BadAddress::NotNats),
            ("nats://a?x=1", BadAddress::NotNats),
            ("nats://me:canary@a/s", BadAddress::Secret),
            ("nats://a/b.c", BadAddress::Stream("b.c".into())),
            ("nats://a/b/", BadAddress::Stream("b/".into())),
        ] {
            let error = parsed(text).expect_err(text);
            assert!(!error.to_string().contains("canary"));
            assert_eq!(error, problem, "{text}");
        }
    }
}
