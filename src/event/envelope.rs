//! PURE: the rules that the members of an event follow.
use jiff::{Timestamp, tz::TimeZone};

use super::{Json, MAX_FILE, Members, Problem, check_name, json::fits_pretty, new_problem};

/// The longest string that is not a name of a file, in bytes.
const MAX_STRING: usize = 1024;

/// Strictness of the rules that an event is read by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// For an event that is posted to a relay.
    Posted,
    /// For an event that is read from a repository or written to one. Older relays accepted an array as `refs`.
    Filed,
    /// For an event that a relay has stored. Older relays accepted any year.
    Logged,
}

/// Checks all members of an event; returns its time.
///
/// # Errors
/// Returns all defects, in the order of the envelope.
pub fn check(members: &Members, rules: Rules) -> Result<Timestamp, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut note = |field: &str, checked: Result<(), String>| {
        problems.extend(checked.err().map(|problem| new_problem(field, problem)));
    };
    for field in ["event_id", "feed_id"] {
        note(
            field,
            string_member(members.get(field)).and_then(|id| check_name(id).map_err(str::to_owned)),
        );
    }
    for field in ["type", "author_identity_id"] {
        note(field, string_member(members.get(field)).map(drop));
    }
    match members.get("source") {
        Some(Json::Object(source)) => {
            for field in ["platform", "adapter_id"] {
                note(&format!("source.{field}"), string_member(source.get(field)).map(drop));
            }
            note("source.source_msg_id", check_message_id(source.get("source_msg_id")));
        }
        other => note("source", Err(expected("an object", other))),
    }
    let ts = time_member(members.get("ts"), rules);
    note("ts", ts.as_ref().map(drop).map_err(Clone::clone));
    note(
        "payload",
        members.get("payload").map(drop).ok_or_else(|| "is missing".to_owned()),
    );
    note("refs", check_refs(members.get("refs"), rules));
    // One byte is left for the final line feed.
    if rules != Rules::Logged && !fits_pretty(members, MAX_FILE - 1) {
        note("", Err(format!("would be a file of more than {MAX_FILE} bytes")));
    }
    match ts {
        Ok(ts) if problems.is_empty() => Ok(ts),
        _ => Err(problems),
    }
}

fn time_member(value: Option<&Json>, rules: Rules) -> Result<Timestamp, String> {
    let text = string_member(value)?;
    let ts = text
        .parse::<Timestamp>()
        .map_err(|_| "is not a time as in RFC 3339, like 2026-01-10T12:00:00.000Z".to_owned())?;
    // A later year than 9999 is not a timestamp.
    if rules != Rules::Logged && ts.to_zoned(TimeZone::UTC).year() < 0 {
        return Err("is in a year before 0000".into());
    }
    Ok(ts)
}

fn check_message_id(value: Option<&Json>) -> Result<(), String> {
    match value {
        Some(Json::Null) => Ok(()),
        Some(Json::String(_)) => string_member(value).map(drop),
        other => Err(expected("a string or null", other)),
    }
}

fn check_refs(value: Option<&Json>, rules: Rules) -> Result<(), String> {
    match value {
        None | Some(Json::Null | Json::Object(_)) => Ok(()),
        Some(Json::Array(_)) if rules != Rules::Posted => Ok(()),
        other => Err(expected("an object", other)),
    }
}

fn string_member(value: Option<&Json>) -> Result<&str, String> {
    match value {
        Some(Json::String(text)) if text.is_empty() => Err("is empty".into()),
        Some(Json::String(text)) if text.len() > MAX_STRING => Err(format!("is longer than {MAX_STRING} bytes")),
        Some(Json::String(text)) => Ok(text),
        other => Err(expected("a string", other)),
    }
}

fn expected(wanted: &str, value: Option<&Json>) -> String {
    match value {
        None => "is missing".into(),
        Some(_) => format!("is not {wanted}"),
    }
}
