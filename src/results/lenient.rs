//! Values of files that another version wrote, or that are not whole. A value that is not as it should
//! be is missing, and the rest of the file is read all the same.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Number, Value};

/// A value that may be missing, `null`, or of another type than expected. It is written as the
/// value, or as `null`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Maybe<T>(pub Option<T>);

/// A part of a file that is always there. When it is missing, everything in it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Part<T>(pub T);

/// An array. Elements that are not as they should be are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct List<T>(pub Vec<T>);

/// Values by name. Those that are not as they should be are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Map<T>(pub BTreeMap<String, T>);

/// A word of a vocabulary. One that this version does not know is kept as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Word<T> {
    /// A word of the vocabulary.
    Known(T),
    /// A word of another version.
    Other(String),
}

/// A count, a size or a measurement.
pub trait Figure: Copy {
    /// The same as a floating-point number, which is exact up to 2^53.
    fn real(self) -> f64;
}

impl Figure for u64 {
    fn real(self) -> f64 {
        self as f64
    }
}

impl Figure for i64 {
    fn real(self) -> f64 {
        self as f64
    }
}

impl Figure for f64 {
    fn real(self) -> f64 {
        self
    }
}

impl<T: Figure> Maybe<T> {
    /// The figure as a floating-point number, for charts and pages.
    #[must_use]
    pub fn real(&self) -> Option<f64> {
        self.0.map(Figure::real)
    }
}

impl<T: Copy + Default> Maybe<T> {
    /// The figure, or 0. For the writer, which has measured all that it counts.
    #[must_use]
    pub fn or_zero(&self) -> T {
        self.0.unwrap_or_default()
    }
}

impl<T> Default for Maybe<T> {
    fn default() -> Maybe<T> {
        Maybe(None)
    }
}

impl<T> From<T> for Maybe<T> {
    fn from(value: T) -> Maybe<T> {
        Maybe(Some(value))
    }
}

impl<T> From<Option<T>> for Maybe<T> {
    fn from(value: Option<T>) -> Maybe<T> {
        Maybe(value)
    }
}

impl From<&str> for Maybe<String> {
    fn from(text: &str) -> Maybe<String> {
        Maybe(Some(text.to_owned()))
    }
}

impl<T> From<T> for Maybe<Word<T>> {
    fn from(word: T) -> Maybe<Word<T>> {
        Maybe(Some(Word::Known(word)))
    }
}

impl<T: Copy> Maybe<Word<T>> {
    /// The word, when it is one of the vocabulary.
    #[must_use]
    pub fn known(&self) -> Option<T> {
        match self.0 {
            Some(Word::Known(word)) => Some(word),
            Some(Word::Other(_)) | None => None,
        }
    }

    /// The word, when it is none of the vocabulary.
    #[must_use]
    pub fn other(&self) -> Option<&str> {
        match &self.0 {
            Some(Word::Other(word)) => Some(word),
            Some(Word::Known(_)) | None => None,
        }
    }
}

impl<T> Default for List<T> {
    fn default() -> List<T> {
        List(Vec::new())
    }
}

impl<T> From<Vec<T>> for List<T> {
    fn from(values: Vec<T>) -> List<T> {
        List(values)
    }
}

impl<T> FromIterator<T> for List<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> List<T> {
        List(values.into_iter().collect())
    }
}

impl<T> Default for Map<T> {
    fn default() -> Map<T> {
        Map(BTreeMap::new())
    }
}

impl<K: Into<String>, T> FromIterator<(K, T)> for Map<T> {
    fn from_iter<I: IntoIterator<Item = (K, T)>>(values: I) -> Map<T> {
        Map(values.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }
}

/// Access to what a wrapper holds.
macro_rules! holds {
    ($($wrapper:ident<T> $held:ty),*) => {$(
        impl<T> Deref for $wrapper<T> {
            type Target = $held;

            fn deref(&self) -> &$held {
                &self.0
            }
        }

        impl<T> DerefMut for $wrapper<T> {
            fn deref_mut(&mut self) -> &mut $held {
                &mut self.0
            }
        }
    )*};
}

holds!(Maybe<T> Option<T>, Part<T> T, List<T> Vec<T>, Map<T> BTreeMap<String, T>);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Maybe<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Maybe<T>, D::Error> {
        Ok(Maybe(match Value::deserialize(deserializer)? {
            Value::Null => None,
            value => T::deserialize(value).ok(),
        }))
    }
}

impl<'de, T: DeserializeOwned + Default> Deserialize<'de> for Part<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Part<T>, D::Error> {
        Ok(Part(Maybe::deserialize(deserializer)?.0.unwrap_or_default()))
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<List<T>, D::Error> {
        let values = Maybe::<Vec<Value>>::deserialize(deserializer)?.0.unwrap_or_default();
        Ok(values.into_iter().filter_map(|value| T::deserialize(value).ok()).collect())
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Map<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Map<T>, D::Error> {
        let values = Maybe::<BTreeMap<String, Value>>::deserialize(deserializer)?.0;
        let whole = |(name, value)| Some((name, T::deserialize(value).ok()?));
        Ok(values.unwrap_or_default().into_iter().filter_map(whole).collect())
    }
}

/// No count, time or size is larger.
const NUMBER_MAX: f64 = 1e18;

/// Whole numbers up to this are exact in a floating-point number.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// A value in which each number is one that a run could have: a larger one is `null`, and a whole
/// number is an integer even where it was written as `5.0`.
pub(crate) fn plausible(value: Value) -> Value {
    match value {
        Value::Number(number) => plausible_number(number).map_or(Value::Null, Value::Number),
        Value::Array(values) => values.into_iter().map(plausible).collect(),
        Value::Object(values) => {
            values.into_iter().map(|(name, value)| (name, plausible(value))).collect()
        }
        other => other,
    }
}

fn plausible_number(number: Number) -> Option<Number> {
    let real = number.as_f64().filter(|real| real.abs() <= NUMBER_MAX)?;
    let is_whole = real.fract() == 0.0 && real.abs() <= EXACT_MAX;
    #[expect(clippy::cast_possible_truncation, reason = "it is whole and within 2^53")]
    let whole = || Number::from(real as i64);
    Some(if number.is_f64() && is_whole { whole() } else { number })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize, Default, Debug)]
    #[serde(default)]
    struct Thing {
        number: Maybe<f64>,
        text: Maybe<String>,
        list: List<u64>,
        map: Map<u64>,
        part: Part<Inner>,
    }

    #[derive(Deserialize, Default, Debug)]
    #[serde(default)]
    struct Inner {
        number: Maybe<u64>,
    }

    fn read<T: DeserializeOwned>(text: &str) -> T {
        T::deserialize(plausible(serde_json::from_str(text).unwrap())).unwrap()
    }

    #[test]
    fn a_number_is_one_that_a_run_could_have() {
        let real = |text| read::<Maybe<f64>>(text).0;
        assert_eq!((real("-7.5"), real("1e17")), (Some(-7.5), Some(1e17)));
        for none in ["null", "\"7\"", "1e300", "-1e19", "[1]"] {
            assert_eq!(real(none), None, "{none}");
        }
        let count = |text| read::<Maybe<u64>>(text).0;
        assert_eq!((count("7"), count("7.0"), count("-0.0")), (Some(7), Some(7), Some(0)));
        for none in ["-1", "7.5", "18446744073709551615"] {
            assert_eq!(count(none), None, "{none}");
        }
    }

    #[test]
    fn what_is_not_as_it_should_be_is_not_there() {
        let thing: Thing = serde_json::from_str(
            r#"{"number": "7", "text": 7, "list": [1, -1, "x", 2], "map": {"a": 1, "b": null},
                "part": {"number": 3}, "new": 1}"#,
        )
        .unwrap();
        assert_eq!((*thing.number, (*thing.text).clone()), (None, None));
        assert_eq!((&thing.list[..], thing.map.len()), (&[1, 2][..], 1));
        assert_eq!(*thing.part.number, Some(3));
        let nothing: Thing =
            serde_json::from_str(r#"{"list": 3, "map": [], "part": null}"#).unwrap();
        assert!(nothing.part.number.is_none());
        assert!(nothing.list.is_empty() && nothing.map.is_empty() && nothing.number.is_none());
        let all: Thing = serde_json::from_str(r#"{"number": 7, "text": "t"}"#).unwrap();
        assert_eq!((*all.number, all.text.as_deref()), (Some(7.0), Some("t")));
    }

    #[test]
    fn a_word_of_another_version_is_kept() {
        #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Colour {
            Red,
        }
        let word = |text| read::<Maybe<Word<Colour>>>(text);
        let (red, blue, none) = (word("\"red\""), word("\"blue\""), word("7"));
        assert_eq!((red.known(), red.other()), (Some(Colour::Red), None));
        assert_eq!((blue.known(), blue.other()), (None, Some("blue")));
        assert_eq!((none.known(), none.other()), (None, None));
        assert_eq!(serde_json::to_string(&[red, blue, none]).unwrap(), r#"["red","blue",null]"#);
    }
}
