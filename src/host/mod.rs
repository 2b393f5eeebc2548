//! Reads the kernel of this host and decides nothing: files of /proc and /sys, netlink, limits of
//! the process. The walls decide what a reading means for a plan or a run.

pub mod addresses;
pub mod cgroup;
pub mod conntrack;
pub mod counters;
pub mod cpu;
pub mod headroom;
pub mod identity;
#[cfg(test)]
mod in_namespace;
pub mod kernel_log;
pub mod limit;
pub mod links;
pub mod meminfo;
pub mod neighbour_tables;
pub mod netlink;
pub mod oom_kills;
pub mod open_files;
pub mod ports;
pub mod procfs;
pub mod rlimit;
pub mod sock_diag;
pub mod sockets;
pub mod sysctl_files;
pub mod threads;
