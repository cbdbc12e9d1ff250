//! Bodies of requests and large responses, in bounded memory.
//!
//! A request reserves memory as its bytes arrive, not in advance for the length in its headers. The first [`SHARE`]
//! bytes of each request need no reservation, so that events of usual size are accepted however many large bodies are
//! in progress. A request is cut off if it sends less than [`SHARE`] bytes in a third of the idle timeout, or is not
//! complete within the idle timeout.
//!
//! When the common memory is used up, [`LANES`] requests may still grow to their limit. So half-received bodies never
//! deadlock.
use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, StatusCode, header},
};
use http_body_util::BodyExt;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use super::answer::ErrorResponse;

/// Bytes of a budget, beyond the shares and the lanes.
const TOTAL: usize = 56 << 20;
/// Unit of reservations, in bytes.
const UNIT: usize = 1024;
/// Bytes of a request that need no reservation, and the minimum that it must send in a third of the idle timeout.
const SHARE: usize = 4096;
/// Number of requests that may grow to their limit when the common memory is used up.
const LANES: usize = 8;
/// Bytes of an overlong body that are read and dropped, so that its sender reads the response.
const MAX_DRAINED: usize = 4 << 20;

/// Memory for bodies.
#[derive(Debug)]
pub struct MemoryBudget {
    units: Arc<Semaphore>,
    lanes: Arc<Semaphore>,
    idle_timeout: Duration,
}

/// Body of a request.
#[derive(Debug)]
pub struct Received {
    /// Bytes of the body.
    pub bytes: Vec<u8>,
    /// The reserved memory.
    pub permit: Permit,
}

/// Reserved memory. Dropping it frees the memory.
#[derive(Debug)]
pub struct Permit {
    units: OwnedSemaphorePermit,
    /// With a lane, a body needs no further units.
    lane: Option<OwnedSemaphorePermit>,
}

/// Bytes that free their memory when dropped.
struct Held {
    bytes: Vec<u8>,
    _place: Permit,
}

/// A body that is being received.
struct Intake<'a> {
    budget: &'a MemoryBudget,
    /// Maximum number of bytes that are kept.
    limit: usize,
    /// Length announced by the headers, at most the limit.
    expected: usize,
    bytes: Vec<u8>,
    /// Number of bytes that arrived, dropped ones included.
    length: usize,
    permit: Permit,
}

/// Time that a body has left. Waiting for memory does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct BodyDeadline {
    /// Time until the body must be complete.
    whole: Duration,
    /// Time allowed for each share.
    window: Duration,
    /// Time until the next share must have arrived.
    share: Duration,
    /// Bytes of that share so far.
    arrived: usize,
}

impl MemoryBudget {
    /// Creates a budget for bodies that arrive within `idle_timeout`.
    pub fn new(idle_timeout: Duration) -> Self {
        MemoryBudget {
            units: Arc::new(Semaphore::new(TOTAL / UNIT)),
            lanes: Arc::new(Semaphore::new(LANES)),
            idle_timeout,
        }
    }

    /// Reserves memory for this many bytes, once it is free.
    ///
    /// # Errors
    /// None became free within the idle timeout.
    pub async fn reserve(&self, bytes: usize) -> Result<Permit, ErrorResponse> {
        let units = self.units.clone().acquire_many_owned(units(bytes));
        match timeout(self.idle_timeout, units).await {
            Ok(Ok(units)) => Ok(Permit { units, lane: None }),
            _ => Err(busy()),
        }
    }

    /// Reads a JSON body of at most `limit` bytes.
    ///
    /// # Errors
    /// Returns the response that the sender gets.
    pub async fn read(&self, headers: &HeaderMap, body: Body, limit: usize) -> Result<Received, ErrorResponse> {
        // Browsers send other types across sites without asking for permission.
        if !is_json(headers) {
            let problem = "the header Content-Type: application/json is required";
            return Err(ErrorResponse::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, problem));
        }
        // hyper refuses an invalid length. Without a length, the body is chunked.
        let announced = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok());
        let announced = announced.and_then(|length| length.parse::<usize>().ok());
        if announced.is_some_and(|announced| announced > limit + MAX_DRAINED) {
            return Err(too_long(limit));
        }
        let nothing = self.units.clone().try_acquire_many_owned(0).map_err(|_| busy())?;
        let intake = Intake {
            budget: self,
            limit,
            expected: announced.unwrap_or(limit).min(limit),
            bytes: Vec::new(),
            length: 0,
            permit: Permit {
                units: nothing,
                lane: None,
            },
        };
        intake.collect(body).await
    }

    /// Enlarges a permit to `bytes` bytes beyond the share, or gives it a lane if no units are free.
    async fn enlarge(&self, permit: &mut Permit, bytes: usize) -> Result<(), ErrorResponse> {
        let needed = match bytes.saturating_sub(SHARE) {
            0 => 0,
            more => units(more) as usize,
        };
        let missing = needed.saturating_sub(permit.units.num_permits());
        if missing == 0 || permit.lane.is_some() {
            return Ok(());
        }
        let more = self.units.clone().acquire_many_owned(missing as u32);
        let lane = self.lanes.clone().acquire_owned();
        let granted = timeout(self.idle_timeout, async {
            tokio::select! {
                biased;
                Ok(more) = more => permit.units.merge(more),
                Ok(lane) = lane => permit.lane = Some(lane),
                else => return Err(busy()),
            }
            Ok(())
        });
        granted.await.unwrap_or_else(|_| Err(busy()))
    }
}

impl Intake<'_> {
    /// Receives the body piece by piece.
    async fn collect(mut self, mut body: Body) -> Result<Received, ErrorResponse> {
        let mut deadline = BodyDeadline::of(self.budget.idle_timeout);
        loop {
            let asked = Instant::now();
            let frame = timeout(deadline.left(), body.frame())
                .await
                .map_err(|_| deadline.refusal(self.budget))?;
            let Some(frame) = frame else { break };
            let frame = frame.map_err(|_| ErrorResponse::of(StatusCode::BAD_REQUEST, "", "the body is incomplete"))?;
            // Trailers are ignored.
            let Ok(piece) = frame.into_data() else { continue };
            deadline.took(asked.elapsed(), piece.len());
            self.length += piece.len();
            if self.length > self.limit + MAX_DRAINED {
                break;
            }
            if self.length <= self.limit {
                self.keep(&piece).await?;
            }
        }
        if self.length > self.limit {
            return Err(too_long(self.limit));
        }
        Ok(Received {
            bytes: self.bytes,
            permit: self.permit,
        })
    }

    async fn keep(&mut self, piece: &[u8]) -> Result<(), ErrorResponse> {
        let needed = self.bytes.len() + piece.len();
        if needed > self.bytes.capacity() {
            let capacity = (2 * needed).min(self.expected).max(needed);
            self.budget.enlarge(&mut self.permit, capacity).await?;
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }
}

impl BodyDeadline {
    fn of(idle_timeout: Duration) -> Self {
        let window = idle_timeout / 3;
        BodyDeadline {
            whole: idle_timeout,
            window,
            share: window,
            arrived: 0,
        }
    }

    /// Time allowed for the next piece.
    fn left(&self) -> Duration {
        self.whole.min(self.share)
    }

    /// Records the time and the size of a piece.
    fn took(&mut self, elapsed: Duration, bytes: usize) {
        self.whole = self.whole.saturating_sub(elapsed);
        self.share = self.share.saturating_sub(elapsed);
        self.arrived += bytes;
        if self.arrived >= SHARE {
            (self.share, self.arrived) = (self.window, 0);
        }
    }

    fn refusal(&self, budget: &MemoryBudget) -> ErrorResponse {
        let problem = if self.share < self.whole {
            format!("fewer than {SHARE} bytes of the body arrived in {:?}", self.window)
        } else {
            format!("the body did not arrive within {:?}", budget.idle_timeout)
        };
        ErrorResponse::new(StatusCode::REQUEST_TIMEOUT, problem)
    }
}

impl Permit {
    /// Reduces this permit to the size of these bytes, and holds it until the last byte is sent.
    pub fn hold(mut self, bytes: Vec<u8>) -> Bytes {
        let excess = self.units.num_permits().saturating_sub(units(bytes.len()) as usize);
        drop(self.units.split(excess));
        Bytes::from_owner(Held { bytes, _place: self })
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn units(bytes: usize) -> u32 {
    (bytes / UNIT + 1).min(TOTAL / UNIT) as u32
}

fn busy() -> ErrorResponse {
    ErrorResponse::busy("too many requests are in progress")
}

fn too_long(limit: usize) -> ErrorResponse {
    ErrorResponse::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("the body is longer than {limit} bytes"),
    )
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = value.and_then(|value| value.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(future)
    }

    fn place_of_nothing(budget: &MemoryBudget) -> Permit {
        let units = budget.units.clone().try_acquire_many_owned(0).expect("nothing");
        Permit { units, lane: None }
    }

    #[test]
    fn a_share_needs_no_reservation_and_a_lane_completes_a_body() {
        const MOST: usize = 1 << 20;
        block_on(async {
            let budget = MemoryBudget::new(Duration::from_millis(1));
            let _all = budget.reserve(TOTAL).await.expect("all of it");
            let mut small = place_of_nothing(&budget);
            budget.enlarge(&mut small, SHARE).await.expect("its share");
            let mut lanes = Vec::new();
            for _ in 0..LANES {
                let mut permit = place_of_nothing(&budget);
                budget.enlarge(&mut permit, SHARE + 1).await.expect("a lane");
                budget
                    .enlarge(&mut permit, MOST)
                    .await
                    .expect("the rest by the same lane");
                lanes.push(permit);
            }
            assert!(budget.enlarge(&mut small, SHARE + 1).await.is_err());
            lanes.pop();
            budget
                .enlarge(&mut small, SHARE + 1)
                .await
                .expect("the lane that is free");
        });
    }

    #[test]
    fn a_share_is_due_in_each_third_of_the_idle_timeout() {
        let second = Duration::from_secs(1);
        let mut deadline = BodyDeadline::of(30 * second);
        deadline.took(9 * second, SHARE - 1);
        assert_eq!(deadline.left(), second);
        deadline.took(second / 2, 1);
        assert_eq!(deadline.left(), 10 * second);
        deadline.took(9 * second, SHARE);
        deadline.took(9 * second, SHARE);
        assert_eq!(deadline.left(), 30 * second - 27 * second - second / 2);
    }

    #[test]
    fn memory_stays_reserved_until_the_bytes_are_sent() {
        block_on(async {
            let budget = MemoryBudget::new(Duration::from_millis(1));
            let permit = budget.reserve(2 * TOTAL).await.expect("all of it");
            assert!(budget.reserve(1).await.is_err());
            let answer = permit.hold(vec![b'x'; TOTAL / 2]);
            let other = budget.reserve(TOTAL / 4).await.expect("what is not needed is free");
            let rest = answer.slice(1..);
            drop(answer);
            assert!(budget.reserve(TOTAL / 2).await.is_err());
            drop((rest, other));
            budget.reserve(TOTAL).await.expect("all of it");
        });
    }
}
