//! Clocks that differ, and tokens that are renewed.
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use support::running::Running;

use super::*;

/// GitHub, whose clock is `ahead` seconds ahead, and which takes only what is valid by it.
fn with_clock(ahead: i64, request: &Received) -> Option<Vec<u8>> {
    let value = request.field("Authorization").expect("a token");
    let claims = value.split('.').nth(1).expect("claims");
    let claims: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).expect("base64")).expect("JSON");
    let now = Timestamp::now().as_second() + ahead;
    let time = |name: &str| claims[name].as_i64().expect("a number");
    let date = jiff::fmt::rfc2822::to_string(
        &Timestamp::from_second(now)
            .expect("a time")
            .to_zoned(jiff::tz::TimeZone::UTC),
    );
    let date = format!("Date: {}", date.expect("a date").replace("+0000", "GMT"));
    let is_valid = time("iat") <= now && time("exp") > now;
    let message = "{\"message\":\"'Expiration time' claim ('exp') is too far in the future\"}";
    (!is_valid).then(|| json("401 Unauthorized", &[&date], message))
}

#[test]
fn a_clock_that_is_wrong_is_noticed_and_githubs_is_used() {
    let mirror = mirror(TOKEN);
    let world = World::new(true);
    let forge = Forge::start(Some(mirror.port()), None, |request| {
        with_clock(7200, request).unwrap_or_else(|| github(request))
    });
    let (exit, said) = world.run(&forge, &world.environment());
    assert_eq!(exit, 0, "{said}");
    assert!(
        said.contains("the clock of this machine is 72") || said.contains("the clock of this machine is 71"),
        "{said}"
    );
    assert!(said.contains("s behind GitHub's"), "{said}");
    assert_eq!(forge.lines(), [INSTALLATION, INSTALLATION, ACCESS_TOKENS]);

    // One that is refused for another reason, too.
    world.push("a.txt", "text\n");
    let forge = Forge::start(None, None, |_| {
        json("401 Unauthorized", &["Date: Sat, 28 Nov 2020 11:59:00 GMT"], "{}")
    });
    let (exit, said) = world.run(&forge, &world.environment());
    assert_eq!(exit, 4, "{said}");
    assert!(
        said.contains("s ahead of GitHub's") && said.contains("refuses the signature"),
        "{said}"
    );
}

/// GitHub, which makes the tokens `ghs_canary1`, `ghs_canary2` and so on, and the number of them.
fn numbered(seconds: i64) -> (impl Fn(&Received) -> Vec<u8> + Send + Sync, Arc<AtomicUsize>) {
    let count = Arc::<AtomicUsize>::default();
    let counted = count.clone();
    let api = move |request: &Received| {
        if line(request) == ACCESS_TOKENS {
            made(
                &format!("ghs_canary{}", counted.fetch_add(1, Ordering::SeqCst) + 1),
                seconds,
            )
        } else {
            github(request)
        }
    };
    (api, count)
}

#[test]
fn a_token_that_is_refused_is_renewed_once() {
    let world = World::new(true);
    let mirror = mirror("ghs_canary2");
    let (api, count) = numbered(3600);
    let forge = Forge::start(Some(mirror.port()), None, api);
    let (exit, said) = world.run(&forge, &world.environment());
    assert_eq!((exit, count.load(Ordering::SeqCst)), (0, 2), "{said}");
    assert_eq!(mirror.git(NAME, &["rev-parse", "refs/heads/main"]).trim(), world.main());

    world.push("a.txt", "text\n");
    let _ = std::fs::remove_file(world.stargate.git_dir.join(".stargate/worker.json"));
    mirror.set_token("another");
    let (api, count) = numbered(3600);
    let forge = Forge::start(Some(mirror.port()), None, api);
    let (exit, said) = world.program("doctor", &["--remote", &forge.url(NAME)], &world.environment());
    assert_eq!((exit, count.load(Ordering::SeqCst)), (4, 2), "{said}");
    assert!(said.contains("the server refuses the credentials"), "{said}");
}

#[test]
fn a_watch_uses_a_token_in_many_cycles_and_renews_one_that_is_about_to_end() {
    for (seconds, is_shared) in [(3600, true), (120, false)] {
        let world = World::new(true);
        let mirror = mirror(TOKEN);
        let count = Arc::<AtomicUsize>::default();
        let counted = count.clone();
        let forge = Forge::start(Some(mirror.port()), None, move |request| {
            if line(request) == ACCESS_TOKENS {
                counted.fetch_add(1, Ordering::SeqCst);
                return made(TOKEN, seconds);
            }
            github(request)
        });
        let (repo, environment) = (world.stargate.git_dir.display().to_string(), world.environment());
        let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
        let watch = Running::start(&["watch", "--repo", &repo, "--remote", &forge.url(NAME)], &environment);
        watch.until_times("cycle ended", 1);
        world.push("a.txt", "text\n");
        watch.until_times("cycle ended", 2);
        assert_eq!(mirror.git(NAME, &["rev-parse", "refs/heads/main"]).trim(), world.main());
        let made = count.load(Ordering::SeqCst);
        assert_eq!(made == 1, is_shared, "{made} tokens");
        let (_, said) = watch.terminate();
        assert!(!said.contains("canary") && !said.contains("eyJ"), "{said}");
    }
}
