//! What two configurations mean, apart from us: the last look at an edit before it is handed out.

use toml_edit::{Array, DocumentMut, Item, TableLike, Value};

use crate::PROVIDER;

/// Whether both say the same, but for the selector and our table.
pub(super) fn is_same_without_us(one: &str, other: &str) -> bool {
    match (without_us(one), without_us(other)) {
        (Some(one), Some(other)) => is_same_table(one.as_table(), other.as_table()),
        _ => false,
    }
}

fn without_us(text: &str) -> Option<DocumentMut> {
    let mut document: DocumentMut = text.parse().ok()?;
    document.remove("model_provider");
    let providers = document.get_mut("model_providers").and_then(Item::as_table_like_mut);
    if let Some(providers) = providers {
        providers.remove(PROVIDER);
        if providers.is_empty() {
            document.remove("model_providers");
        }
    }
    Some(document)
}

fn is_same_table(one: &dyn TableLike, other: &dyn TableLike) -> bool {
    one.len() == other.len()
        && one.iter().all(|(key, item)| other.get(key).is_some_and(|other| is_same(item, other)))
}

fn is_same(one: &Item, other: &Item) -> bool {
    if let (Item::Value(one), Item::Value(other)) = (one, other) {
        return is_same_value(one, other);
    }
    if let (Item::ArrayOfTables(one), Item::ArrayOfTables(other)) = (one, other) {
        let mut pairs = one.iter().zip(other.iter());
        return one.len() == other.len() && pairs.all(|(one, other)| is_same_table(one, other));
    }
    match (one.as_table_like(), other.as_table_like()) {
        (Some(one), Some(other)) => is_same_table(one, other),
        _ => false,
    }
}

fn is_same_value(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::String(one), Value::String(other)) => one.value() == other.value(),
        (Value::Integer(one), Value::Integer(other)) => one.value() == other.value(),
        // As bits: not-a-number is the same as itself here.
        (Value::Float(one), Value::Float(other)) => {
            one.value().to_bits() == other.value().to_bits()
        }
        (Value::Boolean(one), Value::Boolean(other)) => one.value() == other.value(),
        (Value::Datetime(one), Value::Datetime(other)) => one.value() == other.value(),
        (Value::Array(one), Value::Array(other)) => is_same_array(one, other),
        (Value::InlineTable(one), Value::InlineTable(other)) => is_same_table(one, other),
        _ => false,
    }
}

fn is_same_array(one: &Array, other: &Array) -> bool {
    let mut pairs = one.iter().zip(other.iter());
    one.len() == other.len() && pairs.all(|(one, other)| is_same_value(one, other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_else_is_seen_either_way() {
        for (one, other) in [
            ("a = 1\n", ""),
            ("a = 1\n", "a = 2\n"),
            ("a = 1\n", "a = 1.0\n"),
            ("a = 'x'\n", "a = 'y'\n"),
            ("a = true\n", "a = false\n"),
            ("a = 0.0\n", "a = -0.0\n"),
            ("a = 2026-01-01\n", "a = 2026-01-02\n"),
            ("a = [1]\n", "a = [1, 2]\n"),
            ("a = [1, 2]\n", "a = [2, 1]\n"),
            ("[a]\nb = 1\n", "[a]\n"),
            ("[[a]]\n", "[[a]]\n[[a]]\n"),
            ("[a]\n", "[b]\n"),
            ("[model_providers.b]\nname = 'x'\n", "[model_providers.b]\nname = 'y'\n"),
            ("a = 1\n", "a = \n"),
        ] {
            assert!(!is_same_without_us(one, other), "{one:?} {other:?}");
            assert!(!is_same_without_us(other, one), "{other:?} {one:?}");
        }
    }

    #[test]
    fn form_and_we_make_no_difference() {
        for (one, other) in [
            ("a.b = 1\n", "[a]\nb = 0x1 # c\n"),
            ("a = nan\n", "a = nan\n"),
            ("a = { b = 1 }\n", "[a]\nb = 1\n"),
            ("model_provider = 'x'\n", ""),
            ("[model_providers.openai-proxy]\nname = 'x'\n", "[model_providers]\n"),
        ] {
            assert!(is_same_without_us(one, other), "{one:?} {other:?}");
        }
    }
}
