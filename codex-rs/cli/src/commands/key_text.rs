//! What a proxy says of its key, for people: who could read it, where it came from, and what has become of older ones.

use codex_key_custody::PageKind;
use codex_proxy_client::status::Key;

use super::figures::{moment_of, seconds};
use super::host::Host;
use super::sheet::Sheet;

/// `now` is the proxy's, in Unix time in seconds.
pub(crate) fn write(key: &Key, now: u64, host: Host, sheet: &mut Sheet) {
    sheet.heading("Key");
    sheet.fact("memory", &memory(&key.page));
    sheet.fact("from", &origin(key, now));
    let by = key.rotated_by_uid.map(|uid| format!(", last by {}", host.account(uid)));
    let by = by.unwrap_or_default();
    match key.rotations {
        0 => sheet.fact("replaced", "never"),
        1 => sheet.fact("replaced", &format!("once{by}")),
        count => sheet.fact("replaced", &format!("{count} times{by}")),
    }
    match key.retired {
        0 if key.rotations == 0 => {}
        0 => sheet.fact("older keys", "none in use any more"),
        1 => sheet.fact("older keys", "1 in use, by exchanges that began with it"),
        count => {
            sheet.fact("older keys", &format!("{count} in use, by exchanges that began with them"));
        }
    }
}

/// Which memory it is, and who can look into it.
fn memory(page: &str) -> String {
    let kind = PageKind::ALL.into_iter().find(|kind| kind.as_str() == page);
    let means = match kind {
        Some(PageKind::MemfdSecret) => "no other process can read it, not even root's",
        Some(PageKind::Locked) => "ROOT can read it; it is never written to swap or a core file",
        Some(PageKind::Unlocked) => "ROOT can read it, and it MAY BE WRITTEN TO SWAP",
        None => return page.to_owned(),
    };
    format!("{page}: {means}")
}

fn origin(key: &Key, now: u64) -> String {
    if key.source.is_empty() {
        return "not known here".to_owned(); // An older proxy does not tell.
    }
    let ago = seconds(now.saturating_sub(key.since));
    format!("{}, {ago} ago ({})", key.source, moment_of(key.since))
}

#[cfg(test)]
mod tests {
    use super::super::host::testing::HOST;
    use super::*;

    fn shown(key: &Key) -> Vec<String> {
        let mut sheet = Sheet::new(None);
        write(key, 1_800_000_200, HOST, &mut sheet);
        sheet.lines
    }

    fn first() -> Key {
        Key {
            page: "memfd_secret".to_owned(),
            source: "standard input".to_owned(),
            since: 1_800_000_000,
            ..Key::default()
        }
    }

    #[test]
    fn a_first_key_has_a_memory_and_an_origin() {
        assert_eq!(
            shown(&first()),
            [
                "",
                "Key",
                "  memory            memfd_secret: no other process can read it, not even root's",
                "  from              standard input, 3 min 20 s ago (2027-01-15T08:00:00Z)",
                "  replaced          never",
            ]
        );
    }

    #[test]
    fn a_key_that_replaced_another_says_by_whom_and_which_are_left() {
        for (rotations, rotated_by_uid, retired, replaced, older) in [
            (1, 0, 0, "once, last by root (uid 0)", "none in use any more"),
            (
                2,
                1_000,
                1,
                "2 times, last by alice (uid 1000)",
                "1 in use, by exchanges that began with it",
            ),
            (
                3,
                61_234,
                2,
                "3 times, last by uid 61234",
                "2 in use, by exchanges that began with them",
            ),
        ] {
            let key = Key { rotations, rotated_by_uid: Some(rotated_by_uid), retired, ..first() };
            let shown = shown(&key);
            assert_eq!(shown[4], format!("  replaced          {replaced}"));
            assert_eq!(shown[5], format!("  older keys        {older}"));
        }
    }

    #[test]
    fn who_can_read_it_is_said_plainly() {
        for (page, expected) in [
            ("locked page", "ROOT can read it; it is never written to swap or a core file"),
            ("unlocked page", "ROOT can read it, and it MAY BE WRITTEN TO SWAP"),
        ] {
            let shown = shown(&Key { page: page.to_owned(), ..first() });
            assert_eq!(shown[2], format!("  memory            {page}: {expected}"));
        }
    }

    #[test]
    fn an_older_proxy_tells_of_the_memory_alone() {
        let older = Key { page: "a page of the moon".to_owned(), ..Key::default() };
        let shown = shown(&older);
        assert_eq!(shown[2], "  memory            a page of the moon");
        assert_eq!(shown[3], "  from              not known here");
    }
}
