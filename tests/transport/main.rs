//! Ways to a mirror: HTTP, ssh and `git://`, with real servers and with servers that misbehave.
#![cfg(unix)]
mod http;
mod seams;
mod servers;
mod stream;
