//! The tokens that `get_peers` gives out and `announce_peer` brings back (BEP 5): who announces
//! an address has received something there.

use crate::units::id::InfoHash;
use crate::units::time::Instant;
use crate::wire::digest::Hasher;
use core::net::IpAddr;

/// BEP 5: the secret changes every five minutes, tokens up to ten minutes old are accepted.
const EPOCH_SECONDS: u64 = 5 * 60;

/// Bytes of a token of ours: 2^64 guesses are enough for ten minutes.
const TOKEN_BYTES: usize = 8;

/// Makes tokens and knows them again, without remembering any.
#[derive(Clone, Debug)]
pub(super) struct Tokens {
    secret: [u8; 20],
}

impl Tokens {
    pub(super) const fn new(secret: [u8; 20]) -> Self {
        Self { secret }
    }

    pub(super) fn make(&self, now: Instant, ip: IpAddr, hash: InfoHash) -> [u8; TOKEN_BYTES] {
        self.of_epoch(now.as_micros() / 1_000_000 / EPOCH_SECONDS, ip, hash)
    }

    pub(super) fn accepts(&self, now: Instant, ip: IpAddr, hash: InfoHash, token: &[u8]) -> bool {
        let epoch = now.as_micros() / 1_000_000 / EPOCH_SECONDS;
        let epochs = [Some(epoch), epoch.checked_sub(1)];
        epochs.into_iter().flatten().any(|epoch| self.of_epoch(epoch, ip, hash) == token)
    }

    fn of_epoch(&self, epoch: u64, ip: IpAddr, hash: InfoHash) -> [u8; TOKEN_BYTES] {
        let mut hasher = Hasher::default();
        hasher.update(&self.secret);
        hasher.update(&epoch.to_be_bytes());
        match ip {
            IpAddr::V4(ip) => hasher.update(&ip.octets()),
            IpAddr::V6(ip) => hasher.update(&ip.octets()),
        }
        hasher.update(&hash.0);
        let digest = hasher.finish();
        core::array::from_fn(|i| digest[i])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_for_one_address_one_swarm_and_ten_minutes() {
        let at = |seconds: u64| Instant::from_micros(seconds * 1_000_000);
        let (tokens, hash) = (Tokens::new([1; 20]), InfoHash([2; 20]));
        let (ip, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let token = tokens.make(at(299), ip, hash);
        assert!(tokens.accepts(at(299), ip, hash, &token));
        assert!(tokens.accepts(at(599), ip, hash, &token));
        assert!(!tokens.accepts(at(600), ip, hash, &token));
        assert!(!tokens.accepts(at(299), other, hash, &token));
        assert!(!tokens.accepts(at(299), ip, InfoHash([3; 20]), &token));
        assert!(!tokens.accepts(at(299), ip, hash, &token[..7]));
        assert!(!Tokens::new([9; 20]).accepts(at(299), ip, hash, &token));
        let fresh = tokens.make(at(300), ip, hash);
        assert!(!tokens.accepts(at(299), ip, hash, &fresh), "the next secret is not known yet");
    }
}
