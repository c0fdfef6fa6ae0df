//! What templates work on: JSON that keeps the order of its keys, and rows of tables.

use std::fmt::Write as _;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

/// A value in a template.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum Value {
    /// JSON's null, Go's nil.
    #[default]
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// Any other number.
    Float(f64),
    /// Text.
    Str(String),
    /// A list.
    List(Vec<Self>),
    /// A JSON object, keys in the order the daemon sent them.
    Map(Vec<(String, Self)>),
    /// One line of a table.
    Row(Row),
    /// A field that Go's client knows and the daemon sent no value for: no key at all if `omitted`,
    /// else null. It prints as its type does in Go.
    Unset {
        /// `[]`, `map[]` or `<nil>`.
        prints: &'static str,
        /// JSON shows it neither.
        omitted: bool,
    },
    /// A method that returns its argument: the title of a column such as `{{.Label "x"}}`.
    Echo,
}

/// One line of a table: its columns, and what only templates can ask for.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Row {
    /// Columns, which `json` shows too.
    pub(crate) columns: Vec<(&'static str, Value)>,
    /// Methods such as `.Label "x"`: a map to look the argument up in.
    pub(crate) methods: Vec<(&'static str, Value)>,
}

impl Row {
    /// A row with these columns.
    pub(crate) fn new(columns: Vec<(&'static str, Value)>) -> Self {
        Self { columns, methods: Vec::new() }
    }

    /// Adds `.Label "key"` over `labels`.
    pub(crate) fn with_labels(
        mut self,
        labels: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let labels = labels.into_iter().map(|(key, value)| (key, Value::Str(value))).collect();
        self.methods.push(("Label", Value::Map(labels)));
        self
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.columns
            .iter()
            .chain(&self.methods)
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }
}

impl Value {
    /// Reads any JSON document.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(json).map_err(|error| error.to_string())
    }

    /// The field of an object or row.
    pub(crate) fn field(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Map(entries) => {
                entries.iter().find(|(key, _)| key == name).map(|(_, value)| value)
            }
            Self::Row(row) => row.get(name),
            _ => None,
        }
    }

    /// A path of fields, null where one is missing.
    pub(crate) fn at(&self, path: &[&str]) -> &Self {
        path.iter().try_fold(self, |value, name| value.field(name)).unwrap_or(&Self::Null)
    }

    /// The text in a string, else nothing.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Str(text) => text,
            _ => "",
        }
    }

    /// The number in an integer, else zero.
    pub(crate) fn number(&self) -> i64 {
        match self {
            Self::Int(number) => i64::try_from(*number).unwrap_or(i64::MAX),
            Self::Float(number) => *number as i64,
            _ => 0,
        }
    }

    /// The elements of a list, else none.
    pub(crate) fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }

    /// Whether `if` takes the branch: not empty, not zero, not null.
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Self::Null | Self::Unset { .. } => false,
            Self::Bool(value) => *value,
            Self::Int(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Str(text) => !text.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Map(entries) => !entries.is_empty(),
            Self::Row(_) | Self::Echo => true,
        }
    }

    /// The value as Go's `%v` prints it.
    pub(crate) fn print(&self) -> String {
        match self {
            Self::Null => "<no value>".to_owned(),
            Self::Unset { prints, .. } => (*prints).to_owned(),
            Self::Echo => String::new(),
            Self::Str(text) => text.clone(),
            Self::Bool(value) => value.to_string(),
            Self::Int(number) => number.to_string(),
            Self::Float(number) => print_float(*number),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(Self::print_inner).collect();
                format!("[{}]", items.join(" "))
            }
            Self::Map(entries) => {
                let mut entries: Vec<_> = sent(entries).collect();
                entries.sort_by(|a, b| a.0.cmp(&b.0));
                let entries: Vec<String> = entries
                    .iter()
                    .map(|(key, value)| format!("{key}:{}", value.print_inner()))
                    .collect();
                format!("map[{}]", entries.join(" "))
            }
            Self::Row(row) => row.columns.iter().fold(String::new(), |mut text, (_, value)| {
                let _ = write!(text, "{} ", value.print_inner());
                text
            }),
        }
    }

    fn print_inner(&self) -> String {
        match self {
            Self::Null => "<nil>".to_owned(),
            other => other.print(),
        }
    }

    /// The value as JSON in one line. A row's is safe inside of HTML, as Go's encoder makes it by default.
    pub(crate) fn json(&self) -> String {
        // Serialising to memory fails only for keys that aren't strings, and all are.
        let text = serde_json::to_string(self).unwrap_or_default();
        match self {
            Self::Row(_) => {
                text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
            }
            _ => text,
        }
    }
}

/// The entries of an object that the daemon sent.
pub(super) fn sent(entries: &[(String, Value)]) -> impl Iterator<Item = &(String, Value)> {
    entries.iter().filter(|(_, value)| !matches!(value, Value::Unset { omitted: true, .. }))
}

fn print_float(number: f64) -> String {
    if number != 0.0 && (number.abs() >= 1e21 || number.abs() < 1e-4) {
        let text = format!("{number:e}");
        let Some((mantissa, exponent)) = text.split_once('e') else { return text };
        let (sign, digits) =
            exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    number.to_string()
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Str(text)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number.into())
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null | Self::Unset { .. } | Self::Echo => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(number) => match (i64::try_from(*number), u64::try_from(*number)) {
                (Ok(number), _) => serializer.serialize_i64(number),
                (_, Ok(number)) => serializer.serialize_u64(number),
                _ => serializer.serialize_f64(*number as f64),
            },
            Self::Float(number) => serializer.serialize_f64(*number),
            Self::Str(text) => serializer.serialize_str(text),
            Self::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(item)?;
                }
                list.end()
            }
            Self::Map(entries) => {
                let mut map = serializer.serialize_map(Some(sent(entries).count()))?;
                for (key, value) in sent(entries) {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
            Self::Row(row) => {
                let mut columns: Vec<_> = row.columns.iter().collect();
                columns.sort_by_key(|(key, _)| *key);
                let mut map = serializer.serialize_map(Some(columns.len()))?;
                for (key, value) in columns {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Int(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Int(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Str(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Value::Map(entries))
    }
}
