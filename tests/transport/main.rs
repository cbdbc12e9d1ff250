//! Ways to a mirror: HTTP, ssh and `git://`, with real servers and with servers that misbehave.
#![cfg(unix)]
mod head;
mod http;
mod seams;
mod servers;
mod ssh;
mod stream;
