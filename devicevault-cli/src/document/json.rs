//! JSON (RFC 8259) with places. serde_json says whether a text is JSON; here it is only taken apart.

use std::ops::Range;

use serde::de::IgnoredAny;

use super::{Fault, Key, Node, Value};

pub(super) fn parse(text: &str) -> Result<Node, Fault> {
    // Bounds the depth, too.
    if let Err(e) = serde_json::from_str::<IgnoredAny>(text) {
        let before: usize = text.split_inclusive('\n').take(e.line().saturating_sub(1)).map(str::len).sum();
        let at = (before + e.column().saturating_sub(1)).min(text.len());
        let message = e.to_string();
        let message = message.split(" at line ").next().unwrap_or_default().to_owned();
        return Err(Fault { message, span: Some(at..at) });
    }
    Reader { text, at: 0 }.node()
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip_blanks(&mut self) {
        let blanks = self.rest().bytes().take_while(u8::is_ascii_whitespace).count();
        self.at += blanks;
    }

    /// Goes past this character, if it is next.
    fn take(&mut self, c: char) -> bool {
        self.skip_blanks();
        let is = self.rest().starts_with(c);
        self.at += if is { c.len_utf8() } else { 0 };
        is
    }

    fn slice(&self, span: &Range<usize>) -> &str {
        self.text.get(span.clone()).unwrap_or_default()
    }

    fn wrong(&self, message: &str) -> Fault {
        Fault { message: message.to_owned(), span: Some(self.at..self.at) }
    }

    fn node(&mut self) -> Result<Node, Fault> {
        self.skip_blanks();
        let start = self.at;
        let value = match self.rest().bytes().next() {
            Some(b'{') => self.table()?,
            Some(b'[') => self.list()?,
            Some(b'"') => Value::Text(self.string()?.0),
            Some(_) => self.word()?,
            None => return Err(self.wrong("a value is missing")),
        };
        Ok(Node { span: start..self.at, value })
    }

    fn table(&mut self) -> Result<Value, Fault> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        self.take('{');
        while !self.take('}') {
            self.skip_blanks();
            let (name, span) = self.string()?;
            if entries.iter().any(|(key, _)| key.name == name) {
                return Err(Fault { message: format!("`{}` is there twice", name.escape_debug()), span: Some(span) });
            }
            if !self.take(':') {
                return Err(self.wrong("a colon is missing"));
            }
            entries.push((Key { name, span }, self.node()?));
            self.take(',');
        }
        Ok(Value::Table(entries))
    }

    fn list(&mut self) -> Result<Value, Fault> {
        let mut all = Vec::new();
        self.take('[');
        while !self.take(']') {
            all.push(self.node()?);
            self.take(',');
        }
        Ok(Value::List(all))
    }

    fn string(&mut self) -> Result<(String, Range<usize>), Fault> {
        let start = self.at;
        let mut escaped = false;
        let end = self.rest().bytes().enumerate().skip(1).find(|(_, b)| {
            let ends = *b == b'"' && !escaped;
            escaped = *b == b'\\' && !escaped;
            ends
        });
        let Some((length, _)) = end else { return Err(self.wrong("a text does not end")) };
        self.at = start + length + 1;
        let span = start..self.at;
        let text = serde_json::from_str(self.slice(&span));
        Ok((text.map_err(|_| self.wrong("it is no text"))?, span))
    }

    /// A number, `true`, `false` or `null`.
    fn word(&mut self) -> Result<Value, Fault> {
        let length = self.rest().bytes().take_while(|b| !b",]} \t\r\n".contains(b)).count();
        let span = self.at..self.at + length;
        let value = match self.slice(&span) {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "null" => Value::Null,
            word => match word.parse() {
                Ok(n) => Value::Integer(n),
                Err(_) => Value::Float(word.parse().map_err(|_| self.wrong("it is no value"))?),
            },
        };
        self.at = span.end;
        Ok(value)
    }
}
