//! Bodies of requests: JSON, of a bounded size, within a bounded time, and all of them together in bounded memory.
use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header},
};
use http_body_util::BodyExt;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::answer::Refused;

/// All bodies that are being read or written to the disk have so many bytes at most.
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

/// A body. Its room is free again when this goes.
#[derive(Debug)]
pub struct Received {
    /// Its bytes.
    pub bytes: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

impl Room {
    /// Room for bodies that come whole within `patience`.
    pub fn new(patience: Duration) -> Self {
        let units = Arc::new(Semaphore::new(ALL / UNIT));
        Room { units, patience }
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
        let units = announced.unwrap_or(limit).min(limit) / UNIT + 1;
        let room = timeout(self.patience, self.units.clone().acquire_many_owned(units as u32)).await;
        let Ok(Ok(room)) = room else {
            return Err(Refused::busy("too many requests are under way"));
        };
        match timeout(self.patience, collect(body, limit)).await {
            Ok(bytes) => bytes.map(|bytes| Received { bytes, _room: room }),
            Err(_) => Err(Refused::new(
                StatusCode::REQUEST_TIMEOUT,
                format!("the body was not there within {:?}", self.patience),
            )),
        }
    }
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
