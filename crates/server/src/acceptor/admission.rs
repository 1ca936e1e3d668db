//! How many connections there may be, in total and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The connections of one server.
#[derive(Debug)]
pub(crate) struct Admissions {
    total_max: usize,
    address_max: usize,
    total: AtomicUsize,
    /// The most there were since this was last taken.
    most: AtomicUsize,
    /// A lock: taken once when a connection comes and once when it goes, never for a message.
    addresses: Mutex<HashMap<AddressKey, usize>>,
}

/// One connection that was let in; it counts until this is dropped.
#[derive(Debug)]
pub(crate) struct Admission {
    /// None: another counts for the same client.
    admissions: Option<Arc<Admissions>>,
    address: Option<AddressKey>,
}

/// Why a connection is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The server has as many as it may have.
    Total,
    /// The address has as many as it may have.
    Address,
}

/// What counts as one address: the IPv6 /64 that one subscriber gets. An IPv4 address stands for
/// the network it has by RFC 3056, `2002:V4ADDR::/48`. Every connection holds one: eight bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct AddressKey(NonZeroU64);

impl Admissions {
    pub(crate) fn new(total_max: usize, address_max: usize) -> Arc<Self> {
        let (total, most, addresses) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::default());
        Arc::new(Self { total_max, address_max, total, most, addresses })
    }

    /// Lets a connection in, or says why not.
    pub(crate) fn admit(self: &Arc<Self>, from: IpAddr) -> Result<Admission, Refused> {
        let before = self.total.fetch_add(1, Ordering::Relaxed);
        if before >= self.total_max {
            self.total.fetch_sub(1, Ordering::Relaxed);
            return Err(Refused::Total);
        }
        self.most.fetch_max(before + 1, Ordering::Relaxed);
        // From here on the total is given back by the drop of the admission.
        let mut admission = Admission { admissions: Some(Arc::clone(self)), address: None };
        if let Some(key) = key(from) {
            let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
            let count = addresses.entry(key).or_default();
            if *count >= self.address_max {
                drop(addresses);
                return Err(Refused::Address);
            }
            *count += 1;
            admission.address = Some(key);
        }
        Ok(admission)
    }

    /// How many connections there are.
    pub(crate) fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// The most there were at a time since this was last asked.
    pub(crate) fn take_most(&self) -> usize {
        self.most.swap(self.total(), Ordering::Relaxed)
    }
}

impl Admission {
    /// For a connection whose client is counted elsewhere.
    pub(crate) fn of_another() -> Self {
        Self { admissions: None, address: None }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let Some(admissions) = &self.admissions else { return };
        admissions.total.fetch_sub(1, Ordering::Relaxed);
        let Some(key) = self.address else { return };
        let addresses = admissions.addresses.lock();
        let mut addresses = addresses.unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = addresses.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&key);
            }
        }
        if addresses.is_empty() {
            addresses.shrink_to_fit();
        }
    }
}

/// None for loopback, which is not counted: proxies and developers come from there.
fn key(address: IpAddr) -> Option<AddressKey> {
    let prefix = match address.to_canonical() {
        address if address.is_loopback() => return None,
        IpAddr::V4(address) => 0x2002 << 48 | u64::from(address.to_bits()) << 16,
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
    };
    // Nobody routes ::/64; all of it counts as one.
    Some(AddressKey(NonZeroU64::new(prefix).unwrap_or(NonZeroU64::MIN)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn admit(admissions: &Arc<Admissions>, from: &str) -> Result<Admission, Refused> {
        admissions.admit(from.parse().unwrap())
    }

    #[test]
    fn the_total_is_bounded_and_given_back() {
        let admissions = Admissions::new(2, 100);
        let one = admit(&admissions, "127.0.0.1").unwrap();
        let _two = admit(&admissions, "192.0.2.1").unwrap();
        assert_eq!(admit(&admissions, "192.0.2.2").unwrap_err(), Refused::Total);
        drop(one);
        assert_eq!(admissions.total(), 1);
        assert!(admit(&admissions, "192.0.2.2").is_ok());
    }

    #[test]
    fn an_address_is_bounded_by_its_prefix_and_loopback_is_not() {
        let admissions = Admissions::new(100, 1);
        let kept = admit(&admissions, "2001:db8:1:2:3::1").unwrap();
        assert_eq!(admit(&admissions, "2001:db8:1:2:ffff::9").unwrap_err(), Refused::Address);
        let _other = admit(&admissions, "2001:db8:1:3::1").unwrap();
        let _v4 = admit(&admissions, "192.0.2.1").unwrap();
        assert_eq!(admit(&admissions, "::ffff:192.0.2.1").unwrap_err(), Refused::Address);
        let _loopback = [
            admit(&admissions, "127.0.0.1").unwrap(),
            admit(&admissions, "127.0.0.1").unwrap(),
            admit(&admissions, "::1").unwrap(),
            admit(&admissions, "::1").unwrap(),
        ];
        assert_eq!(admissions.total(), 7);
        drop(kept);
        let _again = admit(&admissions, "2001:db8:1:2:ffff::9").unwrap();
        assert_eq!(admissions.total(), 7);
    }
}
