//! End of a cycle's thread.
use std::{mem, sync::mpsc::Sender};

use super::{error::RunError, report::CycleReport, schedule::Target, watch::Event};

/// End of a cycle, which is sent when this is dropped: after a panic, too, so that the mirror gets another cycle.
pub(super) struct CycleEnd {
    sender: Sender<Event>,
    target: Target,
    result: Result<CycleReport, RunError>,
}

impl CycleEnd {
    /// Creates the end of a cycle over this target that has not ended yet.
    pub(super) fn new(sender: Sender<Event>, target: Target) -> Self {
        CycleEnd {
            sender,
            target,
            result: Err(RunError::NoEnd),
        }
    }

    /// Sends the result.
    pub(super) fn send(mut self, result: Result<CycleReport, RunError>) {
        self.result = result;
    }
}

impl Drop for CycleEnd {
    fn drop(&mut self) {
        let result = mem::replace(&mut self.result, Err(RunError::NoEnd));
        // Fails only if the cycle was abandoned.
        let _ = self.sender.send(Event::Finished(self.target.clone(), Box::new(result)));
    }
}

#[cfg(test)]
mod tests {
    use std::{panic::catch_unwind, sync::mpsc};

    use super::*;
    use crate::worker::CycleOutcome;

    #[test]
    fn every_cycle_has_one_end() {
        let (sender, events) = mpsc::channel();
        let target = Target {
            repository: "/r.git".into(),
            mirror: None,
        };
        let end = |target: &Target| CycleEnd::new(sender.clone(), target.clone());
        end(&target).send(Ok(CycleReport::empty(CycleOutcome::Idle, 0, 0)));
        let panics = end(&target);
        catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _end = panics;
            panic!("an error in the program");
        }))
        .expect_err("it panics");
        let ends: Vec<bool> = events
            .try_iter()
            .map(|event| match event {
                Event::Finished(ended, result) => {
                    assert_eq!(ended, target);
                    result.is_ok()
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(ends, [true, false]);
    }
}
