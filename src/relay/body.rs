//! Bodies, all of them together in bounded memory: those of requests, JSON of a bounded size within a bounded time, and those
//! of answers that are large.
use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, StatusCode, header},
};
use http_body_util::BodyExt;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::answer::Refused;

/// All bodies of a room have so many bytes at most.
const ALL: usize = 64 << 20;
/// What memory is given out in, in bytes.
const UNIT: usize = 1024;
/// So much more than its limit of a body that is too long is read and dropped, so that its sender reads the answer.
const DRAINED: usize = 4 << 20;

/// Room for bodies.
#[derive(Debug)]
pub struct Room {
    units: Arc<Semaphore>,
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
pub struct Place(OwnedSemaphorePermit);

/// What goes with its place.
struct Held {
    bytes: Vec<u8>,
    _place: Place,
}

impl Room {
    /// Room for bodies that come whole within `patience`.
    pub fn new(patience: Duration) -> Self {
        let units = Arc::new(Semaphore::new(ALL / UNIT));
        Room { units, patience }
    }

    /// A place for so many bytes, once there is one.
    ///
    /// # Errors
    /// There was none within the patience.
    pub async fn place(&self, bytes: usize) -> Result<Place, Refused> {
        let place = self.units.clone().acquire_many_owned(units(bytes));
        match timeout(self.patience, place).await {
            Ok(Ok(place)) => Ok(Place(place)),
            _ => Err(Refused::busy("too many requests are under way")),
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
        let announced = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok());
        let announced = announced.and_then(|length| length.parse::<usize>().ok());
        if announced.is_some_and(|announced| announced > limit + DRAINED) {
            return Err(too_long(limit));
        }
        let place = self.place(announced.unwrap_or(limit).min(limit)).await?;
        match timeout(self.patience, collect(body, limit)).await {
            Ok(bytes) => bytes.map(|bytes| Received { bytes, place }),
            Err(_) => Err(Refused::new(
                StatusCode::REQUEST_TIMEOUT,
                format!("the body was not there within {:?}", self.patience),
            )),
        }
    }
}

impl Place {
    /// These bytes, which take what they need of this place until the last of them is sent.
    pub fn hold(mut self, bytes: Vec<u8>) -> Bytes {
        let excess = self.0.num_permits().saturating_sub(units(bytes.len()) as usize);
        drop(self.0.split(excess));
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

async fn collect(mut body: Body, limit: usize) -> Result<Vec<u8>, Refused> {
    let (mut bytes, mut length) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refused::new(StatusCode::BAD_REQUEST, "the body ended before its end"))?;
        let Ok(piece) = frame.into_data() else { continue };
        length += piece.len();
        if length > limit + DRAINED {
            break;
        }
        if length <= limit {
            bytes.extend_from_slice(&piece);
        }
    }
    match length <= limit {
        true => Ok(bytes),
        false => Err(too_long(limit)),
    }
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

    #[test]
    fn what_is_held_takes_its_place_until_it_is_sent() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(async {
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
