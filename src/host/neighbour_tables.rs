//! How often the kernel's tables of neighbours overflowed, read by netlink as in rtnetlink(7). The
//! tables are the whole host's. In a network namespace other than the first, their files below
//! `/proc/net/stat` are missing, and netlink is the only way.

use crate::host::netlink::{self, Question};

const ASK_TABLES: u16 = 66;
const TABLE: u16 = 64;

/// A family, where 0 is all of them, and three bytes that are not used.
const OF_ANY_FAMILY: [u8; 4] = [0; 4];

const NAME: u16 = 1;
const STATISTICS: u16 = 7;

/// The index of the overflows among the statistics, which are eight bytes each.
const TABLE_FULLS: usize = 10;

/// The name of each table, such as `arp_cache`, with its overflows; empty where the kernel does not
/// say.
pub(super) fn overflows() -> Vec<(String, u64)> {
    let mut found = Vec::new();
    let question = Question {
        protocol: None,
        kind: ASK_TABLES,
        answer_kind: TABLE,
        payload: &OF_ANY_FAMILY,
        is_dump: true,
    };
    let asked = netlink::dump(&question, |table| found.extend(overflows_of(table)));
    if asked.is_ok() { found } else { Vec::new() }
}

/// One table. An answer about one interface has no statistics.
fn overflows_of(table: &[u8]) -> Option<(String, u64)> {
    let attributes = table.get(OF_ANY_FAMILY.len()..)?;
    let find = |kind| netlink::attributes(attributes).find(|(other, _)| *other == kind);
    let (_, name) = find(NAME)?;
    let (_, statistics) = find(STATISTICS)?;
    let fulls = statistics.get(8 * TABLE_FULLS..8 * (TABLE_FULLS + 1))?.try_into().ok()?;
    let name = String::from_utf8_lossy(name).trim_end_matches('\0').to_owned();
    Some((name, u64::from_ne_bytes(fulls)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::counters::Counters;
    use crate::host::procfs::ProcFs;

    #[test]
    fn it_says_what_the_file_says_where_there_is_one() {
        let counters = Counters::read(&ProcFs::host());
        let tables = overflows();
        for (name, fulls) in &tables {
            let counted = counters.get(&format!("{name}.table_fulls")).unwrap();
            // The table may overflow between the two readings.
            assert!(counted <= *fulls, "{name}: {counted} in the file, then {fulls}");
        }
        assert!(tables.iter().any(|(name, _)| name == "arp_cache"), "{tables:?}");
    }

    #[test]
    fn a_table_that_says_less_is_left_out() {
        assert_eq!(overflows_of(&[]), None);
        assert_eq!(overflows_of(&[0; 4]), None);
        let short = [0, 0, 0, 0, 6, 0, 1, 0, b'a', 0, 0, 0, 12, 0, 7, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(overflows_of(&short), None, "an older kernel counts less");
    }
}
