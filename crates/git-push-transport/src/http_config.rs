//! The `http.*` of git configuration for one URL (git-config, *http.\*, http.&lt;url&gt;.\**).
use std::path::PathBuf;

use bstr::{BString, ByteSlice};
use git_push::{Error, ErrorKind};
use secrecy::SecretString;

use crate::credentials::Authorization;
use crate::git_config::{GitConfig, interpolated, not_understood};
use crate::http_client::Header;
use crate::secrets::Secrets;
use crate::url_match;

/// Values of `http.*` that apply to one URL.
#[derive(Debug, Clone, Default)]
pub(crate) struct HttpConfig {
    /// The `Authorization` of `extraHeader`.
    pub(crate) authorization: Option<Authorization>,
    /// The other headers of `extraHeader`, in order.
    pub(crate) headers: Vec<Header>,
    /// `proxy`; empty for a direct connection.
    pub(crate) proxy: Option<SecretString>,
    /// `sslCAInfo`
    pub(crate) ca_file: Option<PathBuf>,
    /// `sslCert`, and `sslKey` or the same file.
    pub(crate) client_certificate: Option<[PathBuf; 2]>,
    /// `userAgent`
    pub(crate) user_agent: Option<String>,
    /// `postBuffer`, in bytes
    pub(crate) post_buffer: Option<i64>,
    /// `stargate.insecureHttp`
    pub(crate) insecure_http: bool,
}

impl HttpConfig {
    /// Reads the values for `url`.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if a value is invalid, or `sslVerify` switches off the check of certificates.
    pub(crate) fn new(config: &GitConfig, url: &gix::Url) -> Result<Self, Error> {
        let values = Values { config, url };
        let verify = values.last("sslVerify").map(gix::config::Boolean::try_from).transpose();
        if verify.map_or(true, |verify| verify.is_some_and(|verify| !verify.0)) {
            let what = "http.sslVerify in git configuration is off, but certificates are always checked";
            return Err(Error::new(ErrorKind::Misconfigured, what).with_hint(
                "name the file with the certificate of the server's authority in http.sslCAInfo, and set \
                 http.<url>.sslVerify to true",
            ));
        }
        let mut options = HttpConfig {
            proxy: values.text("proxy")?.map(SecretString::from),
            ca_file: values.path("sslCAInfo")?,
            user_agent: values.text("userAgent")?.filter(|agent| !agent.is_empty()),
            post_buffer: values.integer("postBuffer")?,
            insecure_http: config.boolean("stargate.insecureHttp")?,
            ..HttpConfig::default()
        };
        if let Some(certificate) = values.path("sslCert")? {
            let key = values.path("sslKey")?.unwrap_or_else(|| certificate.clone());
            options.client_certificate = Some([certificate, key]);
        }
        for line in values.extra_headers() {
            options.add_header(&line)?;
        }
        Ok(options)
    }

    /// Returns the secrets in headers.
    pub(crate) fn secrets(&self) -> Secrets {
        let mut secrets = Secrets::default();
        self.headers
            .iter()
            .for_each(|header| secrets.add_header(header.value()));
        secrets
    }

    fn add_header(&mut self, line: &BString) -> Result<(), Error> {
        let split = line.to_str().ok().and_then(|line| line.split_once(':'));
        let header = split.and_then(|(name, value)| Header::new(name.trim(), value.trim()).ok());
        let header = header.ok_or_else(|| {
            Error::new(
                ErrorKind::Misconfigured,
                "a value of http.extraHeader is not a valid HTTP header",
            )
            .with_hint("set it to `Name: value`, in one line")
        })?;
        if header.name() == "authorization" {
            self.authorization = Some(Authorization::Header(header.value().into()));
        } else {
            self.headers.push(header);
        }
        Ok(())
    }
}

struct Values<'a> {
    config: &'a GitConfig,
    url: &'a gix::Url,
}

impl Values<'_> {
    /// Returns all values of a key that apply to the URL, in order.
    fn all(&self, key: &str) -> Vec<BString> {
        let values = url_match::values(self.config, "http", key, self.url);
        values.into_iter().map(|(_, value)| value).collect()
    }

    fn last(&self, key: &str) -> Option<BString> {
        self.all(key).pop()
    }

    fn text(&self, key: &str) -> Result<Option<String>, Error> {
        let text = self.last(key).map(|value| String::from_utf8(value.into()));
        text.transpose().map_err(|_| not_understood(&format!("http.{key}")))
    }

    fn integer(&self, key: &str) -> Result<Option<i64>, Error> {
        let Some(value) = self.last(key) else {
            return Ok(None);
        };
        let parsed = gix::config::Integer::try_from(value.as_bstr()).ok();
        let number = parsed.and_then(|parsed| parsed.to_decimal());
        number.map(Some).ok_or_else(|| not_understood(&format!("http.{key}")))
    }

    fn path(&self, key: &str) -> Result<Option<PathBuf>, Error> {
        let Some(value) = self.last(key).filter(|value| !value.is_empty()) else {
            return Ok(None);
        };
        interpolated(value, &format!("http.{key}")).map(Some)
    }

    /// Returns the values of `extraHeader` after the last empty one, which removes those before it.
    fn extra_headers(&self) -> Vec<BString> {
        let all = self.all("extraHeader");
        let start = all.iter().rposition(|line| line.is_empty()).map_or(0, |at| at + 1);
        all[start..].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn options(config: &str, url: &str) -> Result<HttpConfig, Error> {
        let config = gix::config::File::try_from(config).expect("git configuration");
        HttpConfig::new(&GitConfig::new(config), &gix::url::parse(url).expect("a URL"))
    }

    #[test]
    fn a_value_for_the_url_overrides_one_for_all() {
        let config = "[http \"https://host/o\"]\nuserAgent = closest\nproxy = http://closest\n\
                      [http]\nuserAgent = all\nsslCert = /all.pem\n[http \"https://host\"]\nuserAgent = host\nsslKey = /host.key\n";
        let cases = [
            ("https://host/o/r", Some("closest"), Some("/host.key")),
            ("https://host/other", Some("host"), Some("/host.key")),
            ("https://elsewhere/o", Some("all"), Some("/all.pem")),
        ];
        for (url, agent, key) in cases {
            let options = options(config, url).expect(url);
            assert_eq!(options.user_agent.as_deref(), agent, "{url}");
            let [certificate, found] = options.client_certificate.expect("both");
            assert_eq!((certificate.to_str(), found.to_str()), (Some("/all.pem"), key), "{url}");
        }
    }

    #[test]
    fn headers_add_up_and_an_empty_one_takes_them_back() {
        let config = "[http]\nextraHeader = X-Taken-Back: 1\nextraHeader =\nextraHeader = X-One: a b\n\
                      [http \"https://host\"]\nextraHeader = authorization: Bearer canary\n";
        let options = options(config, "https://host/r").expect("options");
        let names: Vec<_> = options.headers.iter().map(Header::name).collect();
        assert_eq!(names, ["x-one"]);
        let authorization = options.authorization.as_ref().expect("one").header();
        assert_eq!(authorization.expect("a header").expose_secret(), "Bearer canary");
        assert!(!format!("{options:?}").contains("canary"));
    }

    #[test]
    fn invalid_values_are_refused_without_being_shown() {
        for config in [
            "[http]\nsslVerify = false\n",
            "[http]\nsslVerify = canary\n",
            "[http \"https://host\"]\nsslVerify = no\n",
            "[http]\npostBuffer = canary\n",
            "[http]\nextraHeader = canary\n",
            "[http]\nextraHeader = \"X: can\\nary\"\n",
            "[http]\nextraHeader = can ary: x\n",
            "[stargate]\ninsecureHttp = canary\n",
        ] {
            let error = options(config, "https://host/r").expect_err(config);
            assert_eq!(error.kind(), ErrorKind::Misconfigured, "{config}");
            assert!(!error.to_string().contains("can"), "{error}");
        }
        let excepted = "[http]\nsslVerify = false\n[http \"https://host\"]\nsslVerify = true\n";
        options(excepted, "https://host/r").expect("checked there");
    }
}
