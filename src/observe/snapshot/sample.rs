//! One sample of an OpenMetrics text: a name, labels, a number.

/// A line of the text, behind the prefix of all our names.
pub(super) struct Sample<'a> {
    pub(super) name: &'a str,
    labels: Vec<(&'a str, String)>,
    value: &'a str,
}

const NO_WHOLE_NUMBER: &str = "has no whole number";

impl<'a> Sample<'a> {
    pub(super) fn parse(line: &'a str) -> Option<Sample<'a>> {
        let end = line.find(['{', ' '])?;
        let (name, mut rest) = line.split_at(end);
        let mut labels = Vec::new();
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside;
            loop {
                let (key, behind) = rest.split_once("=\"")?;
                let (value, behind) = quoted(behind)?;
                labels.push((key, value));
                match behind.strip_prefix(',') {
                    Some(next) => rest = next,
                    None => break rest = behind.strip_prefix('}')?,
                }
            }
        }
        let value = rest.strip_prefix(' ')?;
        Some(Sample { name, labels, value })
    }

    pub(super) fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(name, _)| *name == key).map(|(_, value)| value.as_str())
    }

    /// A label that is a number.
    pub(super) fn number(&self, key: &str) -> Result<u64, &'static str> {
        let label = self.label(key).ok_or("lacks a label")?;
        digits(label).ok_or("has a label that is no number")
    }

    pub(super) fn whole(&self) -> Result<u64, &'static str> {
        digits(self.value).ok_or(NO_WHOLE_NUMBER)
    }
}

/// A number that is nothing but digits.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The value of a label and what is behind its closing quote.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                c @ ('\\' | '"') => c,
                _ => return None,
            }),
            c => value.push(c),
        }
    }
    None
}
