//! What is sent before the pack.
use bstr::ByteVec;

use super::{Request, pkt_line};

/// The commands as pkt-lines, up to and with their flush-pkt, and push options with theirs when they are negotiated
/// (gitprotocol-pack, *Reference Update Request and Packfile Transfer*). The pack follows directly.
///
/// Like git's, the list of capabilities starts with a space and lines have no line feed.
///
/// # Panics
/// When the request has a command or push option that does not fit into a pkt-line; [`push()`](super::push()) refuses
/// those.
pub fn head(request: &Request) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, command) in request.commands.iter().enumerate() {
        let mut line = format!("{} {} ", command.old, command.new).into_bytes();
        line.push_str(&command.name);
        if index == 0 {
            line.push(0);
            for capability in &request.capabilities {
                line.push(b' ');
                line.push_str(capability);
            }
        }
        pkt_line::data(&mut out, &line);
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
