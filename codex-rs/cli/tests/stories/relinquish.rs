//! `codex proxy relinquish-sudo` on machines with real sudo, and a judge beside it that shares nothing with it.
//!
//! A machine is a private mount namespace in which /etc is a copy and all else that is written to is empty: the host's
//! files stay as they are.

mod bad_states;
mod comparison;
mod crash;
mod generated;
mod guide;
mod machine;
mod prepared;
mod shapes;
mod then_exec;
mod traps;
