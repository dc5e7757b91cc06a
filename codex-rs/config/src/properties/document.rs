//! What a text means, however it is written: the values alone, by key.

use std::collections::BTreeMap;

use toml_edit::{Document, Item, Table, Value};

use crate::{PROVIDER, PROVIDER_NAME};

/// A table.
pub(super) type Members = BTreeMap<String, Node>;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// With its type before it: a date is no string.
    Scalar(String),
    List(Vec<Node>),
    Table(Members),
}

/// All of it; nothing, if it is no TOML.
pub(super) fn meaning(text: &str) -> Option<Members> {
    Document::parse(text).ok().map(|document| members(document.as_table()))
}

pub(super) fn string(text: &str) -> Node {
    Node::Scalar(format!("string {text}"))
}

/// The same document with our table in it.
pub(super) fn with_our_table(mut root: Members, base_url: &str) -> Members {
    let ours = [("name", PROVIDER_NAME), ("base_url", base_url), ("wire_api", "responses")];
    let ours = ours.map(|(key, value)| (key.to_owned(), string(value)));
    let nothing = || Node::Table(Members::new());
    let providers = root.entry("model_providers".to_owned()).or_insert_with(nothing);
    let Node::Table(providers) = providers else { panic!("it has no providers: {providers:?}") };
    providers.insert(PROVIDER.to_owned(), Node::Table(ours.into()));
    root
}

/// The same document with our selector in its root.
pub(super) fn selecting_us(mut root: Members) -> Members {
    root.insert("model_provider".to_owned(), string(PROVIDER));
    root
}

fn members(table: &Table) -> Members {
    table.iter().filter_map(|(key, item)| Some((key.to_owned(), node(item)?))).collect()
}

fn node(item: &Item) -> Option<Node> {
    Some(match item {
        Item::None => return None,
        Item::Value(value) => node_of_value(value),
        Item::Table(table) => Node::Table(members(table)),
        Item::ArrayOfTables(tables) => {
            Node::List(tables.iter().map(|table| Node::Table(members(table))).collect())
        }
    })
}

fn node_of_value(value: &Value) -> Node {
    match value {
        Value::String(it) => string(it.value()),
        Value::Integer(it) => Node::Scalar(format!("integer {}", it.value())),
        // As bits: not-a-number equals itself here, and the zeros differ.
        Value::Float(it) => Node::Scalar(format!("float {:x}", it.value().to_bits())),
        Value::Boolean(it) => Node::Scalar(format!("boolean {}", it.value())),
        Value::Datetime(it) => Node::Scalar(format!("datetime {}", it.value())),
        Value::Array(values) => Node::List(values.iter().map(node_of_value).collect()),
        Value::InlineTable(table) => {
            let members = table.iter().map(|(key, value)| (key.to_owned(), node_of_value(value)));
            Node::Table(members.collect())
        }
    }
}
