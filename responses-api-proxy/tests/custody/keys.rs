//! Keys that nothing else in any memory looks like.

/// A key that nothing else has, of so many characters.
pub(crate) fn random_key(characters: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bytes = vec![0; characters];
    getrandom::fill(&mut bytes).unwrap();
    bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 64)])).collect()
}
