//! The interfaces of the task's network namespace and what they count, read by netlink as in
//! rtnetlink(7), or from `/proc/net/dev` where netlink is not there. `/sys/class/net` is not read: it
//! shows the namespace in which `/sys` was mounted.

use crate::host::netlink::{self, Question};
use crate::host::procfs::ProcFs;

const ASK_LINKS: u16 = 18;
const LINK: u16 = 16;

/// `struct ifinfomsg`: of any family, all interfaces.
const ANY: [u8; 16] = [0; 16];

/// Where the type, the number and the flags stand in it.
const TYPE_AT: usize = 2;
const INDEX_AT: usize = 4;
const FLAGS_AT: usize = 8;

const NAME: u16 = 3;
const INFO: u16 = 18;
const INFO_KIND: u16 = 1;
const STATISTICS: u16 = 23;

const TYPE_ETHER: u16 = 1;
const FLAG_UP: u32 = 1;
const FLAG_LOOPBACK: u32 = 8;

/// Counters by their names in `/sys`: the index in `struct rtnl_link_stats64`, and the column of
/// `/proc/net/dev`. Its column of packets that were not taken in adds those that were missed, so of
/// these it has none by themselves.
const COUNTERS: [(&str, usize, Option<usize>); 4] = [
    ("rx_missed_errors", 15, None),
    ("rx_fifo_errors", 14, Some(4)),
    ("rx_dropped", 6, Some(3)),
    ("tx_dropped", 7, Some(11)),
];

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// The kernel's name for the kind, such as `veth` or `vlan`; `None` for a card, for loopback, and
    /// where the kernel does not say.
    pub kind: Option<String>,
    /// Its number; 0 where it was read from a file that has none.
    pub index: u32,
    /// Whether it is the one by which a host reaches itself.
    pub is_loopback: bool,
    /// Whether it has been set up.
    pub is_up: bool,
    /// Whether it may be a network card, which `ethtool` knows more of.
    pub is_card: bool,
    /// Its counters of packets that were lost, as far as they could be read.
    pub counters: Vec<(&'static str, u64)>,
}

/// The kernel's name for the kind of an interface, such as `veth` or `vlan`; `None` for a card, for
/// loopback, and where the kernel does not say.
#[must_use]
pub fn kind(interface: &str) -> Option<String> {
    all(&ProcFs::host()).into_iter().find(|link| link.name == interface)?.kind
}

/// Every interface of the task's own network namespace; none where the kernel does not list them.
#[must_use]
pub fn all(procfs: &ProcFs) -> Vec<Link> {
    let mut found = Vec::new();
    let question = Question {
        protocol: None,
        kind: ASK_LINKS,
        answer_kind: LINK,
        payload: &ANY,
        is_dump: true,
    };
    if procfs.is_host() && netlink::dump(&question, |link| found.extend(parse(link))).is_ok() {
        return found;
    }
    let text = procfs.read("proc/net/dev").unwrap_or_default();
    text.lines().filter_map(of_line).collect()
}

/// One link of an answer.
fn parse(link: &[u8]) -> Option<Link> {
    let attributes = link.get(ANY.len()..)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned();
    // The highest bits of a kind are flags.
    let find = |attributes, kind| {
        netlink::attributes(attributes).find(|(other, _)| other & 0x3fff == kind).map(|(_, v)| v)
    };
    let kind = find(attributes, INFO).and_then(|info| find(info, INFO_KIND)).map(text);
    let is_ether = link.get(TYPE_AT..TYPE_AT + 2)? == TYPE_ETHER.to_ne_bytes();
    let flags = netlink::word(link, FLAGS_AT)?;
    let is_loopback = flags & FLAG_LOOPBACK != 0;
    let statistics = find(attributes, STATISTICS).unwrap_or_default();
    let counter = |(name, index, _): (&'static str, usize, _)| {
        let bytes = statistics.get(8 * index..8 * (index + 1))?.try_into().ok()?;
        Some((name, u64::from_ne_bytes(bytes)))
    };
    Some(Link {
        name: text(find(attributes, NAME)?),
        index: netlink::word(link, INDEX_AT)?,
        is_loopback,
        is_up: flags & FLAG_UP != 0,
        is_card: kind.is_none() && is_ether && !is_loopback,
        kind,
        counters: COUNTERS.into_iter().filter_map(counter).collect(),
    })
}

/// A line of `/proc/net/dev`, behind its two lines of names.
fn of_line(line: &str) -> Option<Link> {
    let (name, columns) = line.split_once(':')?;
    let columns: Vec<&str> = columns.split_whitespace().collect();
    let counter = |(name, _, column): (&'static str, usize, Option<usize>)| {
        Some((name, columns.get(column?)?.parse().ok()?))
    };
    let counters = COUNTERS.into_iter().filter_map(counter).collect();
    Some(Link {
        name: name.trim().to_owned(),
        index: 0,
        is_loopback: false,
        is_up: true,
        kind: None,
        is_card: false,
        counters,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::in_namespace;

    fn padded(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).expect("a short value");
        let head = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        let mut bytes = [&head[..], value].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn a_link_says_its_kind_and_what_it_lost() {
        let info = padded(INFO | 0x8000, &padded(INFO_KIND, b"veth"));
        let counts: Vec<u8> = (0..24_u64).flat_map(u64::to_ne_bytes).collect();
        let link = [&ANY[..], &padded(NAME, b"eth0\0"), &info, &padded(STATISTICS, &counts)];
        let counters = [
            ("rx_missed_errors", 15),
            ("rx_fifo_errors", 14),
            ("rx_dropped", 6),
            ("tx_dropped", 7),
        ];
        let expected = Link {
            name: "eth0".into(),
            index: 0,
            is_loopback: false,
            is_up: false,
            kind: Some("veth".into()),
            is_card: false,
            counters: counters.to_vec(),
        };
        assert_eq!(parse(&link.concat()), Some(expected));
        let bare = parse(&[&ANY[..], &padded(NAME, b"lo\0")].concat()).expect("it has a name");
        assert_eq!((bare.kind, bare.counters, bare.is_card), (None, Vec::new(), false));
        assert_eq!(parse(&[0; 7]), None);
        assert_eq!(kind("lo"), None);
    }

    #[test]
    fn netlink_says_what_proc_says() {
        let of_kernel = all(&ProcFs::host());
        let text = ProcFs::host().read("proc/net/dev").expect("there is /proc");
        let of_proc: Vec<Link> = text.lines().filter_map(of_line).collect();
        let names = |links: &[Link]| links.iter().map(|l| l.name.clone()).collect::<Vec<_>>();
        let (mut a, mut b) = (names(&of_kernel), names(&of_proc));
        a.sort();
        b.sort();
        assert_eq!(a, b);
        assert!(of_kernel.iter().all(|link| link.counters.len() == 4), "{of_kernel:?}");
        assert!(of_proc.iter().all(|link| link.counters.len() == 3), "{of_proc:?}");
    }

    /// Where `/sys` is still that of another namespace.
    #[test]
    fn interfaces_are_those_of_the_tasks_own_namespace() {
        let before = "ip link add odd0 type veth peer name odd1; test ! -e /sys/class/net/odd0";
        in_namespace::passes("-Urn", before, "host::links::tests::netlink_says_what_proc_says");
    }

    #[test]
    fn a_tree_without_netlink_is_read_by_its_file() {
        let text = "Inter-|   Receive                            |  Transmit\n \
            face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop ...\n    \
            lo: 1 2 0 5 6 0 0 0 1 2 0 7 0 0 0 0\n  eth0: 1 2 x\n";
        let links: Vec<Link> = text.lines().filter_map(of_line).collect();
        let of_lo = vec![("rx_fifo_errors", 6), ("rx_dropped", 5), ("tx_dropped", 7)];
        assert_eq!(links[0].counters, of_lo);
        assert_eq!((links[1].name.as_str(), links[1].counters.len()), ("eth0", 0));
    }
}
