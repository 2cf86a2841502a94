//! What one seed means: how many peers, how much content, which faults.

use reactor_peer::units::rng::Rng;

/// The course of one simulation, all of it drawn from the seed.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub hosts: usize,
    pub seeders: usize,
    pub length: usize,
    pub piece_length: u32,
    /// Faults go on until then; zero is a swarm without faults.
    pub faults_until: u64,
    /// Between two faults, at most.
    pub fault_pause: u64,
    /// The host that sends bad blocks until the faults end.
    pub poisoner: Option<usize>,
    pub upload_slots: usize,
    pub seed_dials: bool,
    /// No tracker: each host is told of one other, and finds the rest by `ut_pex` and `rp_peers`.
    pub gossip: bool,
    /// Bytes that one direction of a link holds.
    pub window: usize,
    /// Bytes a second of each direction of a link.
    pub bandwidth: u64,
    /// Most microseconds from end to end.
    pub latency: u64,
    /// One read or write in so many moves a few bytes only.
    pub tiny: u64,
}

impl Plan {
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x5eed_5eed_5eed_5eed);
        // All bytes that all peers fetch together: what one seed may cost.
        let budget = if cfg!(debug_assertions) { 3_000_000 } else { 24_000_000 };
        let crowd = seed % 20 == 19;
        let hosts = if crowd { 200 } else { 3 + rng.index(38) };
        let most = (budget / hosts).clamp(40_000, 2_000_000);
        let least = if crowd { 20_000 } else { 100_000.min(most - 1) };
        let length = least + rng.index(most - least);
        let piece_length = [16_384, 32_768, 65_536, 40_000, 131_072][rng.index(5)];
        let faults = rng.below(4) > 0;
        let seeders = 1 + rng.index(2.min(hosts - 1));
        let poisons = faults && rng.below(3) == 0 && hosts > seeders + 1;
        Self {
            seed,
            hosts,
            seeders,
            length,
            piece_length,
            faults_until: if faults { 1_000_000 * (3 + rng.below(30)) } else { 0 },
            fault_pause: if crowd { 200_000 } else { 30_000 + rng.below(1_000_000) },
            poisoner: poisons.then(|| seeders + rng.index(hosts - seeders)),
            upload_slots: 1 + rng.index(8),
            seed_dials: rng.below(2) == 0,
            gossip: seed % 3 == 1,
            window: 2_000 + rng.index(200_000),
            bandwidth: 30_000 << rng.below(8),
            latency: 100 << rng.below(10),
            tiny: 2 + rng.below(30),
        }
    }
}
