//! Bodies of requests and large answers, all of them together in bounded memory.
//!
//! A request reserves memory as its bytes arrive, not by what its headers announce. The first [`SHARE`] bytes of each request
//! need no reservation, so that an event of usual size is taken however many large bodies are under way. A request is cut off
//! when it sends less than [`SHARE`] bytes in a third of the patience, or is not complete within the patience.
//!
//! When the common memory is used up, [`LANES`] requests may still grow to their limit. So a crowd of half-received bodies
//! never waits for itself.
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

use super::answer::Refused;

/// Bytes of memory for all bodies of a room, beyond the shares and the lanes.
const ALL: usize = 56 << 20;
/// What memory is given out in, in bytes.
const UNIT: usize = 1024;
/// Bytes of a request that need no reservation, and the least that it sends in a third of the patience.
const SHARE: usize = 4096;
/// How many requests may grow to their limit when the common memory is used up.
const LANES: usize = 8;
/// So much more than its limit of a body that is too long is read and dropped, so that its sender reads the answer.
const DRAINED: usize = 4 << 20;

/// Room for bodies.
#[derive(Debug)]
pub struct Room {
    units: Arc<Semaphore>,
    lanes: Arc<Semaphore>,
    patience: Duration,
}

/// A body of a request.
#[derive(Debug)]
pub struct Received {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The room that it takes.
    pub place: Place,
}

/// A part of the room. It is free again when this goes.
#[derive(Debug)]
pub struct Place {
    units: OwnedSemaphorePermit,
    /// With a lane, a body needs no further units.
    lane: Option<OwnedSemaphorePermit>,
}

/// What goes with its place.
struct Held {
    bytes: Vec<u8>,
    _place: Place,
}

/// A body that is being received.
struct Intake<'a> {
    room: &'a Room,
    /// The most bytes that are kept.
    limit: usize,
    /// How many bytes the headers announce, at most the limit.
    expected: usize,
    bytes: Vec<u8>,
    /// How many bytes arrived, those that are dropped included.
    length: usize,
    place: Place,
}

/// The time that a body has left. Waiting for room does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pace {
    /// Until the body must be complete.
    whole: Duration,
    /// How long a share may take.
    window: Duration,
    /// Until the next share must be here.
    share: Duration,
    /// Bytes of that share.
    arrived: usize,
}

impl Room {
    /// Room for bodies that come whole within `patience`.
    pub fn new(patience: Duration) -> Self {
        Room {
            units: Arc::new(Semaphore::new(ALL / UNIT)),
            lanes: Arc::new(Semaphore::new(LANES)),
            patience,
        }
    }

    /// A place for so many bytes, once there is one.
    ///
    /// # Errors
    /// There was none within the patience.
    pub async fn place(&self, bytes: usize) -> Result<Place, Refused> {
        let units = self.units.clone().acquire_many_owned(units(bytes));
        match timeout(self.patience, units).await {
            Ok(Ok(units)) => Ok(Place { units, lane: None }),
            _ => Err(busy()),
        }
    }

    /// Reads a JSON body of at most `limit` bytes.
    ///
    /// # Errors
    /// What its sender is answered.
    pub async fn read(&self, headers: &HeaderMap, body: Body, limit: usize) -> Result<Received, Refused> {
        // A page in a browser can send other types to here without asking.
        if !is_json(headers) {
            let problem = "the header Content-Type: application/json is needed";
            return Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, problem));
        }
        // Hyper has refused a length that is no number. Without one, the body is chunked.
        let announced = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok());
        let announced = announced.and_then(|length| length.parse::<usize>().ok());
        if announced.is_some_and(|announced| announced > limit + DRAINED) {
            return Err(too_long(limit));
        }
        let nothing = self.units.clone().try_acquire_many_owned(0).map_err(|_| busy())?;
        let intake = Intake {
            room: self,
            limit,
            expected: announced.unwrap_or(limit).min(limit),
            bytes: Vec::new(),
            length: 0,
            place: Place {
                units: nothing,
                lane: None,
            },
        };
        intake.collect(body).await
    }

    /// Gives a place as many units as `bytes` bytes need beyond their share, or a lane when there are none.
    async fn enlarge(&self, place: &mut Place, bytes: usize) -> Result<(), Refused> {
        let needed = match bytes.saturating_sub(SHARE) {
            0 => 0,
            more => units(more) as usize,
        };
        let missing = needed.saturating_sub(place.units.num_permits());
        if missing == 0 || place.lane.is_some() {
            return Ok(());
        }
        let more = self.units.clone().acquire_many_owned(missing as u32);
        let lane = self.lanes.clone().acquire_owned();
        let granted = timeout(self.patience, async {
            tokio::select! {
                biased;
                Ok(more) = more => place.units.merge(more),
                Ok(lane) = lane => place.lane = Some(lane),
                else => return Err(busy()),
            }
            Ok(())
        });
        granted.await.unwrap_or_else(|_| Err(busy()))
    }
}

impl Intake<'_> {
    /// Takes the body piece by piece.
    async fn collect(mut self, mut body: Body) -> Result<Received, Refused> {
        let mut pace = Pace::of(self.room.patience);
        loop {
            let asked = Instant::now();
            let frame = timeout(pace.left(), body.frame())
                .await
                .map_err(|_| pace.refusal(self.room))?;
            let Some(frame) = frame else { break };
            let frame = frame.map_err(|_| Refused::new(StatusCode::BAD_REQUEST, "the body ended before its end"))?;
            // Trailers say nothing here.
            let Ok(piece) = frame.into_data() else { continue };
            pace.took(asked.elapsed(), piece.len());
            self.length += piece.len();
            if self.length > self.limit + DRAINED {
                break;
            }
            if self.length <= self.limit {
                self.keep(&piece).await?;
            }
        }
        match self.length <= self.limit {
            true => Ok(Received {
                bytes: self.bytes,
                place: self.place,
            }),
            false => Err(too_long(self.limit)),
        }
    }

    async fn keep(&mut self, piece: &[u8]) -> Result<(), Refused> {
        let needed = self.bytes.len() + piece.len();
        if needed > self.bytes.capacity() {
            let capacity = (2 * needed).min(self.expected).max(needed);
            self.room.enlarge(&mut self.place, capacity).await?;
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }
}

impl Pace {
    fn of(patience: Duration) -> Self {
        let window = patience / 3;
        Pace {
            whole: patience,
            window,
            share: window,
            arrived: 0,
        }
    }

    /// How long the next piece may take.
    fn left(&self) -> Duration {
        self.whole.min(self.share)
    }

    /// Notes that a piece of so many bytes took so long.
    fn took(&mut self, elapsed: Duration, bytes: usize) {
        self.whole = self.whole.saturating_sub(elapsed);
        self.share = self.share.saturating_sub(elapsed);
        self.arrived += bytes;
        if self.arrived >= SHARE {
            (self.share, self.arrived) = (self.window, 0);
        }
    }

    fn refusal(&self, room: &Room) -> Refused {
        let problem = if self.share < self.whole {
            format!("fewer than {SHARE} bytes of the body arrived in {:?}", self.window)
        } else {
            format!("the body was not there within {:?}", room.patience)
        };
        Refused::new(StatusCode::REQUEST_TIMEOUT, problem)
    }
}

impl Place {
    /// These bytes, which take what they need of this place until the last of them is sent.
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
    (bytes / UNIT + 1).min(ALL / UNIT) as u32
}

fn busy() -> Refused {
    Refused::busy("too many requests are under way")
}

fn too_long(limit: usize) -> Refused {
    Refused::new(StatusCode::PAYLOAD_TOO_LARGE, format!("is longer than {limit} bytes"))
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

    fn place_of_nothing(room: &Room) -> Place {
        let units = room.units.clone().try_acquire_many_owned(0).expect("nothing");
        Place { units, lane: None }
    }

    #[test]
    fn a_share_needs_no_room_and_a_lane_completes_what_was_begun() {
        const MOST: usize = 1 << 20;
        block_on(async {
            let room = Room::new(Duration::from_millis(1));
            let _all = room.place(ALL).await.expect("all of it");
            let mut small = place_of_nothing(&room);
            room.enlarge(&mut small, SHARE).await.expect("its share");
            let mut lanes = Vec::new();
            for _ in 0..LANES {
                let mut place = place_of_nothing(&room);
                room.enlarge(&mut place, SHARE + 1).await.expect("a lane");
                room.enlarge(&mut place, MOST).await.expect("the rest by the same lane");
                lanes.push(place);
            }
            assert!(room.enlarge(&mut small, SHARE + 1).await.is_err());
            lanes.pop();
            room.enlarge(&mut small, SHARE + 1)
                .await
                .expect("the lane that is free");
        });
    }

    #[test]
    fn a_share_is_due_in_each_third_of_the_patience() {
        let second = Duration::from_secs(1);
        let mut pace = Pace::of(30 * second);
        pace.took(9 * second, SHARE - 1);
        assert_eq!(pace.left(), second);
        pace.took(second / 2, 1);
        assert_eq!(pace.left(), 10 * second);
        pace.took(9 * second, SHARE);
        pace.took(9 * second, SHARE);
        assert_eq!(pace.left(), 30 * second - 27 * second - second / 2);
    }

    #[test]
    fn what_is_held_takes_its_place_until_it_is_sent() {
        block_on(async {
            let room = Room::new(Duration::from_millis(1));
            let place = room.place(2 * ALL).await.expect("all of it");
            assert!(room.place(1).await.is_err());
            let answer = place.hold(vec![b'x'; ALL / 2]);
            let other = room.place(ALL / 4).await.expect("what is not needed is free");
            let rest = answer.slice(1..);
            drop(answer);
            assert!(room.place(ALL / 2).await.is_err());
            drop((rest, other));
            room.place(ALL).await.expect("all of it");
        });
    }
}
