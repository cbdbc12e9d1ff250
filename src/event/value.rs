//! PURE: a JSON value whose objects keep the order of their members, as JavaScript does, and how `JSON.stringify` writes it.
use std::{collections::BTreeMap, fmt, io};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

use super::number;

/// Key under which the parser delivers the digits of a number.
const NUMBER: &str = "$serde_json::private::Number";

/// A JSON value. The order of members does not matter for equality.
#[derive(Debug, Clone)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, as `JSON.stringify` writes it; one that a double would change keeps its digits.
    Number(Box<str>),
    /// A string.
    String(String),
    /// An array.
    Array(Vec<Json>),
    /// An object.
    Object(Members),
}

/// Members of an object, each name once, in the order of JavaScript: array indices first, then the others as they came.
#[derive(Debug, Clone, Default)]
pub struct Members(Vec<(String, Json)>);

/// Blanks in a text of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// None.
    Compact,
    /// A line for each member or element, indented by two blanks for each level.
    Pretty,
}

impl Json {
    /// Appends the value as `JSON.stringify` writes it.
    ///
    /// # Errors
    /// The errors of the writer.
    pub fn write(&self, to: &mut impl io::Write, form: Form) -> io::Result<()> {
        self.write_at(to, form, 0)
    }

    fn write_at(&self, to: &mut impl io::Write, form: Form, depth: usize) -> io::Result<()> {
        match self {
            Json::Null => to.write_all(b"null"),
            Json::Bool(value) => write!(to, "{value}"),
            Json::Number(text) => to.write_all(text.as_bytes()),
            Json::String(text) => write_string(to, text),
            Json::Array(elements) if elements.is_empty() => to.write_all(b"[]"),
            Json::Array(elements) => {
                for (index, element) in elements.iter().enumerate() {
                    to.write_all(if index == 0 { b"[" } else { b"," })?;
                    new_line(to, form, depth + 1)?;
                    element.write_at(to, form, depth + 1)?;
                }
                new_line(to, form, depth)?;
                to.write_all(b"]")
            }
            Json::Object(members) => members.write_at(to, form, depth),
        }
    }
}

impl Members {
    /// Returns the value of a member.
    pub fn get(&self, name: &str) -> Option<&Json> {
        let member = self.0.iter().find(|(other, _)| other == name);
        member.map(|(_, value)| value)
    }

    /// Returns these members with another value of one of them, or with a further member at the end.
    pub fn with(mut self, name: &str, value: Json) -> Self {
        match self.0.iter_mut().find(|(other, _)| other == name) {
            Some(member) => member.1 = value,
            None => self.0.push((name.to_owned(), value)),
        }
        self
    }

    /// Iterates over the members, sorted by name.
    pub fn sorted(&self) -> impl Iterator<Item = (&str, &Json)> {
        let mut members: Vec<_> = self.0.iter().collect();
        members.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        members.into_iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Appends the object as `JSON.stringify` writes it.
    ///
    /// # Errors
    /// The errors of the writer.
    pub fn write(&self, to: &mut impl io::Write, form: Form) -> io::Result<()> {
        self.write_at(to, form, 0)
    }

    fn write_at(&self, to: &mut impl io::Write, form: Form, depth: usize) -> io::Result<()> {
        if self.0.is_empty() {
            return to.write_all(b"{}");
        }
        for (index, (name, value)) in self.0.iter().enumerate() {
            to.write_all(if index == 0 { b"{" } else { b"," })?;
            new_line(to, form, depth + 1)?;
            write_string(to, name)?;
            to.write_all(if form == Form::Pretty { b": " } else { b":" })?;
            value.write_at(to, form, depth + 1)?;
        }
        new_line(to, form, depth)?;
        to.write_all(b"}")
    }
}

fn new_line(to: &mut impl io::Write, form: Form, depth: usize) -> io::Result<()> {
    if form == Form::Pretty {
        to.write_all(b"\n")?;
        (0..depth).try_for_each(|_| to.write_all(b"  "))?;
    }
    Ok(())
}

fn write_string(to: &mut impl io::Write, text: &str) -> io::Result<()> {
    // serde_json escapes the same characters in the same way.
    Ok(serde_json::to_writer(to, text)?)
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Json::Null, Json::Null) => true,
            (Json::Bool(one), Json::Bool(other)) => one == other,
            (Json::Number(one), Json::Number(other)) => number::is_same(one, other),
            (Json::String(one), Json::String(other)) => one == other,
            (Json::Array(one), Json::Array(other)) => one == other,
            (Json::Object(one), Json::Object(other)) => one == other,
            _ => false,
        }
    }
}

impl Eq for Json {}

impl PartialEq for Members {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.sorted().eq(other.sorted())
    }
}

impl Eq for Members {}

impl FromIterator<(String, Json)> for Members {
    /// As in JavaScript, the last value of a name counts, at the place of the first one.
    fn from_iter<T: IntoIterator<Item = (String, Json)>>(members: T) -> Self {
        let members: Vec<_> = members.into_iter().collect();
        let mut places = BTreeMap::new();
        for (index, (name, _)) in members.iter().enumerate() {
            places.entry(name.as_str()).or_insert((index, index)).1 = index;
        }
        let mut order: Vec<_> = places
            .iter()
            .map(|(name, (first, last))| (array_index(name).map_or((1, *first as u64), |index| (0, index)), *last))
            .collect();
        order.sort_unstable();
        let mut members: Vec<_> = members.into_iter().map(Some).collect();
        Members(
            order
                .into_iter()
                .filter_map(|(_, index)| members[index].take())
                .collect(),
        )
    }
}

/// Returns the number of a name that is an array index in JavaScript.
fn array_index(name: &str) -> Option<u64> {
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
    let index = name.parse::<u32>().ok().filter(|_| is_number)?;
    (index < u32::MAX).then_some(index.into())
}

impl From<Value> for Json {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(value),
            Value::Number(value) => number_of(&value.to_string()),
            Value::String(text) => Json::String(text),
            Value::Array(elements) => Json::Array(elements.into_iter().map(Json::from).collect()),
            Value::Object(members) => {
                let members = members.into_iter().map(|(name, value)| (name, Json::from(value)));
                Json::Object(members.collect())
            }
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

fn number_of(digits: &str) -> Json {
    Json::Number(number::canonical(digits).into())
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(number_of(&value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(number_of(&value.to_string()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(Json::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element()? {
            elements.push(element);
        }
        Ok(Json::Array(elements))
    }

    /// With the feature `arbitrary_precision`, a number that is not a small integer is a map with one private key.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut members = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == NUMBER {
                let digits: String = map.next_value()?;
                return Ok(number_of(&digits));
            }
            members.push((name, map.next_value()?));
        }
        Ok(Json::Object(members.into_iter().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str, form: Form) -> String {
        let value: Json = serde_json::from_str(text).expect(text);
        let mut bytes = Vec::new();
        value.write(&mut bytes, form).expect("memory");
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn members_keep_their_order_as_in_javascript() {
        for (text, expected) in [
            (r#"{"b":1,"a":2}"#, r#"{"b":1,"a":2}"#),
            (r#"{"b":1,"10":2,"9":3,"a":4}"#, r#"{"9":3,"10":2,"b":1,"a":4}"#),
            (r#"{"01":1,"1":2,"-1":3,"":4}"#, r#"{"1":2,"01":1,"-1":3,"":4}"#),
            (
                r#"{"x":1,"4294967295":2,"4294967294":3}"#,
                r#"{"4294967294":3,"x":1,"4294967295":2}"#,
            ),
            (r#"{"a":1,"b":2,"a":3}"#, r#"{"a":3,"b":2}"#),
            (
                r#" [ 1.0 , "\u2028\u007f\u001F\/" ] "#,
                "[1,\"\u{2028}\u{7f}\\u001f/\"]",
            ),
        ] {
            assert_eq!(written(text, Form::Compact), expected);
        }
        let pretty = "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": []\n}";
        assert_eq!(written(r#"{"a":[1,{}],"b":[]}"#, Form::Pretty), pretty);
    }

    #[test]
    fn values_are_equal_whatever_the_order_of_members_is() {
        let read = |text: &str| serde_json::from_str::<Json>(text).expect(text);
        assert_eq!(
            read(r#"{"a":1.50,"b":{"c":[],"d":null}}"#),
            read(r#"{"b":{"d":null,"c":[]},"a":15e-1}"#)
        );
        for other in [r#"{"a":1}"#, r#"{"a":2,"b":1}"#, r#"{"a":1,"c":2}"#, "[1,2]", "null"] {
            assert_ne!(read(r#"{"a":1,"b":2}"#), read(other), "{other}");
        }
        assert_eq!(
            Json::from(serde_json::json!({"b": [1.5, "x"], "a": null})),
            read(r#"{"a":null,"b":[1.5,"x"]}"#)
        );
    }
}
