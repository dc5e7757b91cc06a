//! What holds for any bytes: tried with the corpus by the tests, with anything by `fuzz/`.

use crate::ServerInfo;

/// What can be read as a server-info is read the same from the line that is written of it.
///
/// # Panics
///
/// When the property is broken.
pub fn server_info(bytes: &[u8]) {
    if let Ok(info) = serde_json::from_slice::<ServerInfo>(bytes) {
        let line = info.to_line();
        assert_eq!(line.matches('\n').count(), 1);
        assert_eq!(serde_json::from_str::<ServerInfo>(&line).ok().as_ref(), Some(&info));
    }
}

#[cfg(test)]
#[path = "../../../fuzz/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    use super::replay::replay;

    #[test]
    fn the_corpus_breaks_no_property() {
        replay("server_info", super::server_info);
    }
}
