//! Whether two parts could have made the same connection.

use std::net::IpAddr;

use crate::results::parts::PartTuples;

/// Sources and ports of a part, to be compared with those of others.
#[derive(Clone, Debug, Default)]
pub(super) struct Ends {
    /// What tells its network namespace from others.
    pub(super) namespace: Option<String>,
    sources: Vec<(IpAddr, IpAddr)>,
    ports: Vec<(u16, u16)>,
}

/// What two parts have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Common {
    /// Nothing.
    Nothing,
    /// Addresses and ports, each in a network of its own, as containers have.
    Addresses,
    /// The tuples themselves.
    Tuples,
}

impl Ends {
    /// As a result has them. What cannot be read is none.
    pub(super) fn of(tuples: &PartTuples, namespace: Option<String>) -> Ends {
        let range = |text: &String| {
            let (low, high) = text.split_once('-').unwrap_or((text, text));
            Some((low.parse().ok()?, high.parse().ok()?))
        };
        let row = |text: &String| {
            let (low, high) = text.split_once('-').unwrap_or((text, text));
            Some((low.parse().ok()?, high.parse().ok()?))
        };
        Ends {
            namespace,
            sources: tuples.sources.iter().filter_map(range).collect(),
            ports: tuples.ports.iter().filter_map(row).collect(),
        }
    }

    /// What both have.
    pub(super) fn common(&self, other: &Ends) -> Common {
        let is_one = self.namespace.is_some() && self.namespace == other.namespace;
        let meets = |(low, high): &(u16, u16)| {
            other.ports.iter().any(|(from, to)| low <= to && from <= high)
        };
        let meet = |(low, high): &(IpAddr, IpAddr)| {
            // Loopback of another namespace is another one.
            (is_one || !low.is_loopback())
                && other
                    .sources
                    .iter()
                    .any(|(from, to)| from.is_ipv4() == low.is_ipv4() && low <= to && from <= high)
        };
        if !(self.sources.iter().any(meet) && self.ports.iter().any(meets)) {
            Common::Nothing
        } else if is_one {
            Common::Tuples
        } else {
            Common::Addresses
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(namespace: &str, source: &str, ports: &str) -> Ends {
        let tuples = PartTuples {
            sources: vec![source.to_owned()].into(),
            ports: vec![ports.to_owned()].into(),
            ..PartTuples::default()
        };
        Ends::of(&tuples, Some(namespace.to_owned()))
    }

    #[test]
    fn parts_have_tuples_in_common_in_one_namespace_alone() {
        let first = ends("a", "127.0.0.2-127.255.255.254", "32768-40000");
        for (namespace, source, ports, common) in [
            ("a", "127.0.0.9", "40000", Common::Tuples),
            ("a", "127.0.0.9", "40001-50000", Common::Nothing),
            ("a", "::1", "32768-40000", Common::Nothing),
            ("b", "127.0.0.9", "40000", Common::Nothing),
        ] {
            let other = ends(namespace, source, ports);
            assert_eq!(first.common(&other), common, "{namespace} {source} {ports}");
            assert_eq!(other.common(&first), common, "{namespace} {source} {ports}");
        }
        let container = ends("a", "172.17.0.2", "32768-60999");
        assert_eq!(container.common(&ends("b", "172.17.0.2", "32768-60999")), Common::Addresses);
        assert_eq!(container.common(&ends("b", "172.17.0.3", "32768-60999")), Common::Nothing);
        assert_eq!(container.common(&Ends::default()), Common::Nothing);
    }
}
