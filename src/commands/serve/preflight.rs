//! What is asked of the host before a server opens anything: io_uring, the cores, open files, memory,
//! the walls.

use megaconn::base::side::Side;
use megaconn::drivers::uring;
use megaconn::host::rlimit;
use megaconn::plan::tuples;
use megaconn::runtime::memory_reserve;
use megaconn::walls::host::Host;
use megaconn::walls::of_server::short_at_start;

use crate::commands::serve::config::Config;
use crate::commands::serve::refusal::Refusal;

/// What the host has for the server.
pub(crate) struct Prepared {
    pub(crate) cpus: Vec<u16>,
    /// Open files that this process may have.
    pub(crate) nofile: u64,
    pub(crate) slots_per_segment: u32,
    /// Bytes of memory that are left to other programs.
    pub(crate) memory_reserve: u64,
    pub(crate) host: Host,
    /// Connections that each core holds at most.
    pub(crate) connections_max: Vec<u32>,
}

/// Asks the host for what `config` needs.
///
/// # Errors
/// The first thing that the host does not have.
pub(crate) fn prepare(config: &Config) -> Result<Prepared, Refusal> {
    uring::probe()?;
    let cpus = config.places.cores.resolve()?;
    let nofile = rlimit::raise_nofile();
    let memory_reserve = memory_reserve::bytes(Side::Server, config.connections.memory_reserve);
    let host = Host::read(nofile, memory_reserve);
    if let Some(reason) = short_at_start(&host, cpus.len()) {
        return Err(Refusal::Short(reason));
    }
    let connections_max = connections_per_core(config.connections.max_connections, cpus.len())?;
    let slots_per_segment = rlimit::slots_per_segment(nofile);
    Ok(Prepared { cpus, nofile, slots_per_segment, memory_reserve, host, connections_max })
}

fn connections_per_core(most: Option<u64>, cores: usize) -> Result<Vec<u32>, Refusal> {
    let Some(most) = most else { return Ok(vec![u32::MAX; cores]) };
    if most < cores as u64 {
        return Err(Refusal::TooFew(most, cores));
    }
    let share = |core| u32::try_from(tuples::share(most, cores, core)).unwrap_or(u32::MAX);
    Ok((0..cores).map(share).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_is_dealt_out_and_is_no_less_than_one_a_core() {
        let shares = |most, cores| connections_per_core(most, cores).map_err(|e| e.to_string());
        assert_eq!(shares(None, 2), Ok(vec![u32::MAX, u32::MAX]));
        assert_eq!(shares(Some(7), 3), Ok(vec![3, 2, 2]));
        assert_eq!(shares(Some(u64::MAX), 1), Ok(vec![u32::MAX]));
        let error = "--max-connections 1: fewer than the 2 cores; fix: --cores with fewer of them";
        assert_eq!(shares(Some(1), 2), Err(error.to_owned()));
    }
}
