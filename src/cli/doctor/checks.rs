//! PURE: the meaning of facts, and the commands that mend what is wrong. Files, sockets and clocks are read in `facts` and
//! in the drivers beside it.
pub mod check;
pub mod clock;
pub mod commands;
pub mod disk;
#[cfg(unix)]
pub mod folder;
pub mod history;
pub mod hook_file;
pub mod large_files;
pub mod pending;
pub mod remote_name;
pub mod worker;
