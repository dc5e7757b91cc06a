//! HPACK's Huffman code (RFC 7541 appendix B), as far as it has words for a key: a client that speaks HTTP/2
//! leaves keys in this form.

/// All codes of up to 13 bits, which is every byte that a key may have: a length in bits, and its symbols in
/// their order. That is all there is to know, because the code is canonical: codes of one length count up
/// with their symbols.
const LENGTHS: [(u32, &str); 8] = [
    (5, "012aceiost"),
    (6, " %-./3456789=A_bdfghlmnpru"),
    (7, ":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, "&*,;XZ"),
    (10, "!\"()?"),
    (11, "'+|"),
    (12, "#>"),
    (13, "\0$@[]~"),
];

/// The code of a byte, and how many bits it has.
fn code(symbol: u8) -> (usize, u32) {
    let (mut next, mut bits_before) = (0, 0);
    for (bits, symbols) in LENGTHS {
        next <<= bits - bits_before;
        if let Some(place) = symbols.bytes().position(|known| known == symbol) {
            return (next + place, bits);
        }
        next += symbols.len();
        bits_before = bits;
    }
    panic!("the byte {symbol:#04x} stands in no key");
}

fn bits(text: &[u8]) -> Vec<bool> {
    let codes = text.iter().map(|symbol| code(*symbol));
    codes.flat_map(|(code, bits)| (0..bits).rev().map(move |bit| (code >> bit) & 1 == 1)).collect()
}

fn bytes(bits: &[bool]) -> Vec<u8> {
    let whole = bits.chunks_exact(8);
    whole.map(|bits| bits.iter().fold(0, |byte, bit| (byte << 1) | u8::from(*bit))).collect()
}

/// A string as it is sent, filled up with ones (RFC 7541 section 5.2).
pub(crate) fn encode(text: &[u8]) -> Vec<u8> {
    let mut bits = bits(text);
    bits.resize(bits.len().next_multiple_of(8), true);
    bytes(&bits)
}

/// The bytes that this text alone decides where its first bit is bit number `shift` of a byte, whatever
/// stands before it and after it. With all eight shifts, that is every place that it can have in a longer
/// string.
pub(crate) fn inner_bytes(text: &[u8], shift: usize) -> Vec<u8> {
    let begun_by_others = (8 - shift) % 8;
    bytes(bits(text).get(begun_by_others..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7541 appendices C.4 and C.6.
    const EXAMPLES: [(&str, &str); 9] = [
        ("www.example.com", "f1e3c2e5f23a6ba0ab90f4ff"),
        ("no-cache", "a8eb10649cbf"),
        ("custom-key", "25a849e95ba97d7f"),
        ("custom-value", "25a849e95bb8e8b4bf"),
        ("302", "6402"),
        ("private", "aec3771a4b"),
        ("Mon, 21 Oct 2013 20:13:21 GMT", "d07abe941054d444a8200595040b8166e082a62d1bff"),
        ("https://www.example.com", "9d29ad171863c78f0b97c8e9ae82ae43d3"),
        (
            "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
            "94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
        ),
    ];

    #[test]
    fn the_examples_of_the_rfc_are_encoded_as_it_says() {
        for (text, encoded) in EXAMPLES {
            let hex: String =
                encode(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, encoded, "{text}");
        }
        // No example has these; appendix B lists them as 7fb and 1ffd.
        assert_eq!((code(b'+'), code(b'~')), ((0x7fb, 11), (0x1ffd, 13)));
    }

    #[test]
    fn what_stands_before_a_text_only_shifts_it() {
        let text = "sk-Y_+~/=.0123456789";
        let mut shifts_seen = [false; 8];
        let zeros = (0..8).map(|count| "0".repeat(count)); // Five bits each: every shift once.
        for before in zeros.chain(["Bearer ", "Authorization: Bearer "].map(str::to_owned)) {
            let encoded = encode(format!("{before}{text}").as_bytes());
            let shift = bits(before.as_bytes()).len() % 8;
            shifts_seen[shift] = true;
            let inner = inner_bytes(text.as_bytes(), shift);
            assert!(encoded.windows(inner.len()).any(|found| found == inner), "{before:?}");
            assert!(inner.len() + 1 >= bits(text.as_bytes()).len() / 8, "too little is looked for");
        }
        assert_eq!(shifts_seen, [true; 8]);
    }
}
