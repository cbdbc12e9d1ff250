//! Whatever is killed, whenever: every event is on the remote once.
use std::{thread, time::Duration};

use rustix::process::Signal;
use serde_json::Value;

use crate::{World, feeds};
use support::{
    feeds::event,
    random::Random,
    relay::{Client, Relay, Start},
};

/// How often each is killed, at least.
const KILLS: u32 = 5;

#[test]
fn two_mirrors_on_one_remote_that_are_killed_at_random_lose_and_repeat_nothing() {
    const EVENTS: u32 = 500;
    let (world, feeds) = (World::new(), feeds());
    let mut random = Random::new(7);
    let names = ["a", "b"];
    let start = |name: &str| world.run(name, &feeds.url(), name, &[], &[]);
    let mut running: Vec<_> = names.iter().map(|name| start(name)).collect();
    let mut all = Vec::new();
    let mut kills = [0, 0];
    thread::scope(|scope| {
        let posting = scope.spawn(|| {
            let mut posted = Vec::new();
            for number in 0..EVENTS {
                for name in names {
                    let event = event(name, number);
                    feeds.post(name, event.clone());
                    posted.push(event);
                }
                thread::sleep(Duration::from_millis(20));
            }
            posted
        });
        while !posting.is_finished() || kills.iter().any(|kills| *kills < KILLS) {
            // When it is hit is what varies, not what is waited for.
            thread::sleep(Duration::from_millis(100 + random.below(900) as u64));
            let victim = random.below(2);
            kills[victim] += 1;
            running[victim].kill();
            running[victim] = start(names[victim]);
        }
        all = posting.join().expect("all are posted");
    });
    world.wait_for(&all, &running.iter().collect::<Vec<_>>());
    world.assert_has_exactly(&all);
    for run in running {
        let (code, said) = run.terminate();
        assert_eq!(code, 0, "{said}");
    }
}

#[test]
fn relay_and_mirror_that_are_killed_under_load_have_every_event_that_was_answered_on_the_remote() {
    const EVENTS: u32 = 400;
    let world = World::new();
    let mut random = Random::new(11);
    let mut relay = Relay::start(world.folder.path());
    relay.client().make_feed("f");
    let address = relay.address.to_string();
    let url = format!("http://{address}");
    let start = || world.run("context", &url, "f", &[], &[]);
    let mut run = start();
    let mut answered = Vec::new();
    let mut kills = [0, 0];
    thread::scope(|scope| {
        let posters: Vec<_> = (0..4)
            .map(|poster| {
                let relay = relay.client();
                scope.spawn(move || {
                    // What was not answered is posted again, as who posts would.
                    let numbers = (poster * EVENTS..(poster + 1) * EVENTS).step_by(4);
                    let events: Vec<_> = numbers.map(|number| event("f", number)).collect();
                    for event in &events {
                        while !is_taken(&relay, event) {
                            thread::sleep(Duration::from_millis(10));
                        }
                        thread::sleep(Duration::from_millis(40));
                    }
                    events
                })
            })
            .collect();
        while !posters.iter().all(thread::ScopedJoinHandle::is_finished) || kills.iter().any(|kills| *kills < KILLS) {
            // When it is hit is what varies, not what is waited for.
            thread::sleep(Duration::from_millis(100 + random.below(700) as u64));
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
            } else {
                run.kill();
                run = start();
            }
        }
        answered = posters
            .into_iter()
            .flat_map(|poster| poster.join().expect("all are answered"))
            .collect();
    });
    world.wait_for_told(&answered, &[&run], &|| relay.said());
    world.assert_has_exactly(&answered);
    let (code, said) = run.terminate();
    assert_eq!(code, 0, "{said}");
}

/// Posts an event; whether it was answered that the relay has it.
fn is_taken(relay: &Client, event: &Value) -> bool {
    let path = format!("/feeds/{}/events", event["feed_id"].as_str().expect("a feed"));
    let answer = relay.try_post(&path, &event.to_string());
    answer.is_ok_and(|answer| matches!(answer.status, 200 | 201))
}
