//! Lines that set nothing, and files of which nothing is known, each with its reason.

use crate::host::sysctl_files::{Fault, Files, NotRead};
use crate::walls::obsolete::found::Found;
use crate::walls::obsolete::rules::{Facts, Rule};
use crate::walls::obsolete::setting::Kind;

/// What is said of a value that the kernel refuses.
pub(super) const REFUSED: Rule = idle(
    Kind::Refused,
    "the kernel refuses the value, so the line sets nothing, or only the figures before the fault: \
     quotes, units and commas are a part of the value",
    "write plain figures that the kernel takes",
    "kernel/sysctl.c: proc_get_long()",
);

const PARSERS: &str = "sysctl.conf(5), sysctl.d(5)";

const fn idle(
    kind: Kind,
    reason: &'static str,
    instead: &'static str,
    source: &'static str,
) -> Rule {
    let is_bad = |_: &[u64], _: &Facts<'_>| true;
    Rule { key: "", kind, is_bad, also_running: false, reason, instead, source }
}

/// Adds the lines and the files.
pub(super) fn add(found: &mut Found, files: &Files) {
    for wrong in &files.wrong {
        found.add(&line(wrong.fault), &wrong.text, "", &wrong.place, None);
    }
    for (path, why) in &files.unread {
        found.add(&file(*why), path, "", path, None);
    }
}

fn line(fault: Fault) -> Rule {
    let (reason, instead) = match fault {
        Fault::NoEquals => ("the line has no =, so it sets nothing", "write key = value"),
        Fault::NoKey => ("nothing stands before the =, so it sets nothing", "write key = value"),
        Fault::ByteOrderMark => (
            "the file begins with a byte order mark, which makes its first key an unknown one",
            "save the file without the mark, or begin it with a comment",
        ),
        Fault::Command => (
            "a command is not run here: all before the = is taken for the key, so it sets nothing",
            "write key = value without the command",
        ),
        Fault::BadKey => (
            "there is no such key: it has a space, a quote or a character that no key begins with",
            "write key = value, the key as below /proc/sys",
        ),
        Fault::ZeroByte => ("the line has a zero byte and ends there", "write the line anew"),
    };
    idle(Kind::Refused, reason, instead, PARSERS)
}

fn file(why: NotRead) -> Rule {
    let (reason, instead) = match why {
        NotRead::Dangling => (
            "a link to nothing: it sets nothing, and hides files of its name in later directories",
            "delete the link, or link it to /dev/null when that is meant",
        ),
        NotRead::NoFile => {
            ("no regular file, so it is not opened: boot may wait for it or fail", "delete it")
        }
        NotRead::Unreadable => {
            ("it cannot be read, so its settings are not judged", "examine the host as root")
        }
        NotRead::TooLong => {
            ("longer than 1 MiB, so its settings are not judged", "make it shorter")
        }
        NotRead::Utf16 => ("UTF-16: none of its lines sets anything", "save it as UTF-8"),
        NotRead::Name => {
            ("its name is no UTF-8, so its settings are not judged", "give it a name in ASCII")
        }
    };
    idle(Kind::Unread, reason, instead, PARSERS)
}
