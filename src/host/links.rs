//! What kind of link an interface is, read by netlink as in rtnetlink(7).

use crate::host::netlink::{self, Question};

const ASK_LINKS: u16 = 18;
const LINK: u16 = 16;

/// `struct ifinfomsg`: of any family, all interfaces.
const ANY: [u8; 16] = [0; 16];

const NAME: u16 = 3;
const INFO: u16 = 18;
const INFO_KIND: u16 = 1;

/// The kernel's name for the kind, such as `veth` or `vlan`; `None` for a card, for loopback, and where
/// the kernel does not say.
#[must_use]
pub fn kind(interface: &str) -> Option<String> {
    let mut found = None;
    let question = Question { protocol: None, kind: ASK_LINKS, answer_kind: LINK, payload: &ANY };
    let asked = netlink::dump(&question, |link| {
        if let Some((name, kind)) = kind_of(link)
            && name == interface
        {
            found = Some(kind);
        }
    });
    asked.ok().and(found)
}

/// The name of one link, and its kind if it has one.
fn kind_of(link: &[u8]) -> Option<(String, String)> {
    let attributes = link.get(ANY.len()..)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned();
    // The highest bits of a kind are flags.
    let find = |attributes, kind| {
        netlink::attributes(attributes).find(|(other, _)| other & 0x3fff == kind).map(|(_, v)| v)
    };
    Some((text(find(attributes, NAME)?), text(find(find(attributes, INFO)?, INFO_KIND)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_says_its_kind_and_one_without_has_none() {
        let padded = |kind: u16, value: &[u8]| {
            let length = u16::try_from(4 + value.len()).expect("a short value");
            let head = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
            let mut bytes = [&head[..], value].concat();
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let info = padded(INFO | 0x8000, &padded(INFO_KIND, b"veth"));
        let link = [&ANY[..], &padded(NAME, b"eth0\0"), &info].concat();
        assert_eq!(kind_of(&link), Some(("eth0".into(), "veth".into())));
        assert_eq!(kind_of(&[&ANY[..], &padded(NAME, b"lo\0")].concat()), None);
        assert_eq!(kind_of(&[0; 7]), None);
        assert_eq!(kind("lo"), None);
    }
}
