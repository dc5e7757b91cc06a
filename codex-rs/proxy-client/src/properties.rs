//! What holds for any bytes: tried with the corpus by the tests, with anything by `fuzz/`.

use crate::{RecordsQuery, ServerInfo};

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

/// What is understood as a query for records is written as one line that any URL can hold, and means the same when it
/// is read back. What is not is said without a control character.
///
/// # Panics
///
/// When the property is broken.
pub fn records_query(bytes: &[u8]) {
    let query = match RecordsQuery::parse(&String::from_utf8_lossy(bytes)) {
        Ok(query) => query,
        Err(error) => return assert!(!error.contains(char::is_control), "{error:?}"),
    };
    let text = query.to_query();
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'), "{text:?}");
    assert_eq!(RecordsQuery::parse(&text), Ok(query), "{text:?}");
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
        replay("records_query", super::records_query);
    }
}
