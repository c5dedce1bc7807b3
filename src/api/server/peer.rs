//! Where connections come from.

use std::net::{IpAddr, Ipv6Addr};

/// Where a request comes from; among its extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// The address of someone who is not on this machine; what comes through a proxy on it is the proxy's to count. The
/// last half of an IPv6 address is its owner's to choose, so it does not count.
pub fn stranger(peer: Option<Peer>) -> Option<IpAddr> {
    let address = peer?.0.to_canonical();
    if address.is_loopback() {
        return None;
    }
    Some(match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(long) => {
            let [a, b, c, d, ..] = long.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    })
}
