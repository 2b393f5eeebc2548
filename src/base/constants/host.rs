//! Bounds on what is read of a host.

/// Bytes that the first read of a file of the kernel has room for. Every other port as a range of
/// `net.ipv4.ip_local_reserved_ports` is 192 KiB, which the kernel gives in the first read or not at
/// all. It refuses a read of 4 MiB.
pub const HOST_FILE_FIRST_READ_BYTES: usize = 256 * 1024;

/// Bytes of a file of the host at most. A mountinfo of ten thousand mounts is 2 MiB, and a file of
/// sysctl.d is what a person typed.
pub const HOST_FILE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of a file of sysctl.d at most. The longest that distributions bring is 10 KiB.
pub const SYSCTL_FILE_BYTES_MAX: usize = 1024 * 1024;

const _: () = assert!(SYSCTL_FILE_BYTES_MAX <= HOST_FILE_BYTES_MAX);
const _: () = assert!(HOST_FILE_FIRST_READ_BYTES >= 32_768 * "65535,".len());
const _: () = assert!(HOST_FILE_FIRST_READ_BYTES < 4 * 1024 * 1024);
