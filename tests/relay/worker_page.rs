//! The page of a worker (`watch --listen`), in headless Chromium: clicked, typed into, and read as a screen reader does.
use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use serde_json::{Value, json};
use support::{
    mirror::{Format, Mirror},
    running::Running,
    stargate::{Stargate, git},
};

use crate::{devtools::Tab, folder, look::CONTRAST};

/// Style sheet of the page, as the worker serves it.
const STYLE: &str = concat!(
    include_str!("../../src/http_server/pages.css"),
    include_str!("../../src/monitor/page.css")
);
const TOKEN: &str = "canary-page-5c2e";
const HOSTILE: &str = r#"/srv/git/<img src=x onerror="document.title='owned'">.git"#;
/// Number of repositories with nothing to say.
const MANY: usize = 1000;

/// A Stargate with a pending entry for the repository `name` of the mirror.
fn stargate(mirror: &Mirror, name: &str) -> Stargate {
    mirror.create(name, Format::Sha1);
    mirror.git(name, &["symbolic-ref", "HEAD", "refs/heads/main"]);
    let stargate = Stargate::with_hook();
    for (key, value) in [
        ("stargate.remote", &mirror.url(name)[..]),
        ("stargate.ref", "refs/heads/*"),
        ("stargate.attempts", "1"),
        ("stargate.defaultBranch", "leave"),
    ] {
        stargate.configure(key, value);
    }
    let client = stargate.client("first");
    git(&client, ["push", "-q", "origin", "HEAD:refs/heads/main"]);
    stargate
}

fn rows(count: usize) -> String {
    format!("document.querySelectorAll('tr.mirror').length === {count}")
}

fn text(tab: &mut Tab, selector: &str) -> String {
    let value = tab.value(&format!("document.querySelector({selector:?}).textContent"));
    value.as_str().expect("text").to_owned()
}

#[test]
fn trouble_comes_first_with_the_servers_words_and_a_token_is_asked_for() {
    let mirror = Mirror::with_token(TOKEN);
    let (fine, refused) = (stargate(&mirror, "o/fine.git"), stargate(&mirror, "o/refused.git"));
    mirror.hook(
        "o/refused.git",
        "pre-receive",
        "echo 'Gitea: Branch main is protected from force push' >&2; exit 1",
    );
    let repositories = [&fine, &refused].map(|stargate| stargate.git_dir.display().to_string());
    let arguments = [
        "watch",
        "--repo",
        &repositories[0],
        "--repo",
        &repositories[1],
        "--listen",
        "127.0.0.1:0",
    ];
    let watch = Running::start(
        &arguments,
        &[("GITHUB_PAT", TOKEN), ("STARGATE_LISTEN_TOKEN", "canary-listen")],
    );
    watch.until_times("cycle ended", 2);
    let said = watch.said();
    let address = said.split("listening on ").nth(1).expect("an address");
    let url = address
        .split_whitespace()
        .next()
        .expect("a URL")
        .trim_end_matches('/')
        .to_owned();

    let folder = folder();
    let mut tab = Tab::open(&folder.path().join("profile"), &format!("{url}/"));
    let is_asked = "!document.getElementById('access').hidden";
    tab.until(is_asked);
    assert_eq!(tab.value("document.activeElement.id"), "token");
    tab.fill("#token", "canary-wrong");
    tab.until("document.getElementById('access-problem').textContent.includes('refused')");
    tab.fill("#token", "canary-listen");
    tab.until(&rows(2));
    assert_eq!(tab.value(is_asked), false);
    let states = "[...document.querySelectorAll('tr.mirror .state')].map((cell) => cell.textContent)";
    assert_eq!(tab.value(states), json!(["Trouble", "OK"]));
    assert_eq!(text(&mut tab, "tr.mirror button"), repositories[1]);
    assert_eq!(text(&mut tab, "#announcements"), "In trouble: 1 mirror");

    tab.click("tr.mirror button");
    tab.until("document.querySelector('.details pre') !== null");
    assert_eq!(
        text(&mut tab, ".details pre"),
        "Gitea: Branch main is protected from force push"
    );
    let hint = text(&mut tab, ".details .hint");
    assert!(hint.contains("change the protection of the branch"), "{hint}");
    // A retry may have come meanwhile.
    assert_eq!(
        tab.value("document.querySelectorAll('.pushes tbody tr').length > 0"),
        true
    );
    assert_eq!(tab.value("document.activeElement.ariaExpanded"), "true");

    tab.fill("#search", "FINE.git");
    tab.until(&rows(1));
    assert_eq!(text(&mut tab, "#count"), "1 of 2 mirrors, 0 in trouble");
    assert_eq!(tab.value("location.search"), "?search=FINE.git");
    tab.fill("#search", "protected");
    tab.until(&rows(1));
    assert_eq!(text(&mut tab, "#count"), "1 of 2 mirrors, 1 in trouble");

    for (attack, blocked) in [
        (
            "document.body.append(Object.assign(document.createElement('img'), { src: '/healthz' }))",
            "img-src",
        ),
        (
            "document.body.append(Object.assign(document.createElement('script'), { textContent: '1' }))",
            "script-src-elem",
        ),
        ("document.getElementById('filter').submit()", "form-action"),
    ] {
        let violation = format!(
            "new Promise((done) => {{ document.addEventListener('securitypolicyviolation', ({{ effectiveDirective }}) => done(effectiveDirective), {{ once: true }}); {attack}; }})"
        );
        assert_eq!(tab.value(&violation), blocked, "{attack}");
    }
    let kept = "document.cookie + JSON.stringify([localStorage, sessionStorage])";
    assert_eq!(tab.value(kept), "[{},{}]", "the token stays in memory");
    drop(tab);
    let (_, said) = watch.terminate();
    assert!(!said.contains("canary"), "{said}");
}

/// Serves the page with this status.
fn serve(status: String) -> SocketAddr {
    serve_after(status, Arc::default())
}

/// Looks at the status that a server has seen.
#[derive(Default)]
struct Looks {
    /// Number of the first looks that get no answer.
    unanswered: AtomicUsize,
    /// Number of looks without an answer that the page has given up.
    given_up: AtomicUsize,
    /// Looks at the same time: now, and at most.
    open: Mutex<(usize, usize)>,
}

impl Looks {
    /// Answers a look, or waits until the page gives it up.
    fn look(&self, stream: &mut TcpStream) -> Option<()> {
        {
            let mut open = self.open.lock().expect("not poisoned");
            open.0 += 1;
            open.1 = open.1.max(open.0);
        }
        let fewer = |left: usize| left.checked_sub(1);
        let is_answered = self
            .unanswered
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer)
            .is_err();
        if !is_answered {
            // Nothing follows but the end of the connection.
            let _ = stream.read(&mut [0]);
            self.given_up.fetch_add(1, Ordering::SeqCst);
        }
        self.open.lock().expect("not poisoned").0 -= 1;
        is_answered.then_some(())
    }
}

/// Serves the page with this status, which some looks do not get.
fn serve_after(status: String, looks: Arc<Looks>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let status = Arc::new(status);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (status, looks) = (status.clone(), looks.clone());
            thread::spawn(move || answer(stream, &status, &looks));
        }
    });
    address
}

/// Answers one request. A browser may connect and ask nothing.
fn answer(mut stream: TcpStream, status: &str, looks: &Looks) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    let line = lines.next()?.ok()?;
    while !lines.next()?.ok()?.is_empty() {}
    if line.starts_with("GET /status ") {
        looks.look(&mut stream)?;
    }
    let (kind, body) = match line.split(' ').nth(1)?.split('?').next()? {
        "/" => ("text/html", include_str!("../../src/monitor/page.html")),
        "/page.js" => ("text/javascript", include_str!("../../src/monitor/page.js")),
        "/page.css" => ("text/css", STYLE),
        "/status" => ("application/json", status),
        _ => ("text/plain", ""),
    };
    let length = body.len();
    let head =
        format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all((head + body).as_bytes()).ok()
}

/// A repository with one mirror, which has these values and otherwise nothing to say.
fn repository(path: &str, values: &Value) -> Value {
    let mut mirror = json!({
        "pending": 0, "failed": 0, "skipped": 0, "oldest_pending": null, "oldest_pending_age_s": null, "intents": 0,
        "problems": 0, "remote": format!("https://github.com/example/{}", path.rsplit('/').next().expect("a name")),
        "compared_at": "2026-01-10T11:50:00Z", "missing": null, "comparison": null, "watermarks": [], "forgotten": null,
        "groups": [], "broken": [], "dangling": [], "error": null, "unreachable": null,
        "last_cycle_at": "2026-01-10T11:59:48Z", "last_success_at": "2026-01-10T11:59:48Z", "last_pushes": [],
        "lag_samples": [[1_768_020_000, 2.0], [1_768_030_200, 4.5], [1_768_041_000, 1.2]],
    });
    for (key, value) in values.as_object().expect("values") {
        mirror[key] = value.clone();
    }
    json!({ "repository": path, "mirrors": [mirror] })
}

/// The status of a worker with a thousand repositories, some of them in trouble.
fn status() -> String {
    let words = [
        "error: GH013: Repository rule violations found for refs/heads/main.",
        "- Changes must be made through a pull request.",
    ];
    let refused = json!({
        "pending": 3, "oldest_pending": "2026-01-10T10:41:00Z", "oldest_pending_age_s": 4740,
        "last_success_at": "2026-01-10T10:40:12Z",
        "groups": [{"group": "refs/heads/main", "pending": 3, "oldest_pending": "2026-01-10T10:41:00Z", "attempts": 7,
            "reason": "push declined due to repository rule violations", "next_try": "2026-01-10T12:07:00Z",
            "server_words": words, "advice": "change the mirror's rule, or let the mirror's account bypass it"}],
        "last_pushes": [
            {"at": "2026-01-10T11:52:00Z", "outcome": "incomplete", "refs": 1, "bytes": 9120, "elapsed_ms": 412,
                "error": "push declined due to repository rule violations"},
            {"at": "2026-01-10T10:40:12Z", "outcome": "mirrored", "refs": 4, "bytes": 88_213, "elapsed_ms": 530, "error": null}],
    });
    let down = json!({
        "pending": 12, "oldest_pending": "2026-01-10T11:38:00Z", "oldest_pending_age_s": 1320,
        "comparison": {"attempts": 5, "reason": "could not connect within 10s", "next_try": "2026-01-10T12:04:00Z"},
        "unreachable": "could not connect within 10s",
    });
    let pending = json!({"pending": 1, "oldest_pending": "2026-01-10T11:59:57Z", "oldest_pending_age_s": 3});
    let token = json!({"token": {"expires_at": "2026-01-19T00:00:00Z", "accepted_at": "2026-01-10T11:00:00Z"}});
    let mut repositories: Vec<_> = (0..MANY)
        .map(|number| repository(&format!("/srv/git/team/app-{number:04}.git"), &json!({})))
        .collect();
    for (path, values) in [
        ("/srv/git/site/www.git", &refused),
        ("/srv/git/infra/deploy.git", &down),
        ("/srv/git/lib/parser.git", &pending),
        ("/srv/git/docs/handbook.git", &token),
        (HOSTILE, &json!({})),
    ] {
        repositories.push(repository(path, values));
    }
    json!({"now": "2026-01-10T12:00:00Z", "version": "0.1.0", "repositories": repositories}).to_string()
}

#[test]
fn a_thousand_repositories_are_usable_in_light_and_dark_and_on_a_phone() {
    let address = serve(status());
    let folder = folder();
    let mut tab = Tab::open(&folder.path().join("profile"), &format!("http://{address}/"));
    tab.until(&rows(100));
    let names = "[...document.querySelectorAll('tr.mirror button')].slice(0, 4).map((one) => one.textContent)";
    let first = ["site/www", "infra/deploy", "lib/parser", "docs/handbook"].map(|name| format!("/srv/git/{name}.git"));
    assert_eq!(
        tab.value(names),
        json!(first),
        "trouble first, then what is pending, then notes"
    );
    let all = format!("{} mirrors, 2 in trouble; the first 100 are shown", MANY + 5);
    assert_eq!(text(&mut tab, "#count"), all);
    tab.click("#more");
    tab.until(&rows(200));
    tab.fill("#search", "app-0777");
    tab.until(&rows(1));
    tab.fill("#search", "onerror");
    tab.until(&rows(1));
    assert_eq!(text(&mut tab, "tr.mirror button"), HOSTILE);
    assert_eq!(
        tab.value("[document.querySelectorAll('img').length, document.title]"),
        json!([0, "(2) Mirrors"])
    );
    tab.fill("#search", "");
    tab.value("document.getElementById('show').value = 'trouble'; document.getElementById('show').dispatchEvent(new Event('change', { bubbles: true }))");
    tab.until(&rows(2));
    tab.value("document.getElementById('show').value = ''; document.getElementById('show').dispatchEvent(new Event('change', { bubbles: true }))");
    tab.until(&rows(100));
    keys_and_roles(&mut tab);
    looks(&mut tab);
}

fn keys_and_roles(tab: &mut Tab) {
    tab.value("document.activeElement.blur(); document.querySelector('.skip').focus()");
    tab.press(&["Enter", "Tab", "Enter"]);
    assert_eq!(
        tab.value("document.activeElement.ariaExpanded"),
        "true",
        "keys open the first mirror"
    );
    tab.value("document.dispatchEvent(new Event('visibilitychange'))");
    tab.until("document.getElementById('connection').dataset.state === 'live'");
    assert_eq!(
        tab.value("document.activeElement.ariaExpanded"),
        "true",
        "the focus stays after an update"
    );
    let outline = "getComputedStyle(document.activeElement).outlineStyle";
    assert_eq!(tab.value(outline), "solid", "the focus is visible");
    let roles = tab.roles();
    for (role, name) in [
        ("banner", ""),
        ("main", ""),
        ("search", "Mirrors"),
        ("searchbox", "Search"),
        ("combobox", "Show"),
        ("region", "Repositories and mirrors"),
        ("table", "Repositories and mirrors"),
        ("columnheader", "Pending"),
        ("heading", "refs/heads/main"),
        ("status", ""),
        (
            "image",
            "Lag: now 1 h 19 min, at most 1 h 19 min in the last 7 h 20 min",
        ),
    ] {
        assert!(
            roles.contains(&(role.into(), name.into())),
            "{role} {name:?} in {roles:?}"
        );
    }
    for (role, name) in &roles {
        let is_control = ["button", "link", "combobox", "textbox", "searchbox"].contains(&role.as_str());
        assert!(!is_control || !name.is_empty(), "a {role} has no name");
    }
}

fn looks(tab: &mut Tab) {
    tab.value("document.activeElement.blur(); scrollTo(0, 0)");
    for is_dark in [false, true] {
        tab.emulate(1000, is_dark);
        let contrast = tab.value(CONTRAST).as_f64().expect("a number");
        assert!(contrast >= 4.5, "contrast {contrast}, dark: {is_dark}");
        if let Some(into) = env::var_os("MIRRORS_SCREENSHOTS") {
            let name = if is_dark {
                "mirrors-dark.png"
            } else {
                "mirrors-light.png"
            };
            fs::write(Path::new(&into).join(name), tab.screenshot()).expect("an image");
        }
    }
    tab.emulate(360, true);
    assert_eq!(tab.value("document.documentElement.scrollWidth"), 360);
}

#[test]
fn there_is_one_look_at_a_time_and_one_without_an_answer_is_given_up() {
    let looks = Arc::new(Looks::default());
    looks.unanswered.store(1, Ordering::SeqCst);
    let never_ran = json!({"mirror": "backup", "last_cycle_at": null, "last_success_at": null});
    let status = json!({"now": "2026-01-10T12:00:00Z", "version": "0.1.0",
        "repositories": [repository("/srv/git/new.git", &never_ran)]});
    let address = serve_after(status.to_string(), looks.clone());
    let folder = folder();
    let mut tab = Tab::open(&folder.path().join("profile"), &format!("http://{address}/"));
    for _ in 0..5 {
        tab.value("document.dispatchEvent(new Event('visibilitychange'))");
    }
    tab.until(&rows(1));
    assert_eq!(looks.given_up.load(Ordering::SeqCst), 1);
    assert_eq!(looks.open.lock().expect("not poisoned").1, 1, "looks at the same time");
    assert_eq!(text(&mut tab, "tr.mirror .state"), "Note");
    assert_eq!(text(&mut tab, "tr.mirror .problem"), "No cycle has ended yet");
}
