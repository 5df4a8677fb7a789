//! TOML with places.

use std::ops::Range;

use ::toml::Spanned;
use ::toml::de::{DeTable, DeValue};

use super::{Fault, Key, Node, Value};

pub(super) fn parse(text: &str) -> Result<Node, Fault> {
    let table =
        DeTable::parse(text).map_err(|e| Fault { message: e.message().trim().replace('\n', " "), span: e.span() })?;
    // Of the whole, the beginning is where people look.
    Ok(Node { span: 0..0, value: table_of(table.into_inner(), &(0..0))? })
}

fn table_of(table: DeTable<'_>, _span: &Range<usize>) -> Result<Value, Fault> {
    let mut entries = Vec::new();
    for (key, value) in table {
        let span = key.span();
        entries.push((Key { name: key.into_inner().into_owned(), span }, node(value)?));
    }
    // In the order of the text, so that what is told first stands first.
    entries.sort_by_key(|(key, _)| key.span.start);
    Ok(Value::Table(entries))
}

fn node(value: Spanned<DeValue<'_>>) -> Result<Node, Fault> {
    let span = value.span();
    let wrong = |message: &str| Fault { message: message.to_owned(), span: Some(span.clone()) };
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Boolean(yes) => Value::Bool(yes),
        DeValue::Integer(n) => {
            let parsed = i64::from_str_radix(n.as_str(), n.radix());
            Value::Integer(parsed.map_err(|_| wrong("the number is too large"))?)
        }
        DeValue::Float(f) => Value::Float(f.as_str().parse().map_err(|_| wrong("it is no number"))?),
        DeValue::Datetime(at) => Value::Text(at.to_string()),
        DeValue::Array(all) => Value::List(all.into_iter().map(node).collect::<Result<_, _>>()?),
        DeValue::Table(table) => table_of(table, &span)?,
    };
    Ok(Node { span, value })
}
