//! A Responses API of our own, to test, demo and bench against.
//!
//! It speaks HTTP/1.1 over real sockets, plain or with TLS under a certificate authority that it
//! makes for itself, and is good enough for the real Codex CLI to complete a turn. A [`Scenario`]
//! says how it answers, faults included; [`MockUpstream::counts`] and [`MockUpstream::seen`] say
//! what reached it. It listens on 127.0.0.1 only and knows nothing of the proxy.
//!
//! Start reading at [`MockUpstream::start`].
#![forbid(unsafe_code)]

mod answer;
mod connection;
mod events;
mod observe;
mod reply;
mod scenario;
mod server;
mod stream;
mod tls;

pub use observe::{Counts, Seen};
pub use scenario::{Scenario, UnknownScenario};
pub use server::{MockUpstream, Options, StartError};
pub use tls::{Certificate, ServerTls};
