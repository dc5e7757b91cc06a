//! A loopback proxy for the Responses API: its clients use a key that they can never read.
//!
//! It reads the key from standard input, accepts exactly `POST /v1/responses` on 127.0.0.1, forwards
//! it to one upstream with `Authorization: Bearer KEY` (or the key in the field that the upstream wants), and
//! streams the answer back byte for byte.
//! It never follows a redirect, never buffers a body whole, never ends an answer cleanly that the
//! upstream cut, and never lets a client choose where the key goes.
//!
//! The life of a process is [`serve()`]; the life of a request is one function in `exchange`:
//! admit → forward → relay → record. `admission` decides, `forwarder` sends, `keyed_stream` puts the key into what is
//! sent, `fault` says what a client reads when something goes wrong.
#![forbid(unsafe_code)]

mod admission;
mod answer_body;
mod args;
mod client_stream;
mod connection;
mod connector;
mod control;
mod custody;
mod daemon;
mod dump;
mod environment;
mod exchange;
mod fault;
mod field_rules;
mod forwarder;
mod head_clock;
mod headers;
mod in_flight;
mod key_source;
mod keyed_stream;
mod lease;
mod ledger;
mod link;
mod listener;
mod meter;
mod metrics;
mod ownership;
mod placed_file;
pub mod plain;
#[cfg(any(test, fuzzing))]
pub mod properties;
mod published;
mod recording;
pub mod report;
mod request_body;
mod serve;
mod server;
mod server_info_file;
mod settings;
mod shares;
mod start_error;
mod status;
mod stop;
mod tls;
mod upstream_failure;
mod upstream_proxy;
mod upstream_stream;
mod upstream_url;
mod users;
mod visible_cut;

pub use args::{AFTER_HELP, LogFormat, ServeArgs};
pub use serve::serve;
pub use start_error::StartError;
