//! The part of a request before the pack.
use bstr::{ByteSlice, ByteVec};

use super::{Request, pkt_line};

/// Returns the commands as pkt-lines with their flush-pkt, and push options with theirs if they are negotiated
/// (gitprotocol-pack, *Reference Update Request and Packfile Transfer*). The pack follows directly. A certificate replaces
/// the commands.
///
/// As in git, the list of capabilities starts with a space, and lines have no line feed.
///
/// # Panics
/// When a command or push option does not fit into a pkt-line. [`negotiate()`](super::negotiate()) refuses those.
#[must_use]
pub fn head(request: &Request) -> Vec<u8> {
    let mut out = Vec::new();
    for id in &request.shallow {
        pkt_line::data(&mut out, format!("shallow {id}\n").as_bytes());
    }
    match &request.certificate {
        Some(certificate) => {
            pkt_line::data(&mut out, &with_capabilities(b"push-cert".to_vec(), request));
            for line in certificate.lines_with_terminator() {
                pkt_line::data(&mut out, line);
            }
            pkt_line::data(&mut out, b"push-cert-end\n");
        }
        None => commands(&mut out, request),
    }
    pkt_line::flush(&mut out);
    if request.negotiated("push-options") {
        for option in &request.push_options {
            pkt_line::data(&mut out, option);
        }
        pkt_line::flush(&mut out);
    }
    out
}

fn commands(out: &mut Vec<u8>, request: &Request) {
    for (index, command) in request.commands.iter().enumerate() {
        let mut line = format!("{} {} ", command.old, command.new).into_bytes();
        line.push_str(&command.name);
        if index == 0 {
            line = with_capabilities(line, request);
        }
        pkt_line::data(out, &line);
    }
}

fn with_capabilities(mut line: Vec<u8>, request: &Request) -> Vec<u8> {
    line.push(0);
    for capability in &request.capabilities {
        line.push(b' ');
        line.push_str(capability);
    }
    line
}

#[cfg(test)]
mod tests {
    use gix::{ObjectId, hash::Kind};

    use super::super::Command;
    use super::*;

    fn request(capabilities: &[&str], push_options: &[&str]) -> Request {
        let id = ObjectId::Sha1([0xab; 20]);
        let command = |name: &str, old, new| Command {
            name: name.into(),
            old,
            new,
        };
        let commands = vec![
            command("refs/kv/main", Kind::Sha1.null(), id),
            command("refs/kv/old", id, Kind::Sha1.null()),
        ];
        let list = |texts: &[&str]| texts.iter().map(|text| (*text).into()).collect();
        Request::new(commands, Kind::Sha1, list(capabilities)).with_push_options(list(push_options))
    }

    #[test]
    fn commands_come_first_and_capabilities_with_the_first_of_them() {
        let (zero, id) = ("0".repeat(40), "ab".repeat(20));
        let expected = format!("0078{zero} {id} refs/kv/main\0 report-status atomic0061{id} {zero} refs/kv/old0000");
        assert_eq!(head(&request(&["report-status", "atomic"], &[])).as_bstr(), expected);
    }

    #[test]
    fn borders_of_a_shallow_clone_come_first() {
        let id = ObjectId::Sha1([0xcd; 20]);
        let shallow = request(&["atomic"], &[]).with_shallow(vec![id]);
        let expected = format!("0035shallow {id}\n").into_bytes();
        assert_eq!(head(&shallow), [expected, head(&request(&["atomic"], &[]))].concat());
    }

    #[test]
    fn push_options_follow_when_they_are_negotiated() {
        let without = head(&request(&["atomic"], &["ci.skip"]));
        assert!(without.ends_with(b"refs/kv/old0000"));
        let with = head(&request(&["push-options"], &["ci.skip", "a b"]));
        assert!(with.ends_with(b"refs/kv/old0000000bci.skip0007a b0000"));
    }
}
