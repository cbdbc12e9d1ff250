//! The clock of this machine, compared with that of the mirror's server.
use super::{
    check::{Check, Name, Verdict},
    worker::age,
};

/// Difference from which it matters, in seconds.
const NOTICEABLE: u64 = 60;

/// Checks the difference of the clocks in seconds, which is positive if that of this machine is ahead.
pub fn check(ahead: i64) -> Check {
    if ahead.unsigned_abs() <= NOTICEABLE {
        return Check::new(Name::Clock, Verdict::Ok, "agrees with the mirror's");
    }
    let place = if ahead > 0 { "ahead of" } else { "behind" };
    let difference = age(ahead.unsigned_abs());
    let found = format!(
        "the clock of this machine is {difference} {place} the mirror's: entries have wrong times, the end of a token \
         is misjudged, and GitHub refuses tokens of an App"
    );
    Check::new(Name::Clock, Verdict::Warning, found).hint(
        "synchronize the clock: `timedatectl set-ntp true`, or install chrony; if this clock is right, correct \
         the mirror's",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_may_differ_by_a_minute() {
        for (ahead, verdict, found) in [
            (0, Verdict::Ok, "agrees"),
            (-60, Verdict::Ok, "agrees"),
            (61, Verdict::Warning, "61 seconds ahead of"),
            (-600, Verdict::Warning, "10 minutes behind"),
        ] {
            let check = check(ahead);
            assert_eq!(check.verdict, verdict, "{ahead}");
            assert!(check.found.contains(found), "{check:?}");
        }
    }
}
