//! Kills at random: every event is on the remote exactly once.
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;

use crate::{World, feeds};
use support::{
    counter::Counter,
    feeds::event,
    random::Random,
    relay::{Client, Relay, Start},
    running::Running,
};

/// Minimum number of kills of each process.
const KILLS: u32 = 5;

/// Waits for one of the two lines that a mirror with new events says at least after `seen` lines: it starts and follows, or
/// commits and pushes.
fn wait_for_a_line(run: &Running, seen: usize, random: &mut Random) {
    run.until_times("", seen + 1 + random.below(2));
}

#[test]
fn two_mirrors_on_one_remote_that_are_killed_at_random_lose_and_repeat_nothing() {
    const EVENTS: usize = 1000;
    let (world, feeds) = (World::new(), feeds());
    let mut random = Random::new(7);
    let names = ["a", "b"];
    let start = |name: &str| world.run(name, &feeds.url(), name, &[], &[]);
    let mut running: Vec<_> = names.iter().map(|name| start(name)).collect();
    let mut all = Vec::new();
    let mut kills = [0, 0];
    while all.len() < EVENTS || kills.iter().any(|kills| *kills < KILLS) {
        let victim = random.below(2);
        let seen = running[victim].times("");
        for _ in 0..=random.below(40) {
            for name in names {
                let event = event(name, all.len() as u32);
                feeds.post(name, event.clone());
                all.push(event);
            }
        }
        wait_for_a_line(&running[victim], seen, &mut random);
        kills[victim] += 1;
        running[victim].kill();
        running[victim] = start(names[victim]);
    }
    world.wait_for(&all, &running.iter().collect::<Vec<_>>());
    world.assert_has_exactly(&all);
    for run in running {
        let (code, said) = run.terminate();
        assert_eq!(code, 0, "{said}");
    }
}

#[test]
fn relay_and_mirror_that_are_killed_under_load_have_every_event_that_was_answered_on_the_remote() {
    const POSTERS: u32 = 4;
    let world = World::new();
    let mut random = Random::new(11);
    let mut relay = Relay::start(world.folder.path());
    relay.client().make_feed("f");
    let address = relay.address.to_string();
    let url = format!("http://{address}");
    let start = || world.run("context", &url, "f", &[], &[]);
    let mut run = start();
    let (answers, starts, is_enough) = (Counter::new(), Counter::new(), AtomicBool::new(false));
    let mut answered = Vec::new();
    thread::scope(|scope| {
        let posters: Vec<_> = (0..POSTERS)
            .map(|poster| {
                let (relay, answers, starts, is_enough) = (relay.client(), &answers, &starts, &is_enough);
                scope.spawn(move || {
                    let mut posted = Vec::new();
                    for number in (poster..).step_by(POSTERS as usize) {
                        if is_enough.load(Ordering::Relaxed) {
                            break;
                        }
                        let event = event("f", number);
                        post_until_answered(&relay, &event, starts);
                        answers.add();
                        posted.push(event);
                    }
                    posted
                })
            })
            .collect();
        let mut kills = [0, 0];
        while kills.iter().any(|kills| *kills < KILLS) {
            answers.wait_beyond(answers.get() + random.below(40));
            let victim = random.below(2);
            kills[victim] += 1;
            if victim == 0 {
                relay.signal(Signal::KILL);
                relay.wait();
                let again = Start {
                    arguments: &["--listen", &address],
                    ..Start::default()
                };
                relay = again.start(world.folder.path());
                starts.add();
            } else {
                wait_for_a_line(&run, run.times(""), &mut random);
                run.kill();
                run = start();
            }
        }
        is_enough.store(true, Ordering::Relaxed);
        let posted = posters.into_iter().map(thread::ScopedJoinHandle::join);
        answered = posted.flat_map(|posted| posted.expect("all are answered")).collect();
    });
    world.wait_for_told(&answered, &[&run], &|| relay.said());
    world.assert_has_exactly(&answered);
    let (code, said) = run.terminate();
    assert_eq!(code, 0, "{said}");
}

/// Posts an event, and again after each start of the relay, until the relay answers that it has the event.
fn post_until_answered(relay: &Client, event: &Value, starts: &Counter) {
    let path = format!("/feeds/{}/events", event["feed_id"].as_str().expect("a feed"));
    loop {
        let seen = starts.get();
        match relay.try_post(&path, &event.to_string()) {
            Ok(answer) => {
                assert!(matches!(answer.status, 200 | 201), "{answer:?}");
                return;
            }
            // A connection from before a kill may fail once more: after a second, it is tried without another start.
            Err(_) => {
                starts.wait_beyond_for(seen, Duration::from_secs(1));
            }
        }
    }
}
