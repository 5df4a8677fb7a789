//! The platform format told to others: a JSON Schema for editors, and a reference for people, both made from the types
//! that files are read into.

use std::fmt::Write as _;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::file::PlatformFile;

/// The JSON Schema (draft 7, which editors of TOML know) of platform files.
///
/// ```
/// let schema = devicevault_collectors::platform_schema();
/// assert_eq!(schema["properties"]["name"]["type"], "string");
/// ```
#[must_use]
pub fn platform_schema() -> Value {
    let generator = SchemaSettings::draft07().into_generator();
    let mut schema = generator.into_root_schema_for::<PlatformFile>().to_value();
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".to_owned(), "DeviceVault platform file".into());
        let properties = root.get_mut("properties").and_then(Value::as_object_mut);
        // Editors write `#:schema` as a comment; some tools put the same into a key.
        if let Some(properties) = properties {
            properties.remove("$schema");
        }
    }
    schema
}

const HEAD: &str = "\
# The platform format

Written by `cargo xtask docs` from the types that platform files are read into. How to write one step by step is in
[guide/platforms.md](guide/platforms.md), the platforms there are in [platforms.md](platforms.md).

A platform file is TOML, with these keys and no others. Editors that read `#:schema` lines complete and check it by
[platform.schema.json](platform.schema.json), which `devicevault platform schema` prints too. *Expression* stands for an
expression of Rust's [regex](https://docs.rs/regex) crate, matched without Unicode against one line without its line end.
There is no look-around: say with groups and blocks what is to be kept.
";

/// The reference of platform files, as Markdown.
#[must_use]
pub fn platform_reference() -> String {
    let schema = platform_schema();
    let mut page = HEAD.to_owned();
    let none = Map::new();
    let types = schema.get("definitions").and_then(Value::as_object).unwrap_or(&none);
    table(&mut page, "The file", &schema, types);
    // In the order in which they are first spoken of.
    let mut order: Vec<&str> = Vec::new();
    collect(&schema, types, &mut order);
    for name in order {
        let Some(of) = types.get(name) else { continue };
        if of.get("properties").is_some() {
            table(&mut page, heading(name), of, types);
        } else if let Some(choices) = of.get("oneOf").and_then(Value::as_array) {
            let _ = write!(page, "\n## {}\n\n{}\n\n", heading(name), described(of));
            for choice in choices {
                let _ = writeln!(page, "- `\"{}\"`: {}", word(choice, "const"), described(choice));
            }
        }
    }
    page
}

/// What a type is called for people: the table or value that it describes.
fn heading(name: &str) -> &str {
    name.strip_suffix("Section").unwrap_or(name)
}

fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn described(of: &Value) -> String {
    word(of, "description").replace('\n', " ")
}

fn referred(value: &Value) -> Option<&str> {
    value.get("$ref").and_then(Value::as_str)?.rsplit('/').next()
}

/// Names of the types that a value speaks of, depth first.
fn collect<'a>(value: &'a Value, types: &'a Map<String, Value>, order: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => {
            if let Some(name) = referred(value).filter(|n| !order.contains(n)) {
                order.push(name);
                if let Some(of) = types.get(name) {
                    collect(of, types, order);
                }
            }
            map.iter().filter(|(k, _)| *k != "definitions").for_each(|(_, v)| collect(v, types, order));
        }
        Value::Array(items) => items.iter().for_each(|v| collect(v, types, order)),
        _ => {}
    }
}

fn table(page: &mut String, title: &str, of: &Value, types: &Map<String, Value>) {
    let _ = write!(page, "\n## {title}\n\n{}\n\n", described(of));
    page.push_str("| key | value | default | meaning |\n|---|---|---|---|\n");
    let required: Vec<&str> =
        of.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let none = Map::new();
    let properties = of.get("properties").and_then(Value::as_object).unwrap_or(&none);
    // What a file cannot do without comes first.
    let (needed, free): (Vec<_>, Vec<_>) = properties.iter().partition(|(k, _)| required.contains(&k.as_str()));
    for (key, value) in needed.into_iter().chain(free) {
        let default = if required.contains(&key.as_str()) { "required".to_owned() } else { default(value) };
        let own = described(value);
        let meaning = match referred(value).or_else(|| of_all(value)).and_then(|n| types.get(n)) {
            Some(of) if own.is_empty() => described(of),
            _ => own,
        };
        let _ = writeln!(page, "| `{key}` | {} | {default} | {} |", kind(value), meaning.replace('|', "\\|"));
    }
}

/// A reference with words of its own beside it, or to what may be left out, is wrapped.
fn of_all(value: &Value) -> Option<&str> {
    ["allOf", "anyOf"].iter().find_map(|w| value.get(w).and_then(Value::as_array)?.iter().find_map(referred))
}

fn default(value: &Value) -> String {
    match value.get("default") {
        None if word(value, "type") == "array" => "none".to_owned(),
        None | Some(Value::Null) => String::new(),
        Some(Value::Array(items)) if items.is_empty() => "none".to_owned(),
        Some(Value::Object(_)) => String::new(),
        Some(other) => format!("`{other}`"),
    }
}

/// A value's type in words, linked where it has a section.
fn kind(value: &Value) -> String {
    let choices = value.get("anyOf").and_then(Value::as_array);
    let is_choice = choices.is_some_and(|c| c.iter().any(|c| word(c, "type") == "string"));
    if let Some(name) = referred(value).or_else(|| of_all(value)).filter(|_| !is_choice) {
        if name == "Expression" {
            return "expression".to_owned();
        }
        let title = heading(name);
        return format!("[{title}](#{})", title.to_ascii_lowercase());
    }
    if let Some(choices) = choices {
        let words: Vec<_> = choices.iter().filter(|c| word(c, "type") != "null").map(kind).collect();
        return words.join(" or ");
    }
    let types = match value.get("type") {
        Some(Value::String(one)) => one.as_str(),
        Some(Value::Array(some)) => some.iter().filter_map(Value::as_str).find(|t| *t != "null").unwrap_or_default(),
        _ => "",
    };
    match types {
        "string" => "text".to_owned(),
        "boolean" => "true or false".to_owned(),
        "integer" => "number".to_owned(),
        "array" => format!("list of {}", value.get("items").map(kind).unwrap_or_default()),
        other => other.to_owned(),
    }
}
