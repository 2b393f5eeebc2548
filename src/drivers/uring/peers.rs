//! Addresses of peers, which the kernel tells with an accept where it is asked to: each in a place of its own, which
//! stays where it is until the accept is done.

use std::cell::UnsafeCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use crate::engine::token::Token;

/// Places of the accepts that are with the kernel.
#[derive(Default)]
pub(super) struct Peers(HashMap<u64, Box<UnsafeCell<Told>>>);

/// As the kernel writes it: a `sockaddr_in6` is the longer one of the two.
#[repr(C, align(8))]
struct Told {
    address: [u8; ADDRESS_BYTES],
    bytes: libc::socklen_t,
}

const ADDRESS_BYTES: usize = size_of::<libc::sockaddr_in6>();
const _: () = assert!(ADDRESS_BYTES == 28 && size_of::<libc::sockaddr_in>() <= ADDRESS_BYTES);

impl Peers {
    /// A place for the accept of `token`: where the address goes, and its length.
    pub(super) fn place(&mut self, token: Token) -> (*mut libc::sockaddr, *mut libc::socklen_t) {
        let bytes = libc::socklen_t::try_from(ADDRESS_BYTES).expect("it is 28");
        let told = Box::new(UnsafeCell::new(Told { address: [0; ADDRESS_BYTES], bytes }));
        let place = told.get();
        let earlier = self.0.insert(token.packed(), told);
        assert!(earlier.is_none(), "an accept of the same slot is still with the kernel");
        // SAFETY: `place` points to a whole `Told` in a box of our own; no reference is made, and nothing is
        // read. Exercised by `tests/ring.rs`.
        let bytes = unsafe { &raw mut (*place).bytes };
        // `address` is the first field of a struct of C.
        (place.cast(), bytes)
    }

    /// The address that came with the accept of `token`, which is done.
    pub(super) fn take(&mut self, token: Token) -> Option<IpAddr> {
        let told = self.0.remove(&token.packed())?;
        let Told { address, .. } = (*told).into_inner();
        let family = u16::from_ne_bytes([address[0], address[1]]);
        match i32::from(family) {
            libc::AF_INET => Some(IpAddr::from([address[4], address[5], address[6], address[7]])),
            libc::AF_INET6 => {
                let bytes: [u8; 16] = address[8..24].try_into().expect("16 of 28 bytes");
                Some(Ipv6Addr::from(bytes).into())
            }
            _ => None,
        }
    }
}
