//! One line of a sysctl configuration file, read as both `sysctl --system` of procps-ng and
//! systemd-sysctl read it: sysctl.conf(5), sysctl.d(5), `parse_setting_line()` of the one and
//! `parse_line()` of the other.
//!
//! Everything behind the first `=` is the value: a comment behind it and quotes around it are a part
//! of it. What the kernel makes of such a value is not decided here.

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Nothing: it is blank or a comment.
    Nothing,
    /// The sysctl with this path has this value.
    Value(String, String),
    /// No pattern is for the sysctls of this path.
    Excluded(String),
    /// It is no assignment, and nothing is set.
    Wrong(Fault),
}

/// Why a line sets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It has no `=`.
    NoEquals,
    /// Nothing stands before its `=`.
    NoKey,
    /// Its key begins with the mark that some editors write at the start of a file.
    ByteOrderMark,
    /// It is a command of a shell.
    Command,
    /// Its key has a space, a quote or a character that no key begins with.
    BadKey,
    /// It has a zero byte.
    ZeroByte,
}

/// Reads a line, without the line end.
pub(super) fn read(line: &str) -> Said {
    let line = stripped(line);
    // Behind the mark of an editor even a comment is none, but a line without a key does no harm.
    let unmarked = stripped(line.trim_start_matches('\u{feff}'));
    if unmarked.is_empty() || unmarked.starts_with(['#', ';']) {
        return Said::Nothing;
    }
    if line.contains('\0') {
        return Said::Wrong(Fault::ZeroByte);
    }
    let Some((key, value)) = line.split_once('=') else {
        // The key of an exclusion. One with a space is a list or a ruler of a comment.
        return match line.strip_prefix('-').map(stripped) {
            Some(key) if !key.is_empty() => Said::Excluded(path(key)),
            _ => Said::Wrong(Fault::NoEquals),
        };
    };
    // A leading dash says that a failure is ignored.
    let key = stripped(stripped(key).trim_start_matches('-'));
    match fault(key) {
        Some(fault) => Said::Wrong(fault),
        None => Said::Value(path(key), words(value)),
    }
}

fn fault(key: &str) -> Option<Fault> {
    let first = key.split(['.', '/']).find(|part| !part.is_empty()).unwrap_or_default();
    if first.is_empty() {
        Some(Fault::NoKey)
    } else if key.starts_with('\u{feff}') {
        Some(Fault::ByteOrderMark)
    } else if key.starts_with(['[', '*', '?']) {
        None
    } else if ["sysctl", "sudo", "echo", "export"]
        .iter()
        .any(|word| key.strip_prefix(word).is_some_and(|rest| rest.starts_with([' ', '\t'])))
    {
        Some(Fault::Command)
    } else if key.contains(char::is_whitespace)
        || key.contains(['"', '\'', '`'])
        || !first.chars().all(|c| c.is_ascii_alphanumeric() || "_-*?[]".contains(c))
    {
        Some(Fault::BadKey)
    } else {
        None
    }
}

/// Without the white space of C around it. A no-break space is none.
fn stripped(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b')
}

/// The value with single spaces between its words, as the kernel tells them apart.
fn words(value: &str) -> String {
    let words = stripped(value).split([' ', '\t']).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

/// The file of a key. When its first separator is a dot, dots and slashes are swapped. Separators
/// that are repeated count once.
fn path(key: &str) -> String {
    let is_dotted = key.find(['.', '/']).is_some_and(|at| key[at..].starts_with('.'));
    let path = if is_dotted { swapped(key) } else { key.to_owned() };
    path.split('/').filter(|part| !["", "."].contains(part)).collect::<Vec<_>>().join("/")
}

/// With dots for slashes and slashes for dots.
pub(super) fn swapped(name: &str) -> String {
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        c => c,
    };
    name.chars().map(swap).collect()
}

/// Whether a pattern of glob(7) fits a path. A `*` does not reach over a slash.
pub(super) fn fits(pattern: &str, path: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('/').collect();
    let path: Vec<&str> = path.split('/').collect();
    let fits = |(pattern, name): (&&str, &&str)| fits_name(pattern.as_bytes(), name.as_bytes());
    pattern.len() == path.len() && pattern.iter().zip(&path).all(fits)
}

/// Whether a pattern fits one name. It goes back to the last `*` alone, so a long one takes no time.
fn fits_name(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p + 1, n));
            p += 1;
        } else if let Some(length) = fits_byte(&pattern[p..], name[n]) {
            p += length;
            n += 1;
        } else if let Some((after, at)) = star {
            star = Some((after, at + 1));
            (p, n) = (after, at + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// How many bytes at the start of a pattern fit one byte of a name; `None` when they do not.
fn fits_byte(pattern: &[u8], byte: u8) -> Option<usize> {
    match *pattern.first()? {
        b'?' => Some(1),
        b'[' => {
            let is_not = matches!(pattern.get(1), Some(b'!' | b'^'));
            let start = 1 + usize::from(is_not);
            // A bracket that comes first is one of the set.
            let close = pattern.iter().skip(start + 1).position(|b| *b == b']');
            let Some(end) = close.map(|at| at + start + 1) else {
                return (byte == b'[').then_some(1);
            };
            let (mut set, mut is_in) = (&pattern[start..end], false);
            while let [first, rest @ ..] = set {
                if let [b'-', last, rest @ ..] = rest {
                    is_in |= (*first..=*last).contains(&byte);
                    set = rest;
                } else {
                    is_in |= *first == byte;
                    set = rest;
                }
            }
            (is_in != is_not).then_some(end + 1)
        }
        other => (other == byte).then_some(1),
    }
}
