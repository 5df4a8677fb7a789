//! From values to types, refusing keys that a type does not have.

use std::fmt;
use std::ops::Range;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer as _, Visitor};
use serde::forward_to_deserialize_any;

use super::{Fault, Key, Node, Value};

/// What a value says.
///
/// # Errors
/// The fault with its place.
pub(super) fn from_node<T: DeserializeOwned>(node: &Node) -> Result<T, Fault> {
    T::deserialize(At(node))
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { message: message.to_string(), span: None }
    }
}

impl Fault {
    /// Where it is, unless that is known closer.
    fn or_at(mut self, span: &Range<usize>) -> Self {
        self.span.get_or_insert_with(|| span.clone());
        self
    }
}

struct At<'a>(&'a Node);

impl<'de> de::Deserializer<'de> for At<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let done = match &self.0.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(yes) => visitor.visit_bool(*yes),
            Value::Integer(n) => visitor.visit_i64(*n),
            Value::Float(f) => visitor.visit_f64(*f),
            Value::Text(text) => visitor.visit_str(text),
            Value::List(all) => visitor.visit_seq(Items(all.iter())),
            Value::Table(entries) => visitor.visit_map(Entries { rest: entries.iter(), value: None }),
        };
        done.map_err(|fault| fault.or_at(&self.0.span))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if let Value::Table(entries) = &self.0.value
            && let Some((key, _)) = entries.iter().find(|(key, _)| !fields.contains(&key.name.as_str()))
        {
            let message = format!("`{}` is not known here; there are: {}", key.name.escape_debug(), fields.join(", "));
            return Err(Fault { message, span: Some(key.span.clone()) });
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let span = &self.0.span;
        let one_of = || Fault { message: format!("it is one of: {}", variants.join(", ")), span: Some(span.clone()) };
        let (name, value) = match &self.0.value {
            Value::Text(name) => (name.as_str(), None),
            Value::Table(entries) => match entries.as_slice() {
                [(key, value)] => (key.name.as_str(), Some(value)),
                _ => return Err(one_of()),
            },
            _ => return Err(one_of()),
        };
        if !variants.contains(&name) {
            return Err(one_of());
        }
        visitor.visit_enum(Variant { name, value }).map_err(|fault| fault.or_at(span))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

struct Items<'a>(std::slice::Iter<'a, Node>);

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        self.0.next().map(|node| seed.deserialize(At(node)).map_err(|fault| fault.or_at(&node.span))).transpose()
    }
}

struct Entries<'a> {
    rest: std::slice::Iter<'a, (Key, Node)>,
    value: Option<&'a Node>,
}

impl<'de> de::MapAccess<'de> for Entries<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some((key, value)) = self.rest.next() else { return Ok(None) };
        self.value = Some(value);
        let name: StrDeserializer<'_, Fault> = key.name.as_str().into_deserializer();
        seed.deserialize(name).map(Some).map_err(|fault| fault.or_at(&key.span))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Fault> {
        let node = self.value.take().ok_or_else(|| de::Error::custom("a key has no value"))?;
        seed.deserialize(At(node)).map_err(|fault: Fault| fault.or_at(&node.span))
    }
}

struct Variant<'a> {
    name: &'a str,
    value: Option<&'a Node>,
}

impl<'a, 'de> de::EnumAccess<'de> for Variant<'a> {
    type Error = Fault;
    type Variant = Content<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Content<'a>), Fault> {
        let name: StrDeserializer<'_, Fault> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, Content(self.value)))
    }
}

struct Content<'a>(Option<&'a Node>);

impl<'de> de::VariantAccess<'de> for Content<'_> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        match self.0 {
            None => Ok(()),
            Some(node) => Err(Fault { message: "it takes no value".to_owned(), span: Some(node.span.clone()) }),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        let node = self.0.ok_or_else(|| de::Error::custom("it needs a value: write it as a table of one key"))?;
        seed.deserialize(At(node)).map_err(|fault: Fault| fault.or_at(&node.span))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Fault> {
        let node = self.0.ok_or_else(|| de::Error::custom("it needs a list"))?;
        de::Deserializer::deserialize_any(At(node), visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Fault> {
        let node = self.0.ok_or_else(|| de::Error::custom("it needs a table"))?;
        de::Deserializer::deserialize_struct(At(node), "", fields, visitor)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use std::path::Path;

    use devicevault_core::Device;
    use proptest::prelude::*;

    use super::super::{Document, Value};

    fn device(name: &str, text: &str) -> Result<Device, String> {
        let document = Document::parse(Path::new(name), text.to_owned()).map_err(|e| format!("{e:?}"))?;
        document.get(&document.root).map_err(|e| format!("{e:?}"))
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_its_line() {
        let good = "id = \"1\"\nname = \"sw1\"\nhost = \"192.0.2.1\"\nplatform = \"cisco_ios\"\n";
        device("d.toml", good).unwrap();
        for (more, told) in [
            ("prot = 22\n", "`prot` is not known here"),
            ("port = 99999\n", "column: 8"),
            ("login = { password = { environment = \"X\" } }\n", "it is one of: env, file, command, stored"),
            ("tags = [\"a\", 3]\n", "column: 14"),
            ("enabled = \"yes\"\n", "column: 11"),
        ] {
            let e = device("d.toml", &format!("{good}{more}")).unwrap_err();
            assert!(e.contains(told) && e.contains("line: 5"), "{more}: {e}");
        }
        let e = device("d.toml", &format!("{good}port = 2 2\n")).unwrap_err();
        assert!(e.contains("line: 5") && e.contains("line 5 is: port = 2 2"), "{e}");
        let e = device("d.json", "{\n  \"id\": \"1\",\n  \"name\": 5\n}").unwrap_err();
        assert!(e.contains("line: 3, column: 11") && e.contains("\"name\": 5"), "{e}");
        let e = device("d.json", "{\n  \"id\": \"1\",\n  \"id\": \"2\"}").unwrap_err();
        assert!(e.contains("twice") && e.contains("line: 3"), "{e}");
        let e = device("d.json", "{\n  \"id\": \n}").unwrap_err();
        assert!(e.contains("line: 3"), "{e}");
    }

    #[test]
    fn a_secret_that_stands_where_its_place_should_is_not_shown() {
        let e = device("d.toml", "id = \"1\"\nlogin = { password = \"hunter2\" }\n").unwrap_err();
        assert!(e.contains("line: 2") && !e.contains("hunter2"), "{e}");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[\\[\\]{}=\",:.\\\\a-c0-3 \n-]{0,60}") {
            let _ = Document::parse(Path::new("x.toml"), text.clone());
            let _ = Document::parse(Path::new("x.json"), text);
        }

        #[test]
        fn json_is_taken_apart_as_serde_json_reads_it(value in any_json()) {
            let text = serde_json::to_string_pretty(&value).unwrap();
            let document = Document::parse(Path::new("x.json"), text).unwrap();
            prop_assert_eq!(plain(&document.root.value), value);
        }
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            ".{0,8}".prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(4, 30, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::from),
                proptest::collection::btree_map(".{0,6}", inner, 0..5)
                    .prop_map(|m| serde_json::Value::Object(m.into_iter().collect())),
            ]
        })
    }

    fn plain(value: &Value) -> serde_json::Value {
        match value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(yes) => (*yes).into(),
            Value::Integer(n) => (*n).into(),
            Value::Float(f) => (*f).into(),
            Value::Text(text) => text.clone().into(),
            Value::List(all) => all.iter().map(|n| plain(&n.value)).collect::<Vec<_>>().into(),
            Value::Table(entries) => {
                serde_json::Value::Object(entries.iter().map(|(k, n)| (k.name.clone(), plain(&n.value))).collect())
            }
        }
    }
}
