//! How the kernel reads the value of a sysctl that is one number or several: `proc_get_long()`,
//! `proc_dointvec_minmax()` and `proc_dou8vec_minmax()` of its `kernel/sysctl.c`.
//!
//! Numbers may be octal or hexadecimal. What stands behind the last number that a sysctl has is
//! dropped, so a comment there does no harm. A number that touches anything else is refused, and so
//! are quotes, units, commas and an empty value. The rows that a network namespace has of its own were
//! tried on Linux 6.18; the others allow what any kernel since 6.1 may take.

/// The numbers that a sysctl takes.
pub(super) struct Format {
    key: &'static str,
    count: usize,
    least: i128,
    most: i128,
}

const INT_MAX: i128 = i32::MAX as i128;
const U8_MAX: i128 = u8::MAX as i128;
const U64_MAX: i128 = u64::MAX as i128;

const fn one(key: &'static str, least: i128, most: i128) -> Format {
    Format { key, count: 1, least, most }
}

const fn three(key: &'static str, least: i128, most: i128) -> Format {
    Format { key, count: 3, least, most }
}

/// Every sysctl that a rule judges, and those that the doctor's fixes raise.
const FORMATS: &[Format] = &[
    one("fs.file-max", 0, U64_MAX),
    one("fs.nr_open", 0, INT_MAX * 2 + 1),
    one("net.core.netdev_max_backlog", -INT_MAX - 1, INT_MAX),
    one("net.core.somaxconn", 0, INT_MAX),
    Format { key: "net.ipv4.ip_local_port_range", count: 2, least: 1, most: 65_535 },
    one("net.ipv4.tcp_abort_on_overflow", 0, U8_MAX),
    one("net.ipv4.tcp_fin_timeout", 0, INT_MAX),
    one("net.ipv4.tcp_max_orphans", -INT_MAX - 1, INT_MAX),
    one("net.ipv4.tcp_max_syn_backlog", -INT_MAX - 1, INT_MAX),
    one("net.ipv4.tcp_max_tw_buckets", -INT_MAX - 1, INT_MAX),
    three("net.ipv4.tcp_mem", 0, U64_MAX),
    one("net.ipv4.tcp_retries2", 0, U8_MAX),
    three("net.ipv4.tcp_rmem", 1, INT_MAX),
    one("net.ipv4.tcp_syncookies", 0, U8_MAX),
    one("net.ipv4.tcp_timestamps", 0, U8_MAX),
    one("net.ipv4.tcp_tw_reuse", 0, 2),
    three("net.ipv4.tcp_wmem", 1, INT_MAX),
    one("net.netfilter.nf_conntrack_max", -INT_MAX - 1, INT_MAX * 2 + 1),
    one("net.netfilter.nf_conntrack_tcp_timeout_established", 0, INT_MAX * 2 + 1),
];

impl Format {
    /// The format of a sysctl, by its dotted name; `None` when it is not known.
    pub(super) fn of(key: &str) -> Option<&'static Format> {
        FORMATS.iter().find(|format| format.key == key)
    }

    /// The numbers that the kernel takes from a value, with those of `now` for the last ones when
    /// the value has fewer. One below zero is given as zero. `None` when the kernel refuses it.
    pub(super) fn read(&self, value: &str, now: &[u64]) -> Option<Vec<u64>> {
        let words = value.split([' ', '\t', '\n']).filter(|word| !word.is_empty());
        let mut values = Vec::with_capacity(self.count);
        for word in words.take(self.count) {
            let number = number(word).filter(|n| (self.least..=self.most).contains(n))?;
            values.push(u64::try_from(number).unwrap_or(0));
        }
        if values.is_empty() {
            return None;
        }
        values.extend(now.iter().skip(values.len()).take(self.count - values.len()));
        let is_range = self.count == 2;
        let is_reversed = matches!(values[..], [low, high] if is_range && low > high);
        (!is_reversed).then_some(values)
    }
}

/// A number as `strtoul()` reads it with base 0.
fn number(word: &str) -> Option<i128> {
    let (digits, sign) = word.strip_prefix('-').map_or((word, 1), |digits| (digits, -1));
    let hexadecimal = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let (digits, radix) = match (hexadecimal, digits.strip_prefix('0')) {
        (Some(digits), _) => (digits, 16),
        (None, Some(digits)) if !digits.is_empty() => (digits, 8),
        (None, _) => (digits, 10),
    };
    // The parser of the library would take a sign.
    let is_plain = digits.chars().all(|digit| digit.is_digit(radix));
    let number = u64::from_str_radix(digits, radix).ok().filter(|_| is_plain)?;
    Some(sign * i128::from(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::walls::obsolete::rules::RULES;
    use crate::walls::obsolete::setting::Kind;

    #[test]
    fn values_are_read_as_the_kernel_reads_them() {
        let read = |key, value| Format::of(key).unwrap().read(value, &[7, 8, 9]);
        let somaxconn = |value| read("net.core.somaxconn", value).map(|values| values[0]);
        for (value, taken) in
            [("128 # why", 128), ("0x80", 128), ("0200", 128), ("7 8", 7), ("9 \\", 9), ("0", 0)]
        {
            assert_eq!(somaxconn(value), Some(taken), "{value}");
        }
        for value in [
            "",
            "many",
            "-1",
            "7,8",
            "12abc",
            "1k",
            "+5",
            "7;",
            "#7",
            "1e3",
            "'7'",
            "\"7\"",
            "7\r",
            "7\u{a0}",
            "08",
            "0x",
            "-",
            "99999999999",
            "3000000000",
            "99999999999999999999999",
        ] {
            assert_eq!(somaxconn(value), None, "{value:?} is taken");
        }
        let range = |value| read("net.ipv4.ip_local_port_range", value);
        assert_eq!(range("5 65000 # x"), Some(vec![5, 65_000]));
        assert_eq!(range("5"), Some(vec![5, 8]));
        for value in ["65000 1024", "0 100", "1 70000", "1024-65000", "1024 x"] {
            assert_eq!(range(value), None, "{value} is taken");
        }
        assert_eq!(read("net.ipv4.tcp_rmem", "4096 87380"), Some(vec![4096, 87_380, 9]));
        assert_eq!(read("net.ipv4.tcp_rmem", "4096 87380 x"), None);
        assert_eq!(read("net.ipv4.tcp_max_tw_buckets", "-1"), Some(vec![0]));
    }

    #[test]
    fn what_a_rule_judges_has_a_format() {
        for rule in RULES.iter().filter(|rule| rule.kind != Kind::Obsolete) {
            assert!(Format::of(rule.key).is_some(), "{}", rule.key);
        }
    }
}
