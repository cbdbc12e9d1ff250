//! The minimum that any journal has to do: read the input, open, lock, write a number of bytes, fsync. The bench
//! `hook` builds this program and links it like the hook.
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
