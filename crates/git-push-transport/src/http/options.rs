//! What git configuration says about one server (git-config, *http.\*, http.&lt;url&gt;.\**).
use std::{fs, path::Path, path::PathBuf};

use bstr::{BString, ByteSlice};
use git_push::{Error, ErrorKind};
use secrecy::{ExposeSecret, SecretString};
use ureq::http::{HeaderName, HeaderValue};
use ureq::tls::{ClientCert, PemItem, parse_pem};

use super::url_match;
use crate::settings::{GitConfig, not_understood};

/// `http.*` as it holds for one URL.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// The `Authorization` of `extraHeader`.
    pub(crate) authorization: Option<SecretString>,
    /// The other ones of `extraHeader`, in order.
    pub(crate) headers: Vec<(HeaderName, SecretString)>,
    /// `proxy`; empty where there is to be none.
    pub(crate) proxy: Option<SecretString>,
    /// `sslCAInfo`
    pub(crate) ca_file: Option<PathBuf>,
    /// `sslCert`, and `sslKey` or the same file.
    pub(crate) client_certificate: Option<[PathBuf; 2]>,
    /// `userAgent`
    pub(crate) user_agent: Option<String>,
    /// `stargate.insecureHttp`
    pub(crate) insecure_http: bool,
}

impl Options {
    /// What `config` says about `url`.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] when a value is not understood, or certificates are not to be checked.
    pub(crate) fn new(config: &GitConfig, url: &gix::Url) -> Result<Self, Error> {
        let values = Values { config, url };
        let verify = values.last("sslVerify").map(gix::config::Boolean::try_from).transpose();
        if verify.map_or(true, |verify| verify.is_some_and(|verify| !verify.0)) {
            let what = "certificates are always checked, and http.sslVerify in git configuration forbids it";
            return Err(Error::new(ErrorKind::Misconfigured, what).with_hint(
                "name the file with the certificate of the server's authority in http.sslCAInfo, and set \
                 http.<url>.sslVerify to true",
            ));
        }
        let mut options = Options {
            proxy: values.text("proxy")?.map(SecretString::from),
            ca_file: values.path("sslCAInfo")?,
            user_agent: values.text("userAgent")?.filter(|agent| !agent.is_empty()),
            insecure_http: config.boolean("stargate.insecureHttp")?,
            ..Options::default()
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

    /// Everything in it that may be secret.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &str> {
        let headers = self.headers.iter().map(|(_, value)| value).chain(&self.authorization);
        // Behind the scheme (`Basic`, `Bearer`) stands the secret itself.
        headers.map(ExposeSecret::expose_secret).flat_map(|value| {
            let alone = value.split_once(' ').map(|(_, alone)| alone);
            std::iter::once(value).chain(alone)
        })
    }

    /// The certificate to show, with its key.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] when they cannot be read, with the name of the file.
    pub(super) fn client_certificate(&self) -> Result<Option<ClientCert>, Error> {
        let Some([certificate, key]) = &self.client_certificate else {
            return Ok(None);
        };
        let mut chain = Vec::new();
        for item in pem(certificate, "http.sslCert")? {
            if let PemItem::Certificate(certificate) = item {
                chain.push(certificate);
            }
        }
        if chain.is_empty() {
            return Err(unusable(
                certificate,
                "http.sslCert",
                "there is no certificate in PEM format in it",
            ));
        }
        let keys = pem(key, "http.sslKey")?.into_iter();
        let mut keys = keys.filter_map(|item| match item {
            PemItem::PrivateKey(key) => Some(key),
            _ => None,
        });
        let why = "there is no key in PEM format in it, or one that is encrypted";
        let found = keys.next().ok_or_else(|| unusable(key, "http.sslKey", why))?;
        Ok(Some(ClientCert::new_with_certs(&chain, found)))
    }

    fn add_header(&mut self, line: &BString) -> Result<(), Error> {
        let refused = || {
            Error::new(
                ErrorKind::Misconfigured,
                "a value of http.extraHeader is no header of HTTP",
            )
            .with_hint("it must be `Name: value`, in one line")
        };
        let (name, value) = line
            .to_str()
            .ok()
            .and_then(|line| line.split_once(':'))
            .ok_or_else(refused)?;
        let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| refused())?;
        let value = value.trim();
        HeaderValue::from_str(value).map_err(|_| refused())?;
        match name == "authorization" {
            true => self.authorization = Some(value.into()),
            false => self.headers.push((name, value.into())),
        }
        Ok(())
    }
}

struct Values<'a> {
    config: &'a GitConfig,
    url: &'a gix::Url,
}

impl Values<'_> {
    /// All values of a key that hold for the URL, in order: those that are named for it more closely silence the others
    /// that come after them.
    fn all(&self, key: &str) -> Vec<BString> {
        let mut closest = url_match::Closeness::default();
        let mut found = Vec::new();
        for section in self.config.sections("http") {
            let closeness = match section.header().subsection_name() {
                None => Some(url_match::Closeness::default()),
                Some(pattern) => url_match::closeness(pattern, self.url),
            };
            let Some(closeness) = closeness.filter(|closeness| *closeness >= closest) else {
                continue;
            };
            let values = section.values(key);
            if !values.is_empty() {
                closest = closeness;
            }
            found.extend(values);
        }
        found
    }

    fn last(&self, key: &str) -> Option<BString> {
        self.all(key).pop()
    }

    fn text(&self, key: &str) -> Result<Option<String>, Error> {
        let text = self.last(key).map(|value| String::from_utf8(value.into()));
        text.transpose().map_err(|_| not_understood(&format!("http.{key}")))
    }

    fn path(&self, key: &str) -> Result<Option<PathBuf>, Error> {
        let Some(value) = self.last(key).filter(|value| !value.is_empty()) else {
            return Ok(None);
        };
        let home = gix::path::env::home_dir();
        let context = gix::config::path::interpolate::Context {
            home_dir: home.as_deref(),
            ..Default::default()
        };
        let path = gix::config::Path::from(value).interpolate(context);
        Ok(Some(path.map_err(|_| not_understood(&format!("http.{key}")))?))
    }

    /// An empty one takes back those before it.
    fn extra_headers(&self) -> Vec<BString> {
        let all = self.all("extraHeader");
        let start = all.iter().rposition(|line| line.is_empty()).map_or(0, |at| at + 1);
        all[start..].to_vec()
    }
}

fn pem(path: &Path, key: &str) -> Result<Vec<PemItem<'static>>, Error> {
    let bytes = fs::read(path).map_err(|error| unusable(path, key, &error.to_string()))?;
    let items: Result<Vec<_>, _> = parse_pem(&bytes).collect();
    items.map_err(|error| unusable(path, key, &error.to_string()))
}

fn unusable(path: &Path, key: &str, why: &str) -> Error {
    Error::new(
        ErrorKind::Misconfigured,
        format!("{} of {key} cannot be used: {why}", path.display()),
    )
    .with_hint("it must name a file in PEM format; the key must not be encrypted")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(config: &str, url: &str) -> Result<Options, Error> {
        let config = gix::config::File::try_from(config).expect("git configuration");
        Options::new(&GitConfig::new(config), &gix::url::parse(url).expect("a URL"))
    }

    #[test]
    fn what_is_said_of_the_url_counts_over_what_is_said_of_all() {
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
        let names: Vec<_> = options.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["x-one"]);
        assert_eq!(
            options.authorization.as_ref().map(ExposeSecret::expose_secret),
            Some("Bearer canary")
        );
        let secrets: Vec<_> = options.secrets().collect();
        assert_eq!(secrets, ["a b", "b", "Bearer canary", "canary"]);
        assert!(!format!("{options:?}").contains("canary"));
    }

    #[test]
    fn what_cannot_be_used_is_refused_without_being_shown() {
        for config in [
            "[http]\nsslVerify = false\n",
            "[http]\nsslVerify = canary\n",
            "[http \"https://host\"]\nsslVerify = no\n",
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
