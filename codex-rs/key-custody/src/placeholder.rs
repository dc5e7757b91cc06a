//! What stands in the key's place until the key does.
//!
//! Each exchange has one of its own, which works once. Nobody can guess one, for it has 258 random bits; and it does not
//! tell how long the key is.

use http::HeaderValue;

/// How many characters a placeholder has: six random bits each.
pub(crate) const PLACEHOLDER_BYTES: usize = 43;

pub(crate) type Placeholder = [u8; PLACEHOLDER_BYTES];

const CHARACTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// One that has never been.
pub(crate) fn random() -> Placeholder {
    let mut bytes = [0; PLACEHOLDER_BYTES];
    // Once the kernel has random numbers, getrandom(2) does not fail; and a proxy that has none does not start.
    getrandom::fill(&mut bytes).expect("getrandom(2) does not fail");
    bytes.map(|byte| CHARACTERS[usize::from(byte % 64)])
}

/// A field's value with it.
pub(crate) fn field(scheme: &str, placeholder: &Placeholder) -> HeaderValue {
    let value = [scheme.as_bytes(), placeholder].concat();
    let mut value = HeaderValue::try_from(value).expect("these characters may stand in a field");
    value.set_sensitive(true);
    value
}
