//! Which faults come one after the other, made from a number.

use std::io::Read as _;

use anyhow::Result;
use pgsteer_testkit::Passage;

use crate::site::Promoter;

/// Something that happens to the servers, to the network or to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The machine of the primary fails.
    KillPrimary,
    /// The primary ends without a checkpoint and is not started again.
    StopPrimary,
    /// The primary answers nothing until another one has taken over, then goes on as if nothing
    /// had been.
    FreezePrimary,
    /// The primary answers nothing for a moment; nobody takes over.
    HiccupPrimary,
    /// Nobody reaches the primary until another one has taken over; then it is back.
    IsolatePrimary(Passage),
    /// The proxy does not reach the primary, the replicas do; nobody takes over.
    HidePrimary(Passage),
    /// A replica is promoted by hand while the primary runs; the primary is stopped a moment later.
    PromoteByHand,
    /// An operator hands the work of the primary to a replica.
    Switchover,
    /// A replica's machine fails and comes back.
    KillReplica,
    /// A replica answers nothing for a moment.
    FreezeReplica,
    /// Nobody reaches a replica for a moment.
    IsolateReplica(Passage),
    /// The proxy is started anew.
    RestartProxy,
    /// The primary's machine fails while the proxy is started anew.
    KillPrimaryAndProxy,
}

/// A sequence of faults.
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) faults: Vec<Fault>,
}

impl Plan {
    /// The one of `make test`, about a minute.
    pub(crate) fn short(promoter: Promoter) -> Self {
        let faults = match promoter {
            Promoter::Proxy => vec![
                Fault::KillPrimary,
                Fault::Switchover,
                Fault::HidePrimary(Passage::Silent),
                Fault::IsolatePrimary(Passage::Cut),
                Fault::KillReplica,
                Fault::PromoteByHand,
                Fault::FreezePrimary,
                Fault::KillPrimaryAndProxy,
            ],
            Promoter::Other => vec![
                Fault::KillPrimary,
                Fault::RestartProxy,
                Fault::PromoteByHand,
                Fault::HiccupPrimary,
                Fault::IsolatePrimary(Passage::Silent),
            ],
        };
        Self { seed: 1, faults }
    }

    /// As many faults as `count`; the same for the same seed.
    pub(crate) fn from_seed(seed: u64, promoter: Promoter, count: usize) -> Self {
        let mut random = Random::new(seed);
        let only = std::env::var("PGSTEER_CHAOS_ONLY").ok();
        let wanted = |fault: &Fault| {
            let name = format!("{fault:?}");
            let possible = promoter == Promoter::Proxy || *fault != Fault::Switchover;
            possible && only.as_ref().is_none_or(|only| name.starts_with(only))
        };
        let faults: Vec<Fault> = ALL.into_iter().filter(wanted).collect();
        let mut choice = || faults.get(random.below(faults.len())).copied();
        Self {
            seed,
            faults: (0..count).filter_map(|_| choice()).collect(),
        }
    }
}

/// With the weight they deserve.
const ALL: [Fault; 17] = [
    Fault::KillPrimary,
    Fault::KillPrimary,
    Fault::StopPrimary,
    Fault::FreezePrimary,
    Fault::HiccupPrimary,
    Fault::IsolatePrimary(Passage::Cut),
    Fault::IsolatePrimary(Passage::Silent),
    Fault::HidePrimary(Passage::Cut),
    Fault::HidePrimary(Passage::Silent),
    Fault::PromoteByHand,
    Fault::Switchover,
    Fault::Switchover,
    Fault::KillReplica,
    Fault::FreezeReplica,
    Fault::IsolateReplica(Passage::Silent),
    Fault::RestartProxy,
    Fault::KillPrimaryAndProxy,
];

/// Numbers that look random and are the same for the same seed (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound = bound.max(1) as u64;
        usize::try_from(self.next() % bound).unwrap_or(0)
    }
}

/// A seed nobody has chosen.
pub(crate) fn random_seed() -> Result<u64> {
    let mut bytes = [0; 4];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u32::from_ne_bytes(bytes).into())
}
