//! sudo itself: what is installed, what its rules say, and what they really let an account do, tried in a view of the
//! system that only we have.

pub(crate) mod installed;
pub(crate) mod probe;
pub(crate) mod proof;
pub(crate) mod rules;
pub(crate) mod view;
