//! Values of files that somebody else wrote, perhaps not to the end: what is not as it should be is
//! not there, and the rest of the file is read all the same.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A value that may be missing, `null`, or something else than was to come.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Maybe<T>(pub(crate) Option<T>);

impl<T> Default for Maybe<T> {
    fn default() -> Maybe<T> {
        Maybe(None)
    }
}

impl<T> std::ops::Deref for Maybe<T> {
    type Target = Option<T>;

    fn deref(&self) -> &Option<T> {
        &self.0
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Maybe<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Maybe<T>, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Ok(Maybe(T::deserialize(value).ok()))
    }
}

/// A figure; nothing when it was not measured, or is none that any run could have.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Number(pub(crate) Option<f64>);

/// No count, time or size is larger.
const NUMBER_MAX: f64 = 1e18;

impl std::ops::Deref for Number {
    type Target = Option<f64>;

    fn deref(&self) -> &Option<f64> {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Number, D::Error> {
        let number = Maybe::<f64>::deserialize(deserializer)?.0;
        Ok(Number(number.filter(|number| number.abs() <= NUMBER_MAX)))
    }
}

/// A part that is as it should be, or one in which nothing is there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Part<T>(pub(crate) T);

impl<T> std::ops::Deref for Part<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<'de, T: DeserializeOwned + Default> Deserialize<'de> for Part<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Part<T>, D::Error> {
        Ok(Part(Maybe::deserialize(deserializer)?.0.unwrap_or_default()))
    }
}

/// Those elements of an array that are as they should be.
#[derive(Clone, Debug)]
pub(crate) struct List<T>(pub(crate) Vec<T>);

impl<T> Default for List<T> {
    fn default() -> List<T> {
        List(Vec::new())
    }
}

impl<T> std::ops::Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<List<T>, D::Error> {
        let values = Maybe::<Vec<Value>>::deserialize(deserializer)?.0.unwrap_or_default();
        Ok(List(values.into_iter().filter_map(|value| T::deserialize(value).ok()).collect()))
    }
}

/// Those values of an object that are as they should be.
#[derive(Clone, Debug)]
pub(crate) struct Map<T>(pub(crate) BTreeMap<String, T>);

impl<T> Default for Map<T> {
    fn default() -> Map<T> {
        Map(BTreeMap::new())
    }
}

impl<T> std::ops::Deref for Map<T> {
    type Target = BTreeMap<String, T>;

    fn deref(&self) -> &BTreeMap<String, T> {
        &self.0
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Map<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Map<T>, D::Error> {
        let values = Maybe::<BTreeMap<String, Value>>::deserialize(deserializer)?.0;
        let whole = |(name, value)| Some((name, T::deserialize(value).ok()?));
        Ok(Map(values.unwrap_or_default().into_iter().filter_map(whole).collect()))
    }
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
        number: Number,
    }

    #[test]
    fn a_number_is_one_that_a_run_could_have() {
        let read = |text| serde_json::from_str::<Number>(text).unwrap().0;
        assert_eq!((read("-7.5"), read("1e17")), (Some(-7.5), Some(1e17)));
        for none in ["null", "\"7\"", "1e300", "-1e19", "[1]"] {
            assert_eq!(read(none), None, "{none}");
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
        assert_eq!((&*thing.list, thing.map.len()), (&[1, 2][..], 1));
        assert_eq!(*thing.part.number, Some(3.0));
        let nothing: Thing =
            serde_json::from_str(r#"{"list": 3, "map": [], "part": null}"#).unwrap();
        assert!(nothing.part.number.is_none());
        assert!(nothing.list.is_empty() && nothing.map.is_empty() && nothing.number.is_none());
        let all: Thing = serde_json::from_str(r#"{"number": 7, "text": "t"}"#).unwrap();
        assert_eq!((*all.number, all.text.as_deref()), (Some(7.0), Some("t")));
    }
}
