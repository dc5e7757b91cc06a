//! The keys in use: the one that new exchanges get, and those that running ones began with.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use http::HeaderValue;

use crate::mask::REVEALING_BYTES;
use crate::placeholder::{self, PLACEHOLDER_BYTES, Placeholder};
use crate::{ApiKey, PageKind};

/// The current key, those that were replaced while exchanges still had them, and which placeholder stands for which.
///
/// An exchange holds the key that it began with; a replaced one is wiped when the last of them has ended.
#[derive(Debug)]
pub struct KeyRing(Mutex<Keys>);

struct Keys {
    /// `None` once it is closed.
    current: Option<Arc<ApiKey>>,
    retired: Vec<Weak<ApiKey>>,
    /// Placeholders that have not been used yet.
    unused: HashMap<Placeholder, Arc<ApiKey>>,
}

/// A key for one exchange, to be held until that has ended.
#[derive(Debug)]
pub struct LentKey {
    key: Arc<ApiKey>,
    ring: Arc<KeyRing>,
    placeholder: Hidden,
}

/// A placeholder that is not shown.
struct Hidden(Placeholder);

impl KeyRing {
    /// A ring with one key.
    pub fn new(key: ApiKey) -> Self {
        let (current, retired, unused) = (Some(Arc::new(key)), Vec::new(), HashMap::new());
        Self(Mutex::new(Keys { current, retired, unused }))
    }

    /// The memory that the key stands in which new exchanges get; `None` once it is closed.
    pub fn page(&self) -> Option<PageKind> {
        self.keys().current.as_ref().map(|key| key.page())
    }

    /// The current key for a new exchange, with a placeholder that stands for it once; `None` once it is closed.
    ///
    /// # Panics
    ///
    /// The kernel gives no random numbers. Once it has given some it does not stop (getrandom(2)).
    pub fn lend(self: &Arc<Self>) -> Option<LentKey> {
        let placeholder = placeholder::random();
        let mut keys = self.keys();
        let key = keys.current.clone()?;
        keys.unused.insert(placeholder, Arc::clone(&key));
        Some(LentKey { key, ring: Arc::clone(self), placeholder: Hidden(placeholder) })
    }

    /// From here on, new exchanges get this key; none, if it is closed.
    pub fn replace(&self, key: ApiKey) {
        let mut keys = self.keys();
        let Some(current) = &mut keys.current else { return };
        let before = std::mem::replace(current, Arc::new(key));
        keys.retired.retain(|retired| retired.strong_count() > 0);
        keys.retired.push(Arc::downgrade(&before));
        drop(keys);
        drop(before); // The last of it is wiped while nobody waits for us.
    }

    /// Lets go of the key, whoever still has this ring. No exchange gets it from now on.
    pub fn close(&self) {
        let mut keys = self.keys();
        keys.unused.clear();
        keys.current = None;
    }

    /// How many replaced keys are still held.
    pub fn retired(&self) -> usize {
        self.keys().retired.iter().filter(|key| key.strong_count() > 0).count()
    }

    /// `text` with every run of 8 or more bytes of any of these keys replaced by `[key]`.
    pub fn mask<'text>(&self, text: &'text str) -> Cow<'text, str> {
        if text.len() < REVEALING_BYTES {
            return Cow::Borrowed(text); // Most are: methods, and many another word of a record.
        }
        self.all().iter().fold(Cow::Borrowed(text), |text, key| match key.mask(&text) {
            Cow::Borrowed(_) => text,
            Cow::Owned(masked) => Cow::Owned(masked),
        })
    }

    /// The key that this stands for. It never does again.
    pub(crate) fn redeem(&self, placeholder: &Placeholder) -> Option<Arc<ApiKey>> {
        self.keys().unused.remove(placeholder)
    }

    fn all(&self) -> Vec<Arc<ApiKey>> {
        let keys = self.keys();
        let retired = keys.retired.iter().filter_map(Weak::upgrade);
        keys.current.iter().cloned().chain(retired).collect()
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LentKey {
    /// The value of the upstream's `Authorization` field (RFC 6750 section 2.1), with the placeholder. Its `Debug` shows
    /// `Sensitive`.
    pub fn authorization(&self) -> HeaderValue {
        placeholder::field("Bearer ", &self.placeholder.0)
    }

    /// The placeholder alone, for a field of the upstream's own choosing (`api-key`). As [`LentKey::authorization`].
    pub fn bare(&self) -> HeaderValue {
        placeholder::field("", &self.placeholder.0)
    }

    /// The key that it is.
    pub fn key(&self) -> &Arc<ApiKey> {
        &self.key
    }
}

impl Drop for LentKey {
    fn drop(&mut self) {
        self.ring.redeem(&self.placeholder.0); // If it was not used, it never will be.
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Keys(hidden)")
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{PLACEHOLDER_BYTES} characters")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::key;

    fn placeholder_of(lent: &LentKey) -> Placeholder {
        lent.bare().as_bytes().try_into().unwrap()
    }

    #[test]
    fn each_exchange_has_a_placeholder_of_its_own_which_stands_for_the_key_once() {
        let ring = Arc::new(KeyRing::new(key("sk-proj-0123456789")));
        let (one, other) = (ring.lend().unwrap(), ring.lend().unwrap());
        let [placeholder, unused] = [&one, &other].map(placeholder_of);
        assert_ne!(placeholder, unused);
        assert_eq!(one.authorization().as_bytes(), [b"Bearer ", &placeholder[..]].concat());
        assert!(one.authorization().is_sensitive() && one.bare().is_sensitive());
        let shown = format!("{one:?} {:?}", one.authorization());
        assert!(!shown.contains(std::str::from_utf8(&placeholder).unwrap()), "{shown}");
        assert_eq!(ring.redeem(&placeholder).unwrap().bytes(), b"sk-proj-0123456789");
        assert!(ring.redeem(&placeholder).is_none());
        drop(other);
        assert!(ring.redeem(&unused).is_none(), "its exchange has ended");
        assert!(ring.keys().unused.is_empty());
    }

    #[test]
    fn a_replaced_key_lasts_as_long_as_its_exchanges() {
        let ring = Arc::new(KeyRing::new(key("first-key-of-all")));
        let (one, other) = (ring.lend().unwrap(), ring.lend().unwrap());
        ring.replace(key("second-key-of-all"));
        assert_eq!(ring.lend().unwrap().key().bytes(), b"second-key-of-all");
        assert_eq!(one.key().bytes(), b"first-key-of-all");
        assert_eq!(ring.retired(), 1);
        drop(one);
        assert_eq!(ring.redeem(&placeholder_of(&other)).unwrap().bytes(), b"first-key-of-all");
        assert_eq!(ring.retired(), 1);
        drop(other);
        assert_eq!(ring.retired(), 0);
    }

    #[test]
    fn a_ring_that_is_closed_has_no_key_and_gets_none() {
        let ring = Arc::new(KeyRing::new(key("first-key-of-all")));
        let (held, unused) = (ring.lend().unwrap(), ring.lend().unwrap());
        let key_alone = Arc::downgrade(held.key());
        ring.close();
        assert!(ring.lend().is_none() && ring.page().is_none());
        assert!(ring.redeem(&placeholder_of(&unused)).is_none());
        drop((held, unused));
        assert_eq!(key_alone.strong_count(), 0);
        ring.replace(key("second-key-of-all"));
        assert!(ring.lend().is_none());
    }

    #[test]
    fn a_key_that_nobody_holds_is_gone_at_once() {
        let ring = KeyRing::new(key("first-key-of-all"));
        ring.replace(key("second-key-of-all"));
        ring.replace(key("third-key-of-all"));
        assert_eq!(ring.retired(), 0);
    }

    #[test]
    fn every_key_that_is_still_held_is_masked() {
        let ring = Arc::new(KeyRing::new(key("0123456789")));
        let held = ring.lend().unwrap();
        ring.replace(key("abcdefghij"));
        let text = "0123456789 abcdefghij 0123-abcd";
        assert_eq!(ring.mask(text), "[key] [key] 0123-abcd");
        drop(held);
        assert_eq!(ring.mask(text), "0123456789 [key] 0123-abcd");
    }
}
