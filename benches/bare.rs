//! What no journal can do without, and nothing else: reads its input, opens, locks, writes so many bytes, fsyncs. The
//! bench `hook` builds it by itself, linked as the hook is.
use std::{
    env, fs,
    io::{self, Read, Write},
};

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().collect();
    let [_, name, bytes] = &arguments[..] else {
        return Err(io::Error::other("expected a file and a number"));
    };
    let bytes = bytes.parse().map_err(io::Error::other)?;
    io::stdin().read_to_end(&mut Vec::new())?;
    let mut file = fs::OpenOptions::new().create(true).append(true).open(name)?;
    file.lock()?;
    file.write_all(&vec![b'x'; bytes])?;
    file.sync_all()
}
