//! Parts that an application provides: an HTTP client on a plain socket and credentials from a map, with `git
//! http-backend` behind nginx.
use std::sync::{Arc, Mutex};

use git_push::{Connection, Error, ErrorKind};
use git_push_transport::{
    HttpUrl, Remote, Settings,
    credentials::{Authorization, Credentials, Need},
    http::Http,
    http_client::{HttpClient, HttpRequest, HttpResponse, Method},
};
use support::mirror::{Format, Mirror};
use support::pushing::{id, repository, source};

#[path = "../../crates/git-push-transport/examples/own_client.rs"]
#[allow(dead_code)]
mod own_client;
#[path = "../../crates/git-push-transport/examples/uncertain.rs"]
#[allow(dead_code)]
mod uncertain;

use own_client::{Passwords, TcpClient, push};

const NAME: &str = "o/r.git";
const USER: &str = "x-access-token";
const REF: &str = "refs/heads/main";

/// A store of passwords that must be asked, and that records its calls. A rejected password is removed; the last one
/// counts.
struct Store {
    passwords: Vec<&'static str>,
    calls: Arc<Mutex<Vec<String>>>,
}

impl Store {
    fn record(&self, call: String) {
        self.calls.lock().expect("a lock").push(call);
    }
}

impl Credentials for Store {
    fn get(&mut self, url: &HttpUrl, need: Need) -> Result<Option<Authorization>, Error> {
        self.record(format!("get {need:?} {}", url.host()));
        let password = self.passwords.last().filter(|_| need >= Need::Required);
        Ok(password.map(|password| Authorization::basic(USER, *password)))
    }

    fn approve(&mut self, _: &HttpUrl, accepted: &Authorization) {
        self.record(format!("approve {}", user(accepted)));
    }

    fn reject(&mut self, _: &HttpUrl, refused: &Authorization) {
        self.record(format!("reject {}", user(refused)));
        self.passwords.pop();
    }
}

fn user(authorization: &Authorization) -> &str {
    match authorization {
        Authorization::Basic { user, .. } => user,
        other => panic!("{other:?}"),
    }
}

/// A connection to `url`, and the calls of its store of credentials.
fn connection(url: &str, passwords: &[&'static str]) -> (Http, Arc<Mutex<Vec<String>>>) {
    let calls = Arc::default();
    let store = Store {
        passwords: passwords.to_vec(),
        calls: Arc::clone(&calls),
    };
    (over(url, TcpClient, store).expect("a connection"), calls)
}

fn over(url: &str, client: impl HttpClient + 'static, credentials: impl Credentials + 'static) -> Result<Http, Error> {
    let url = gix::url::parse(url).expect("a URL");
    Http::new(&url, &Settings::default(), Arc::new(client), Box::new(credentials))
}

fn calls(recorded: &Mutex<Vec<String>>) -> Vec<String> {
    recorded.lock().expect("a lock").clone()
}

#[test]
fn a_push_over_a_client_and_credentials_of_the_application() {
    let mirror = Mirror::with_token("right");
    mirror.create(NAME, Format::Sha1);
    let (folder, commits) = source("sha1");
    let (mut http, recorded) = connection(&mirror.url(NAME), &["right"]);
    let report = push(&mut http, &repository(folder.path()), REF, id(&commits[2])).expect("a report");
    assert!(report.all_accepted(), "{report:?}");
    assert_eq!(mirror.git(NAME, &["rev-parse", REF]).trim(), commits[2]);
    let expected = [
        "get Optional 127.0.0.1",
        "get Required 127.0.0.1",
        "approve x-access-token",
    ];
    assert_eq!(calls(&recorded), expected);
    assert_eq!(
        http.traffic().http_requests,
        2,
        "credentials went with the first request"
    );
    assert_eq!(mirror.first_requests(2).len(), 2);

    // A reader asks for credentials when the server does, and a `Remote` can wrap the connection.
    let (http, recorded) = connection(&mirror.url(NAME), &["right"]);
    let mut remote = Remote::from(http);
    let refs = remote.read_refs(&["refs/heads/".into()]).expect("refs");
    assert_eq!(refs.iter().map(|found| found.id).collect::<Vec<_>>(), [id(&commits[2])]);
    let expected = expected.map(|call| call.replace("Required", "Demanded"));
    assert_eq!(calls(&recorded), expected);
    assert_eq!(remote.location().to_string(), mirror.url(NAME));
}

#[test]
fn a_rejected_password_is_asked_for_again() {
    let mirror = Mirror::with_token("right");
    mirror.create(NAME, Format::Sha1);
    let (mut http, recorded) = connection(&mirror.url(NAME), &["right", "c4n4ry-wrong"]);
    let error = http.advertisement().expect_err("a wrong password");
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
    assert!(!format!("{error} {error:?}").contains("c4n4ry"), "{error:?}");
    http.advertisement().expect("the other password");
    http.advertisement().expect("the same");
    let expected = [
        "get Optional 127.0.0.1",
        "get Required 127.0.0.1",
        "reject x-access-token",
        "get Required 127.0.0.1",
        "approve x-access-token",
    ];
    assert_eq!(calls(&recorded), expected);

    // The store of the example forgets a rejected password.
    let passwords = [("127.0.0.1".to_owned(), (USER.to_owned(), "wrong".to_owned()))];
    let mut http = over(&mirror.url(NAME), TcpClient, Passwords(passwords.into())).expect("a connection");
    for expected in ["refuses the credentials", "there are none"] {
        let error = http.advertisement().expect_err("401");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

/// A client that must not be used.
struct Unused;

impl HttpClient for Unused {
    fn send(&self, request: HttpRequest<'_>) -> Result<HttpResponse, Error> {
        panic!("{request:?} was sent");
    }
}

#[test]
fn credentials_of_the_application_are_not_sent_in_the_clear_to_another_machine() {
    let url = "http://mirror.invalid/o/r.git";
    let passwords = [("mirror.invalid".to_owned(), (USER.to_owned(), "c4n4ry".to_owned()))];
    let error = over(url, Unused, Passwords(passwords.into()))
        .err()
        .expect("in the clear");
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("plain http"), "{error}");
    assert!(!format!("{error:?}").contains("c4n4ry"), "{error:?}");

    // A store that must be asked is not asked.
    struct Anonymous;
    impl HttpClient for Anonymous {
        fn send(&self, request: HttpRequest<'_>) -> Result<HttpResponse, Error> {
            assert!(request.headers.iter().all(|header| header.name() != "authorization"));
            Err(Error::new(ErrorKind::Transient, "no network"))
        }
    }
    let recorded = Arc::default();
    let store = Store {
        passwords: vec!["c4n4ry"],
        calls: Arc::clone(&recorded),
    };
    let mut http = over(url, Anonymous, store).expect("nothing to send");
    let error = http.advertisement().expect_err("no network");
    assert_eq!(error.to_string(), format!("{url}: no network"));
    assert_eq!(calls(&recorded), ["get Optional mirror.invalid"]);
}

/// A client that loses the answer to a push: before the server gets the request, or after.
struct Loses {
    request_arrives: bool,
}

impl HttpClient for Loses {
    fn send(&self, request: HttpRequest<'_>) -> Result<HttpResponse, Error> {
        let is_push = request.method == Method::Post && request.url.ends_with("git-receive-pack");
        if !is_push {
            return TcpClient.send(request);
        }
        if self.request_arrives {
            let mut answer = TcpClient.send(request)?;
            std::io::copy(&mut answer.body, &mut std::io::sink()).expect("an answer");
        }
        Err(Error::new(ErrorKind::Transient, "the connection was lost"))
    }
}

#[test]
fn an_answer_that_a_client_loses_is_uncertain_only_after_the_whole_request() {
    let expected = [
        (true, ErrorKind::Uncertain, Ok(uncertain::Outcome::Done)),
        (false, ErrorKind::Transient, Err(ErrorKind::Transient)),
    ];
    for (request_arrives, kind, outcome) in expected {
        let mirror = Mirror::start();
        mirror.create(NAME, Format::Sha1);
        let (folder, commits) = source("sha1");
        let open = || over(&mirror.url(NAME), Loses { request_arrives }, Passwords([].into())).expect("a connection");
        let local = repository(folder.path());
        let error = push(&mut open(), &local, "refs/heads/one", id(&commits[0])).expect_err("no answer");
        assert_eq!(error.kind(), kind, "{error}");
        let found = uncertain::push_and_look(&mut open(), &local, REF, id(&commits[1]));
        assert_eq!(found.map_err(|error| error.kind()), outcome);
    }
}
