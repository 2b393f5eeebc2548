//! Numbers in few characters: a column has six.

/// A rate: `0`, `0.4`, `312`, `96.5k`, `1.2M`.
#[must_use]
pub fn rate(per_s: f64) -> String {
    match per_s {
        0.0 => "0".into(),
        ..9.95 => format!("{per_s:.1}"),
        ..999.5 => format!("{per_s:.0}"),
        _ => scaled(per_s, 1e3, &["k", "M", "G", "T"]),
    }
}

/// A count of things: whole up to 99,999, `1.2M`.
#[must_use]
pub fn count(n: f64) -> String {
    if n < 99_999.5 { format!("{n:.0}") } else { scaled(n, 1e3, &["k", "M", "G", "T"]) }
}

/// Bytes: `45 B`, `21.5 MiB`.
#[must_use]
pub fn bytes(n: f64) -> String {
    if n < 1023.5 {
        format!("{n:.0} B")
    } else {
        scaled(n, 1024.0, &[" KiB", " MiB", " GiB", " TiB"])
    }
}

/// A part of one: `0%`, `3.2%`, `100%`.
#[must_use]
pub fn part(of_one: f64) -> String {
    match of_one * 100.0 {
        0.0 => "0%".into(),
        percent @ ..9.95 => format!("{percent:.1}%"),
        percent => format!("{percent:.0}%"),
    }
}

/// A bound of a histogram in microseconds: `16us`, `8.2ms`, `67s`; `inf` above all of them.
#[must_use]
pub fn below(us: u64) -> String {
    match us {
        0..1_000 => format!("{us}us"),
        u64::MAX => "inf".into(),
        _ => scaled(us as f64, 1e3, &["ms", "s", "ks"]),
    }
}

/// A dash for what is not known.
#[must_use]
pub fn none_or<T>(value: Option<T>, form: impl Fn(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), form)
}

/// As much of a text as there is room for.
#[must_use]
pub fn shortened(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let cut: String = text.chars().take(room.saturating_sub(1)).collect();
    cut + "~"
}

/// A text in lines between its words; a word for which there is no room is cut.
#[must_use]
pub fn wrapped(text: &str, room: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace().map(|word| shortened(word, room)) {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= room => {
                *line += " ";
                *line += &word;
            }
            _ => lines.push(word),
        }
    }
    lines
}

/// Divides by `step` once for each unit until there are three digits before the point, or no unit.
fn scaled(n: f64, step: f64, units: &[&str]) -> String {
    let (mut n, mut unit) = (n, "");
    for next in units {
        n /= step;
        unit = next;
        if n < 999.5 {
            break;
        }
    }
    if n < 99.95 { format!("{n:.1}{unit}") } else { format!("{n:.0}{unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_fit_their_columns() {
        let rates = [0.0, 0.04, 0.4, 9.96, 312.4, 999.7, 96_512.0, 999_700.0, 1.23e6, 1e15];
        let texts = rates.map(rate);
        assert_eq!(
            texts,
            ["0", "0.0", "0.4", "10", "312", "1.0k", "96.5k", "1.0M", "1.2M", "1000T"]
        );
        let counts = [0.0, 99_999.0, 100_000.0, 999_999.0, 2_400_000.0].map(count);
        assert_eq!(counts, ["0", "99999", "100k", "1.0M", "2.4M"]);
        let sizes = [45.0, 1_024.0, 22_544_384.0, 1e12].map(bytes);
        assert_eq!(sizes, ["45 B", "1.0 KiB", "21.5 MiB", "931 GiB"]);
        assert_eq!([0.0, 0.032, 0.0996, 1.0].map(part), ["0%", "3.2%", "10%", "100%"]);
        let bounds = [16, 512, 1_024, 131_072, 67_108_864, u64::MAX].map(below);
        assert_eq!(bounds, ["16us", "512us", "1.0ms", "131ms", "67.1s", "inf"]);
        for power in 4..=26 {
            assert!(below(1 << power).len() <= 6, "{}", below(1 << power));
        }
        assert_eq!(
            [shortened("abc", 3), shortened("abcd", 3), shortened("é", 0)],
            ["abc", "ab~", "~"]
        );
        assert_eq!(
            wrapped("one or two words too wide", 6),
            ["one or", "two", "words", "too", "wide"]
        );
        assert_eq!((wrapped("incomparable", 4), wrapped("", 4)), (vec!["inc~".into()], Vec::new()));
    }
}
