//! No core file: soft and hard RLIMIT_CORE at 0 (setrlimit(2)).
//!
//! A pipe in `core_pattern` ignores this limit (core(5)); [`dumpable`](crate::dumpable) covers it.

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::HardeningError;

pub(crate) fn set_to_zero() -> Result<(), HardeningError> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(HardeningError::CoreLimit)?;
    match getrlimit(Resource::RLIMIT_CORE) {
        Ok((0, 0)) => Ok(()),
        Ok(_) => Err(HardeningError::CoreLimit(Errno::EPERM)),
        Err(errno) => Err(HardeningError::CoreLimit(errno)),
    }
}
