//! The worker's cycle with a model of the mirror, and a clock that moves only by sleeping.
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use bstr::{BStr, BString, ByteSlice};
use durable::{clock::ManualClock, retry::RetryPolicy};
use git_push::{Advertisement, Command, Error, ErrorKind, RemoteRef, Report, Verdict};
use gix::ObjectId;
use proptest::prelude::*;
use stargate_mirror::{
    mirror::{Damaged, LocalView, Outcome, Rules},
    ref_pattern::RefPatterns,
    ref_update::RefUpdate,
    refs::{LocalRef, LocalRefs},
    worker::{Cycle, EntryResults, Mirror, Settled},
};

/// Commits are numbers; each has at most one parent.
#[derive(Default)]
struct Stargate {
    refs: BTreeMap<BString, u32>,
    parents: HashMap<u32, u32>,
}

fn id(commit: u32) -> ObjectId {
    ObjectId::from_hex(format!("{commit:040x}").as_bytes()).unwrap()
}

fn commit(id: ObjectId) -> u32 {
    u32::from_str_radix(&id.to_string()[32..], 16).unwrap()
}

impl Stargate {
    fn contains(&self, old: u32, mut new: u32) -> bool {
        loop {
            if old == new {
                return true;
            }
            match self.parents.get(&new) {
                Some(parent) => new = *parent,
                None => return false,
            }
        }
    }
}

impl LocalView for Stargate {
    fn local(&self, name: &BStr) -> LocalRef {
        let found = self.refs.get(name.as_bytes());
        found.map_or(LocalRef::Absent, |commit| LocalRef::Id(id(*commit)))
    }
    fn list(&self, patterns: &RefPatterns) -> LocalRefs {
        let known = self.refs.iter().filter(|(name, _)| patterns.matches(name.as_bstr()));
        let known = known.map(|(name, commit)| (name.clone(), id(*commit)));
        known.collect::<BTreeMap<_, _>>().into()
    }
    fn exists(&self, _: ObjectId) -> Result<bool, Damaged> {
        Ok(true)
    }
    fn fast_forward(&self, old: ObjectId, new: ObjectId) -> Result<bool, Damaged> {
        Ok(self.contains(commit(old), commit(new)))
    }
}

/// The model's answer to a push.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Accept,
    /// Rejects every push with a ref whose name ends with this.
    Reject(&'static str),
    /// Applies, but the answer is lost.
    LoseAnswer,
    /// Applies nothing, and the answer is lost.
    LoseRequest,
    /// Says `ok` and stores nothing.
    Lie,
    /// Says `ok` and stores only the first command of each group.
    Half,
    Unreachable,
    Forbidden,
    /// The repository has moved: a read of refs is redirected, a direct push is not.
    Moved,
    /// Refuses the credentials of a push.
    Revoked,
    /// Sends nothing of a ref whose name ends with this, because one of its objects cannot be read.
    Damaged(&'static str),
}

#[derive(Default)]
struct Model {
    refs: BTreeMap<BString, ObjectId>,
    /// Answers to the next pushes, in order. Later pushes get `Accept`.
    moods: Vec<Mood>,
    pushes: Vec<Vec<Command>>,
    /// The number of times that the refs were asked for.
    asked: usize,
    memory: Option<Advertisement>,
}

impl Model {
    fn at(&self, name: &str) -> u32 {
        self.refs.get(name.as_bytes()).map_or(0, |id| commit(*id))
    }

    /// Applies all commands, or none when an old id is stale.
    fn apply(&mut self, commands: &[Command]) -> bool {
        let null = gix::hash::Kind::Sha1.null();
        let stale = |command: &Command| self.refs.get(&command.name).copied().unwrap_or(null) != command.old;
        if commands.iter().any(stale) {
            return false;
        }
        for command in commands {
            match command.new.is_null() {
                true => drop(self.refs.remove(&command.name)),
                false => drop(self.refs.insert(command.name.clone(), command.new)),
            }
        }
        true
    }
}

impl Mirror for Model {
    fn remembered(&mut self) -> Option<Advertisement> {
        self.memory.clone()
    }

    fn remember(&mut self, advertisement: Option<Advertisement>) {
        self.memory = advertisement;
    }

    fn advertisement(&mut self) -> Result<Advertisement, Error> {
        self.asked += 1;
        match self.moods.first() {
            Some(Mood::Unreachable) => {
                self.moods.remove(0);
                Err(Error::new(ErrorKind::Transient, "connection refused"))
            }
            Some(Mood::Forbidden) => Err(Error::new(
                ErrorKind::Misconfigured,
                "the mirror refused the credentials",
            )),
            _ => Ok(Advertisement {
                refs: self.refs.clone(),
                ..Default::default()
            }),
        }
    }

    fn push(&mut self, _: &Advertisement, commands: Vec<Command>) -> Result<Report, Error> {
        self.pushes.push(commands.clone());
        let mood = if self.moods.is_empty() {
            Mood::Accept
        } else {
            self.moods.remove(0)
        };
        let all = |verdict: Verdict| Report::new(commands.iter().map(|c| (c.clone(), verdict.clone())).collect());
        match mood {
            Mood::Reject(end) if commands.iter().any(|command| command.name.ends_with_str(end)) => {
                Ok(all(Verdict::Rejected("hook declined".into())))
            }
            Mood::Damaged(end) if commands.iter().any(|command| command.name.ends_with_str(end)) => {
                Err(Error::new(ErrorKind::Broken, "object 11 cannot be read"))
            }
            Mood::Accept | Mood::Reject(_) | Mood::Damaged(_) => match self.apply(&commands) {
                true => Ok(all(Verdict::Accepted)),
                false => Ok(all(Verdict::Rejected("atomic transaction failed".into()))),
            },
            Mood::LoseAnswer => {
                assert!(self.apply(&commands), "the old ids are what the mirror has");
                Err(Error::new(ErrorKind::Uncertain, "the answer was lost"))
            }
            Mood::LoseRequest => Err(Error::new(ErrorKind::Uncertain, "the answer was lost")),
            Mood::Lie => Ok(all(Verdict::Accepted)),
            Mood::Half => {
                self.apply(&commands[..1]);
                Ok(all(Verdict::Accepted))
            }
            Mood::Moved => Err(Error::new(ErrorKind::Misconfigured, "the server redirects a POST")),
            Mood::Unreachable | Mood::Forbidden => Err(Error::new(ErrorKind::Transient, "connection refused")),
            Mood::Revoked => Err(Error::new(
                ErrorKind::Misconfigured,
                "the mirror refused the credentials",
            )),
        }
    }

    fn read_refs(&mut self, prefixes: &[BString]) -> Result<Vec<RemoteRef>, Error> {
        let wanted = self
            .refs
            .iter()
            .filter(|(name, _)| prefixes.iter().any(|prefix| name.starts_with(prefix)));
        Ok(wanted
            .map(|(name, id)| RemoteRef {
                name: name.clone(),
                id: *id,
            })
            .collect())
    }
}

fn update(name: &str, old: u32, new: u32) -> RefUpdate {
    RefUpdate {
        old: id(old),
        new: id(new),
        name: name.into(),
    }
}

fn stargate(refs: &[(&str, u32)]) -> Stargate {
    Stargate {
        refs: refs
            .iter()
            .map(|(name, commit)| (BString::from(*name), *commit))
            .collect(),
        parents: HashMap::from([(2, 1), (3, 2), (12, 11)]),
    }
}

/// Runs a cycle. Returns the settled groups, the mirrored entries in the order of their recording, and the clock.
fn cycle(stargate: &Stargate, model: &mut Model, backlog: &[RefUpdate]) -> (Vec<Settled>, Vec<usize>, ManualClock) {
    let clock = ManualClock::default();
    let mut done = Vec::new();
    let cycle = Cycle {
        rules: Rules {
            refs: RefPatterns::default(),
            force: false,
            deletes: true,
        },
        retry: RetryPolicy::default(),
        verify: true,
        clock: &clock,
        local_view: stargate,
        null: gix::hash::Kind::Sha1.null(),
    };
    let record = |marks: &EntryResults| -> Result<(), std::convert::Infallible> {
        done.extend_from_slice(&marks.mirrored);
        Ok(())
    };
    let settled = cycle.run(model, backlog, record).unwrap();
    (settled, done, clock)
}

const HALF_A_SECOND: Duration = Duration::from_millis(500);
const A_SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_watermark_that_is_refused_once_moves_neither_ref_and_the_second_attempt_succeeds() {
    let stargate = stargate(&[("refs/kv/main", 1)]);
    let mut model = Model {
        moods: vec![Mood::Reject("kv-mirror/main")],
        ..Default::default()
    };
    let (settled, done, clock) = cycle(&stargate, &mut model, &[update("refs/kv/main", 0, 1)]);
    assert_eq!(
        (settled[0].attempts(), settled[0].result.outcome),
        (2, Outcome::Mirrored)
    );
    assert_eq!(done, [0]);
    assert_eq!(clock.slept(), [HALF_A_SECOND]);
    assert_eq!((model.at("refs/kv/main"), model.at("refs/kv-mirror/main")), (1, 1));
}

#[test]
fn a_watermark_that_is_refused_always_gets_three_attempts_half_a_second_and_a_second_apart() {
    let stargate = stargate(&[("refs/kv/main", 1)]);
    let mut model = Model {
        moods: vec![Mood::Reject("kv-mirror/main"); 3],
        ..Default::default()
    };
    let backlog = [update("refs/kv/main", 0, 1)];
    let (settled, done, clock) = cycle(&stargate, &mut model, &backlog);
    assert_eq!(
        (settled[0].attempts(), settled[0].result.outcome),
        (3, Outcome::Rejected)
    );
    assert_eq!(done, [] as [usize; 0]);
    assert_eq!(clock.slept(), [HALF_A_SECOND, A_SECOND]);
    assert_eq!(model.refs.len(), 0);
    // The next cycle retries.
    let (settled, done, _) = cycle(&stargate, &mut model, &backlog);
    assert_eq!((settled[0].attempts(), done), (1, vec![0]));
}

#[test]
fn one_bad_group_does_not_hold_up_the_others() {
    let stargate = stargate(&[("refs/kv/a", 1), ("refs/kv/bad", 11), ("refs/kv/c", 2)]);
    let mut model = Model {
        moods: vec![Mood::Reject("/bad"); 20],
        ..Default::default()
    };
    let backlog = [
        update("refs/kv/a", 0, 1),
        update("refs/kv/bad", 0, 11),
        update("refs/kv/c", 0, 2),
    ];
    let (settled, done, _) = cycle(&stargate, &mut model, &backlog);
    assert_eq!(done, [0, 2]);
    let outcomes: Vec<_> = settled
        .iter()
        .map(|s| (s.group.label().to_string(), s.result.outcome))
        .collect();
    assert_eq!(
        outcomes,
        [
            ("a".into(), Outcome::Mirrored),
            ("bad".into(), Outcome::Rejected),
            ("c".into(), Outcome::Mirrored)
        ]
    );
    // All groups at once, then halves; finally only the bad one.
    assert_eq!(
        model.pushes.iter().map(Vec::len).collect::<Vec<_>>(),
        [6, 2, 4, 2, 2, 2, 2]
    );
}

#[test]
fn an_object_that_cannot_be_read_holds_up_its_own_group_only() {
    let stargate = stargate(&[("refs/kv/a", 1), ("refs/kv/bad", 11), ("refs/kv/c", 2)]);
    let mut model = Model {
        moods: vec![Mood::Damaged("/bad"); 20],
        ..Default::default()
    };
    let backlog = [
        update("refs/kv/a", 0, 1),
        update("refs/kv/bad", 0, 11),
        update("refs/kv/c", 0, 2),
    ];
    let (settled, done, clock) = cycle(&stargate, &mut model, &backlog);
    assert_eq!(done, [0, 2]);
    let bad = &settled[1];
    assert_eq!((bad.attempts(), bad.result.outcome), (1, Outcome::Broken));
    assert_eq!(bad.result.error.as_deref(), Some("object 11 cannot be read"));
    assert!(clock.slept().is_empty());
}

#[test]
fn a_mirror_that_refuses_the_credentials_of_a_push_is_not_pushed_to_by_halves() {
    let stargate = stargate(&[("refs/kv/a", 1), ("refs/kv/c", 2)]);
    let mut model = Model {
        moods: vec![Mood::Accept, Mood::Revoked],
        ..Default::default()
    };
    let all = [update("refs/kv/a", 0, 1), update("refs/kv/c", 0, 2)];
    cycle(&stargate, &mut model, &all[..1]);
    let (settled, done, _) = cycle(&stargate, &mut model, &all);
    assert_eq!((done.len(), settled[1].result.outcome), (1, Outcome::Misconfigured));
    assert_eq!(model.pushes.len(), 2);
}

#[test]
fn a_bad_group_among_many_costs_a_logarithm_of_pushes() {
    let names: Vec<String> = (0..64).map(|number| format!("refs/kv/{number}")).collect();
    let refs: Vec<(&str, u32)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    let backlog: Vec<RefUpdate> = names.iter().map(|name| update(name, 0, 1)).collect();
    let mut model = Model {
        moods: vec![Mood::Reject("kv/40"); 100],
        ..Default::default()
    };
    let (_, done, _) = cycle(&stargate(&refs), &mut model, &backlog);
    assert_eq!(done.len(), 63);
    // One push of all groups, two at each of six levels, and two more attempts for the bad one.
    assert_eq!(model.pushes.len(), 1 + 2 * 6 + 2);
}

/// Returns too many ledgers for one push to hold them with their watermarks.
fn many() -> (Stargate, Vec<RefUpdate>) {
    let names: Vec<String> = (0..2500).map(|number| format!("refs/kv/{number}")).collect();
    let refs: Vec<(&str, u32)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    (stargate(&refs), names.iter().map(|name| update(name, 0, 1)).collect())
}

#[test]
fn thousands_of_commands_go_in_pushes_that_follow_each_other() {
    let (stargate, backlog) = many();
    let mut model = Model::default();
    let (_, done, _) = cycle(&stargate, &mut model, &backlog);
    assert_eq!((done.len(), model.asked), (2500, 1));
    assert_eq!(
        model.pushes.iter().map(Vec::len).collect::<Vec<_>>(),
        [2000, 2000, 1000]
    );
    // This also holds for the next cycle, although the refs are remembered.
    model.refs.clear();
    model.memory = Some(Advertisement::default());
    model.pushes.clear();
    let (_, done, _) = cycle(&stargate, &mut model, &backlog);
    assert_eq!((done.len(), model.pushes.len()), (2500, 3));
}

#[test]
fn behind_a_push_that_is_lost_no_other_is_sent() {
    let (stargate, backlog) = many();
    let mut model = Model {
        moods: vec![Mood::LoseRequest; 3],
        ..Default::default()
    };
    let (settled, done, _) = cycle(&stargate, &mut model, &backlog);
    assert_eq!((done.len(), model.pushes.len()), (0, 3));
    assert!(settled.iter().all(|one| one.result.outcome == Outcome::Transient));
}

#[test]
fn a_bad_group_in_one_of_several_pushes_stands_alone() {
    let (stargate, backlog) = many();
    let mut model = Model {
        moods: vec![Mood::Reject("/999"); 100],
        ..Default::default()
    };
    let (_, done, _) = cycle(&stargate, &mut model, &backlog);
    assert_eq!(done.len(), 2499);
}

#[test]
fn a_push_whose_answer_was_lost_is_found_to_be_done() {
    let stargate = stargate(&[("refs/kv/main", 1)]);
    let mut model = Model {
        moods: vec![Mood::LoseAnswer],
        ..Default::default()
    };
    let (settled, done, clock) = cycle(&stargate, &mut model, &[update("refs/kv/main", 0, 1)]);
    assert_eq!(
        (settled[0].attempts(), settled[0].result.outcome, done),
        (1, Outcome::Mirrored, vec![0])
    );
    assert!(clock.slept().is_empty());
}

#[test]
fn a_server_that_says_ok_and_stores_nothing_is_not_believed() {
    let stargate = stargate(&[("refs/kv/main", 1)]);
    let mut model = Model {
        moods: vec![Mood::Lie; 3],
        ..Default::default()
    };
    let (settled, done, _) = cycle(&stargate, &mut model, &[update("refs/kv/main", 0, 1)]);
    assert_eq!((settled[0].result.outcome, done.len()), (Outcome::Uncertain, 0));
}

#[test]
fn a_remembered_mirror_is_not_asked_before_the_push() {
    let mut stargate = stargate(&[("refs/kv/main", 1)]);
    let mut model = Model::default();
    cycle(&stargate, &mut model, &[update("refs/kv/main", 0, 1)]);
    assert_eq!(model.asked, 1);
    stargate.refs.insert("refs/kv/main".into(), 2);
    let (_, done, _) = cycle(&stargate, &mut model, &[update("refs/kv/main", 1, 2)]);
    assert_eq!((model.asked, model.pushes.len(), done), (1, 2, vec![0]));
}

#[test]
fn a_group_that_is_held_and_never_sent_does_not_make_the_mirror_forgotten() {
    let mut stargate = stargate(&[("refs/kv/main", 1), ("refs/kv/other", 11)]);
    let mut model = Model::default();
    model.refs.insert("refs/kv/other".into(), id(21));
    let backlog = [update("refs/kv/main", 0, 1), update("refs/kv/other", 0, 11)];
    let (_, done, _) = cycle(&stargate, &mut model, &backlog);
    assert_eq!((model.asked, done), (1, vec![0]));
    let memory = model.memory.as_ref().expect("the mirror as it was seen");
    assert_eq!(memory.refs, model.refs);
    stargate.refs.insert("refs/kv/main".into(), 2);
    let (_, done, _) = cycle(&stargate, &mut model, &[update("refs/kv/main", 1, 2)]);
    assert_eq!((model.asked, done), (1, vec![0]));
}

#[test]
fn a_mirror_that_is_not_as_remembered_is_asked_within_the_same_attempt() {
    let mut stargate = stargate(&[("refs/kv/main", 1)]);
    let mut model = Model::default();
    cycle(&stargate, &mut model, &[update("refs/kv/main", 0, 1)]);
    // Somebody removes the watermark.
    model.refs.remove("refs/kv-mirror/main".as_bytes());
    stargate.refs.insert("refs/kv/main".into(), 2);
    let (settled, done, clock) = cycle(&stargate, &mut model, &[update("refs/kv/main", 1, 2)]);
    assert_eq!((settled[0].attempts(), done, model.asked), (1, vec![0], 2));
    assert!(clock.slept().is_empty());
    assert_eq!((model.at("refs/kv/main"), model.at("refs/kv-mirror/main")), (2, 2));
}

#[test]
fn a_refusal_of_a_remembered_mirror_counts_as_one_attempt() {
    let mut stargate = stargate(&[("refs/kv/main", 1)]);
    let mut model = Model::default();
    cycle(&stargate, &mut model, &[update("refs/kv/main", 0, 1)]);
    stargate.refs.insert("refs/kv/main".into(), 2);
    model.moods = vec![Mood::Reject("kv-mirror/main"); 9];
    let (settled, _, clock) = cycle(&stargate, &mut model, &[update("refs/kv/main", 1, 2)]);
    assert_eq!(
        (settled[0].attempts(), settled[0].result.outcome),
        (3, Outcome::Rejected)
    );
    assert_eq!(clock.slept(), [HALF_A_SECOND, A_SECOND]);
    assert_eq!(model.pushes.len(), 1 + 3);
}

#[test]
fn a_mirror_that_has_moved_is_found_within_the_same_attempt() {
    let mut stargate = stargate(&[("refs/kv/main", 1)]);
    let mut model = Model::default();
    cycle(&stargate, &mut model, &[update("refs/kv/main", 0, 1)]);
    stargate.refs.insert("refs/kv/main".into(), 2);
    model.moods = vec![Mood::Moved];
    let (settled, done, clock) = cycle(&stargate, &mut model, &[update("refs/kv/main", 1, 2)]);
    assert_eq!(
        (settled[0].attempts(), settled[0].result.outcome),
        (1, Outcome::Mirrored)
    );
    assert_eq!((done, model.pushes.len(), model.asked), (vec![0], 3, 2));
    assert!(clock.slept().is_empty());
}

#[test]
fn a_server_that_lands_one_of_two_is_not_believed_and_gets_the_other() {
    let stargate = stargate(&[("refs/kv/main", 1)]);
    let mut model = Model {
        moods: vec![Mood::Half],
        ..Default::default()
    };
    let (settled, done, _) = cycle(&stargate, &mut model, &[update("refs/kv/main", 0, 1)]);
    assert_eq!(
        (settled[0].attempts(), settled[0].result.outcome),
        (2, Outcome::Mirrored)
    );
    assert_eq!(done, [0]);
    assert_eq!(
        model.pushes.iter().map(Vec::len).collect::<Vec<_>>(),
        [2, 1],
        "only what is missing is sent again"
    );
    assert_eq!((model.at("refs/kv/main"), model.at("refs/kv-mirror/main")), (1, 1));
}

#[test]
fn refused_credentials_are_not_tried_again_within_the_cycle() {
    let stargate = stargate(&[("refs/kv/main", 1)]);
    let mut model = Model {
        moods: vec![Mood::Forbidden],
        ..Default::default()
    };
    let (settled, _, clock) = cycle(&stargate, &mut model, &[update("refs/kv/main", 0, 1)]);
    assert_eq!(
        (settled[0].attempts(), settled[0].result.outcome),
        (1, Outcome::Misconfigured)
    );
    assert!(clock.slept().is_empty());
}

#[test]
fn a_mirror_that_is_down_for_a_moment_is_tried_again() {
    let stargate = stargate(&[("refs/kv/main", 1)]);
    let mut model = Model {
        moods: vec![Mood::Unreachable, Mood::Unreachable],
        ..Default::default()
    };
    let (settled, done, _) = cycle(&stargate, &mut model, &[update("refs/kv/main", 0, 1)]);
    assert_eq!((settled[0].attempts(), done), (3, vec![0]));
}

/// One step of a scenario.
#[derive(Debug, Clone)]
enum Step {
    /// A push to the Stargate advances this namespace's ledger.
    Push(u8),
    /// A worker's cycle with this answer of the mirror.
    Cycle(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![(0..3u8).prop_map(Step::Push), (0..6u8).prop_map(Step::Cycle)]
}

fn weather(kind: u8) -> Vec<Mood> {
    match kind {
        0 => vec![Mood::LoseAnswer, Mood::LoseRequest],
        1 => vec![Mood::LoseRequest; 3],
        2 => vec![Mood::Lie, Mood::Accept],
        3 => vec![Mood::Reject("kv/1"); 12],
        4 => vec![Mood::Unreachable; 3],
        _ => Vec::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Plan and verdicts with the model: whatever its answers were, every push arrives once it accepts; the mirror's
    /// ledgers only move forward; the watermark is never ahead of its ledger; the update of a done entry was on the
    /// mirror.
    #[test]
    fn every_push_arrives_once_faults_end(steps in proptest::collection::vec(step(), 1..24)) {
        let mut stargate = Stargate::default();
        let mut model = Model::default();
        let mut pending: Vec<RefUpdate> = Vec::new();
        let mut next = 1;
        for step in steps.into_iter().chain([Step::Cycle(9)]) {
            match step {
                Step::Push(namespace) => {
                    let name = format!("refs/kv/{namespace}");
                    let old = stargate.refs.get(name.as_bytes()).copied();
                    stargate.parents.extend(old.map(|old| (next, old)));
                    stargate.refs.insert(name.as_str().into(), next);
                    pending.push(update(&name, old.unwrap_or(0), next));
                    next += 1;
                }
                Step::Cycle(kind) => {
                    let before = model.refs.clone();
                    model.moods = weather(kind);
                    let (_, done, _) = cycle(&stargate, &mut model, &pending);
                    for (name, old) in &before {
                        let new = model.refs.get(name).expect("nothing is ever deleted unasked");
                        prop_assert!(stargate.contains(commit(*old), commit(*new)), "{name} was rewound");
                    }
                    for index in &done {
                        let there = model.at(&pending[*index].name.to_string());
                        prop_assert!(stargate.contains(commit(pending[*index].new), there));
                    }
                    for namespace in 0..3 {
                        let (ledger, watermark) = (format!("refs/kv/{namespace}"), format!("refs/kv-mirror/{namespace}"));
                        prop_assert_eq!(model.at(&ledger), model.at(&watermark));
                    }
                    let mut index = 0;
                    pending.retain(|_| { index += 1; !done.contains(&(index - 1)) });
                }
            }
        }
        prop_assert!(pending.is_empty());
        for (name, commit) in &stargate.refs {
            prop_assert_eq!(model.at(&name.to_string()), *commit);
        }
    }
}
