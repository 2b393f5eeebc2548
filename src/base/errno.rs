//! Error numbers with the names that manuals, scripts and `result.json` use.

/// An error number of the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct Errno(pub i32);

macro_rules! names {
    ($($name:ident)*) => {
        impl Errno {
            $(#[doc = stringify!($name)] pub const $name: Errno = Errno(libc::$name);)*

            /// `"ECONNREFUSED"` and the like; `None` for a number that no socket call gives.
            #[must_use]
            pub fn name(self) -> Option<&'static str> {
                match self { $(Errno::$name => Some(stringify!($name)),)* _ => None }
            }
        }
    };
}

names! {
    EPERM EINTR EIO EBADF EAGAIN ENOMEM EACCES EFAULT EBUSY EINVAL ENFILE EMFILE ENOSPC EPIPE ENOSYS
    ENOTSOCK ENOPROTOOPT EPROTO EOPNOTSUPP EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL ENETDOWN
    ENETUNREACH ECONNABORTED ECONNRESET ENOBUFS EISCONN ENOTCONN ETIMEDOUT ECONNREFUSED EHOSTDOWN
    EMSGSIZE ENONET EHOSTUNREACH EALREADY EINPROGRESS ECANCELED ENOENT ENODEV ENXIO
}

impl Errno {
    /// Numbers are below this on every architecture we run on.
    pub const LIMIT: usize = 134;

    /// Whether an answer by ICMP or ICMPv6 may give it (`icmp_err_convert` and `icmpv6_err_convert` of the
    /// kernel).
    #[must_use]
    pub fn is_of_icmp(self) -> bool {
        const OF_ICMP: [Errno; 10] = [
            Errno::ENETUNREACH,
            Errno::EHOSTUNREACH,
            Errno::ECONNREFUSED,
            Errno::ENOPROTOOPT,
            Errno::EMSGSIZE,
            Errno::EOPNOTSUPP,
            Errno::EHOSTDOWN,
            Errno::ENONET,
            Errno::EPROTO,
            Errno::EACCES,
        ];
        OF_ICMP.contains(&self)
    }

    /// The number as an index below [`Errno::LIMIT`]; unknown ones share index 0.
    #[must_use]
    pub fn index(self) -> usize {
        usize::try_from(self.0).ok().filter(|&n| n < Errno::LIMIT).unwrap_or(0)
    }
}

impl From<&std::io::Error> for Errno {
    fn from(error: &std::io::Error) -> Errno {
        Errno(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

impl std::error::Error for Errno {}

impl std::fmt::Display for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}
