//! Rejections by the mirror, shown to the next pusher of a rejected ref, and refs that were mirrored without their LFS objects.
//! The worker remembers both in its memory.
//!
//! They are messages only. A memory that cannot be read is noted in the log.
use std::{
    fs::File,
    io::{self, ErrorKind, Read},
    path::Path,
};

use durable::clock::Clock;
use serde::Deserialize;

use super::hook_output::HookOutput;
use crate::{
    config::{Mirrors, memory_file},
    journal::{Draft, FOLDER},
};

/// Beginning of a memory with rejections. The rest of the file may be long, and is not read.
const BEGINNING: &[u8] = b"{\"rejections\":";
/// Maximum number of bytes that are read.
const MAX_SIZE: u64 = 1 << 20;
/// Maximum number of rejections that are shown to a pusher.
const MAX_TOLD: usize = 3;

#[derive(Deserialize)]
struct Rejection {
    refs: Vec<String>,
    server_words: Vec<String>,
    advice: Option<String>,
    /// True if the update is on the mirror, without LFS objects.
    #[serde(default)]
    alone: bool,
}

/// Shows the pusher the words of each mirror about rejected earlier updates of the same refs.
pub(super) fn tell(git_dir: &Path, mirrors: &Mirrors, drafts: &[Draft], output: &mut HookOutput<impl Clock>) {
    let is_pushed = |name: &&String| drafts.iter().any(|draft| draft.update.name == name.as_str());
    let mut told = 0;
    for (place, mirror) in mirrors.names().enumerate() {
        let file = memory_file(place, mirror);
        let rejections = read(&git_dir.join(FOLDER).join(&file)).unwrap_or_else(|error| {
            output.log(&format!("cannot read the mirror's rejections in {file}: {error}"));
            Vec::new()
        });
        let of_mirror = if mirrors.are_several() {
            format!("the mirror {mirror}")
        } else {
            "the mirror".to_owned()
        };
        for rejection in &rejections {
            if let Some(name) = rejection.refs.iter().find(is_pushed).filter(|_| told < MAX_TOLD) {
                told += 1;
                output.tell_pusher(&if rejection.alone {
                    format!("{of_mirror} has an earlier update of {name} without its LFS objects:")
                } else {
                    format!("{of_mirror} rejected an earlier update of {name}:")
                });
                let words = rejection.server_words.iter().chain(&rejection.advice);
                words.for_each(|line| output.tell_pusher(&format!("  {line}")));
            }
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<Rejection>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened?.take(MAX_SIZE),
    };
    let mut beginning = [0; BEGINNING.len()];
    match file.read_exact(&mut beginning) {
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => return Err(error),
        _ if beginning != BEGINNING => return Ok(Vec::new()),
        _ => {}
    }
    let mut rest = Vec::new();
    file.read_to_end(&mut rest)?;
    // Reads one value, and ignores what follows it.
    Ok(Vec::deserialize(&mut serde_json::Deserializer::from_slice(&rest))?)
}

#[cfg(test)]
mod tests {
    use durable::clock::ManualClock;

    use super::*;
    use crate::{
        config::Config,
        journal::{Origin, Source},
        ref_update::RefUpdate,
    };

    fn told(memories: &[&str], pushed: &[&str]) -> String {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(FOLDER)).unwrap();
        let file = gix::config::File::try_from("[stargate]\nremote = a\n[stargate \"b\"]\nremote = x\n").unwrap();
        let mirrors = if memories.len() > 1 {
            Mirrors::from_git_config(&file)
        } else {
            Mirrors::of(Config::default())
        };
        for (place, memory) in memories.iter().enumerate() {
            let name = memory_file(place, &mirrors.each[place].name);
            std::fs::write(folder.path().join(FOLDER).join(name), memory).unwrap();
        }
        let null = gix::hash::Kind::Sha1.null();
        let draft = |name: &&str| Draft {
            update: RefUpdate {
                old: null,
                new: null,
                name: (*name).into(),
            },
            txn_id: None,
            origin: Origin::of(Source::PostReceive).into(),
        };
        let drafts: Vec<Draft> = pushed.iter().map(draft).collect();
        let mut output = HookOutput::new(ManualClock::default());
        tell(folder.path(), &mirrors, &drafts, &mut output);
        assert!(output.complete, "messages decide nothing");
        output.into_messages()
    }

    #[test]
    fn the_pusher_of_a_rejected_ref_sees_the_words_and_the_advice() {
        let memory = "{\"rejections\":[\
             {\"group\":\"main\",\"refs\":[\"refs/kv/main\",\"refs/kv-index/main\"],\"server_words\":[\"no\",\"ask\"],\"advice\":\"change\"},\
             {\"group\":\"refs/heads/x\",\"refs\":[\"refs/heads/x\"],\"server_words\":[\"never\"],\"advice\":null},\
             {\"group\":\"refs/heads/z\",\"refs\":[\"refs/heads/z\"],\"server_words\":[\"LFS object a is missing\"],\"advice\":null,\"alone\":true}\
             ],\"mirror\":{\"cut off";
        assert_eq!(
            told(&[memory], &["refs/kv-index/main", "refs/kv/main"]),
            "stargate: the mirror rejected an earlier update of refs/kv/main:\n\
             stargate:   no\nstargate:   ask\nstargate:   change\n"
        );
        assert!(told(&[memory], &["refs/heads/x"]).ends_with("  never\n"));
        assert_eq!(told(&[memory], &["refs/heads/y"]), "");
        assert_eq!(
            told(&[memory], &["refs/heads/z"]),
            "stargate: the mirror has an earlier update of refs/heads/z without its LFS objects:\n\
             stargate:   LFS object a is missing\n"
        );
        assert_eq!(
            told(&["{", memory], &["refs/heads/x"]),
            "stargate: the mirror b rejected an earlier update of refs/heads/x:\nstargate:   never\n"
        );
    }

    #[test]
    fn a_memory_without_rejections_or_none_at_all_tells_nothing() {
        assert_eq!(told(&[], &["refs/kv/main"]), "");
        for memory in ["", "{\"mirror\":null}", "{\"rejections\":[{\"refs\""] {
            assert_eq!(told(&[memory], &["refs/kv/main"]), "", "{memory:?}");
        }
    }
}
