//! Entries for a journal.
use stargate_mirror::{
    journal::{Draft, Origin, Source},
    ref_update::RefUpdate,
};

/// An update that creates a ref.
pub fn draft(name: &str) -> Draft {
    let line = format!("{} {} refs/kv/{name}", "0".repeat(40), "1".repeat(40));
    Draft {
        update: RefUpdate::parse(line.as_bytes()).expect("a ref update"),
        txn_id: None,
        origin: Origin::of(Source::PostReceive).into(),
    }
}

/// One draft for each name.
pub fn drafts(names: &[&str]) -> Vec<Draft> {
    names.iter().map(|name| draft(name)).collect()
}
