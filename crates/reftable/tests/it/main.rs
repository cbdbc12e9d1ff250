//! The reader against git, against tables that git does not write, against damage, and against writers; the writer against git.

mod builder;
mod checks;
mod damage;
mod folder;
mod formats;
mod git;
mod interleaved;
mod lookup;
mod oracle;
mod races;
mod refused;
mod sequences;
mod source;
mod writes;
