//! Who may be connected: a fixed number, and those without a request make room first.

use super::peer::{Peer, stranger};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio_util::sync::CancellationToken;

/// The connections of a server.
#[derive(Debug)]
pub struct Slots {
    max: usize,
    per_address_max: usize,
    taken: AtomicUsize,
    /// Those that wait for a request, by when they began to: the first has waited longest.
    waiting: Mutex<Waiting>,
    /// Of each address that is not this machine's.
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    by_age: BTreeMap<u64, CancellationToken>,
}

/// One connection's place; dropping it frees the place.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    /// `None` on this machine.
    address: Option<IpAddr>,
    /// Where it stands among the waiting; `None` while it is served.
    position: Mutex<Option<u64>>,
    evicted: CancellationToken,
}

impl Slots {
    pub fn new(max: usize, per_address_max: usize) -> Arc<Slots> {
        let (waiting, by_address) = (Mutex::default(), Mutex::default());
        Arc::new(Slots { max, per_address_max, taken: AtomicUsize::new(0), waiting, by_address })
    }

    /// Places taken now.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// A place for a new connection. Where all are taken, the longest waiting one is told to go; where everybody is
    /// being served, there is none; nor is there for an address that has its share.
    pub fn take(self: &Arc<Slots>, address: IpAddr) -> Option<Slot> {
        let address = stranger(Some(Peer(address)));
        let own = address.map_or(0, |address| self.by_address.lock().get(&address).copied().unwrap_or(0));
        if own >= self.per_address_max {
            return None;
        }
        // The one told to go leaves a moment later, so for that moment one more than the maximum is there.
        if self.taken() >= self.max {
            let (_, longest) = self.waiting.lock().by_age.pop_first()?;
            longest.cancel();
        }
        self.taken.fetch_add(1, Ordering::Relaxed);
        if let Some(address) = address {
            *self.by_address.lock().entry(address).or_default() += 1;
        }
        let slot = Slot { slots: self.clone(), address, position: Mutex::new(None), evicted: CancellationToken::new() };
        slot.wait();
        Some(slot)
    }
}

impl Slot {
    /// The connection waits for a request from now on, and may be told to go.
    pub fn wait(&self) {
        let mut waiting = self.slots.waiting.lock();
        let position = waiting.next;
        waiting.next += 1;
        waiting.by_age.insert(position, self.evicted.clone());
        *self.position.lock() = Some(position);
    }

    /// A request came: from now on it is served.
    pub fn serve(&self) {
        if let Some(position) = self.position.lock().take() {
            self.slots.waiting.lock().by_age.remove(&position);
        }
    }

    /// Done when the connection has to make room.
    pub fn evicted(&self) -> &CancellationToken {
        &self.evicted
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.serve();
        self.slots.taken.fetch_sub(1, Ordering::Relaxed);
        if let Some(address) = self.address
            && let Entry::Occupied(mut count) = self.slots.by_address.lock().entry(address)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn an_address_has_its_share_and_this_machine_has_no_limit() {
        let slots = Slots::new(100, 2);
        let there = |last: u8| IpAddr::V4(Ipv4Addr::new(192, 0, 2, last));
        let first = slots.take(there(1)).unwrap();
        let _second = slots.take(there(1)).unwrap();
        assert!(slots.take(there(1)).is_none());
        let _other = slots.take(there(2)).unwrap();
        let here: Vec<Slot> = (0..50).map(|_| slots.take(HERE).unwrap()).collect();
        drop((first, here));
        drop(slots.take(there(1)).unwrap());
        drop((_second, _other));
        assert!(slots.by_address.lock().is_empty());
    }

    #[test]
    fn the_longest_waiting_makes_room_and_the_served_never_do() {
        let slots = Slots::new(3, 2);
        let served = slots.take(HERE).unwrap();
        served.serve();
        let (old, young) = (slots.take(HERE).unwrap(), slots.take(HERE).unwrap());
        old.serve();
        old.wait();
        // `old` began to wait again after `young` did.
        let newcomer = slots.take(HERE).unwrap();
        assert!(young.evicted().is_cancelled() && !old.evicted().is_cancelled() && !served.evicted().is_cancelled());
        drop(young);
        assert_eq!(slots.taken(), 3);
        newcomer.serve();
        old.serve();
        assert!(slots.take(HERE).is_none(), "everybody is being served");
        drop(served);
        assert!(slots.take(HERE).is_some());
    }
}
