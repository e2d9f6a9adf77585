//! What can go wrong, what it can hit, and how often it did.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
};

/// What the keeper does, seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Op {
    Load,
    /// One record, after a seal that failed.
    Read,
    List,
    Databases,
    Get,
    Mint,
    Patch,
    Revoke,
    Check,
    /// A seal with one more intent.
    Intend,
    /// One with another `next`.
    TakeIn,
    /// One with another current token.
    Promote,
    /// Any other.
    Note,
    Deliver,
}

use Op::{
    Check, Databases, Deliver, Get, Intend, List, Load, Mint, Note, Patch, Promote, Read, Revoke, TakeIn,
};

pub(super) const OPS: [Op; 14] =
    [Load, Read, List, Databases, Get, Mint, Patch, Revoke, Check, Intend, TakeIn, Promote, Note, Deliver];

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    // Within an operation.
    Crash,
    RequestLost,
    AnswerLost,
    CarriedOutLate,
    ServerError,
    Refused,
    ListLags,
    ListFiltered,
    SlowActivation,
    ExpiryIgnored,
    // What the server claims.
    CreationClaimed,
    ExpiryClaimed,
    RevocationClaimed,
    DateUnreadable,
    RowUnreadable,
    LabelCut,
    RefusedAfterEffect,
    /// The server says that it has revoked a token, and has not.
    RevocationIgnored,
    RetryAfter,
    SealFailed,
    SealFailedAfterAll,
    /// The same, and it is lost with the power unless it is written again.
    FolderNotSynced,
    ReadFailed,
    StoreAway,
    DeliveryFailed,
    // Between two of them: counted with the one that follows.
    ListEdited,
    ClockAhead,
    TwinMints,
    StrangerEnds,
    StrangerAlters,
    ConsumerSticks,
    ConsumerEnds,
    // Between two processes.
    BackupRestored,
    Rebooted,
    /// What was not written durably is gone.
    PowerLost,
    RecordUnreadable,
    /// A later program has written it.
    RecordLater,
    AddressChanged,
}

use Fault::{
    AddressChanged, AnswerLost, BackupRestored, CarriedOutLate, ClockAhead, ConsumerEnds, ConsumerSticks,
    Crash, CreationClaimed, DateUnreadable, DeliveryFailed, ExpiryClaimed, ExpiryIgnored, FolderNotSynced,
    LabelCut, ListEdited, ListFiltered, ListLags, PowerLost, ReadFailed, Rebooted, RecordLater,
    RecordUnreadable, Refused, RefusedAfterEffect, RequestLost, RetryAfter, RevocationClaimed,
    RevocationIgnored, RowUnreadable, SealFailed, SealFailedAfterAll, ServerError, SlowActivation, StoreAway,
    StrangerAlters, StrangerEnds, TwinMints,
};

const REQUESTS: &[Op] = &[List, Databases, Get, Mint, Patch, Revoke, Check];
const SEALS: &[Op] = &[Intend, TakeIn, Promote, Note];
const ALL: &[Op] = &[List, Databases, Mint, Patch, Revoke, Check, Intend, TakeIn, Promote, Note, Deliver];
const START: &[Op] = &[Load];

/// What each fault can hit: a usual run must see all of it.
pub(super) const FAULTS: [(Fault, &[Op]); 38] = [
    (Crash, ALL),
    (RequestLost, REQUESTS),
    (AnswerLost, &[Mint, Patch, Revoke]),
    // A change of grants that comes late may take what was given meanwhile: the next list shows it.
    (CarriedOutLate, &[Mint, Revoke]),
    (ServerError, REQUESTS),
    (Refused, &[Mint, Patch, Revoke]),
    (ListLags, &[List]),
    (ListFiltered, &[List]),
    (SlowActivation, &[Check]),
    (ExpiryIgnored, &[Mint]),
    (CreationClaimed, &[Mint]),
    (ExpiryClaimed, &[Mint]),
    (RevocationClaimed, &[List]),
    (DateUnreadable, &[List]),
    (RowUnreadable, &[List]),
    (LabelCut, &[Mint]),
    (RefusedAfterEffect, &[Mint]),
    (RevocationIgnored, &[Revoke]),
    (RetryAfter, REQUESTS),
    (SealFailed, SEALS),
    (SealFailedAfterAll, SEALS),
    (FolderNotSynced, SEALS),
    (ReadFailed, &[Read]),
    (StoreAway, &[Load, Intend, TakeIn, Promote, Note]),
    (DeliveryFailed, &[Deliver]),
    (ListEdited, ALL),
    (ClockAhead, ALL),
    (TwinMints, ALL),
    (StrangerEnds, ALL),
    (StrangerAlters, ALL),
    (ConsumerSticks, ALL),
    (ConsumerEnds, ALL),
    (BackupRestored, START),
    (Rebooted, START),
    (PowerLost, START),
    (RecordUnreadable, START),
    (RecordLater, START),
    (AddressChanged, START),
];

/// Those that happen between two operations of one process.
pub(super) const BETWEEN: [Fault; 7] =
    [ListEdited, ClockAhead, TwinMints, StrangerEnds, StrangerAlters, ConsumerSticks, ConsumerEnds];

/// How often each fault hit each operation.
#[derive(Clone, Debug, Default)]
pub(super) struct Struck(BTreeMap<(Fault, Op), usize>);

impl Struck {
    pub(super) fn note(&mut self, fault: Fault, op: Op) {
        *self.0.entry((fault, op)).or_default() += 1;
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (cell, more) in &other.0 {
            *self.0.entry(*cell).or_default() += more;
        }
    }

    fn count(&self, fault: Fault, op: Op) -> usize {
        self.0.get(&(fault, op)).copied().unwrap_or_default()
    }

    /// The first cells that are empty and need not be.
    pub(super) fn empty(&self) -> Vec<String> {
        let cells = FAULTS.iter().flat_map(|(fault, ops)| ops.iter().map(move |op| (*fault, *op)));
        cells
            .filter(|(fault, op)| self.count(*fault, *op) == 0)
            .map(|(fault, op)| format!("{fault:?} never hit {op:?}"))
            .collect()
    }
}

impl fmt::Display for Struck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut head = format!("{:<20}", "");
        OPS.iter().for_each(|op| write!(head, "{:>10}", format!("{op:?}")).expect("a string takes all"));
        writeln!(f, "{head}")?;
        for (fault, ops) in FAULTS {
            write!(f, "{:<20}", format!("{fault:?}"))?;
            for op in OPS {
                match self.count(fault, op) {
                    0 if !ops.contains(&op) => write!(f, "{:>10}", "-")?,
                    count => write!(f, "{count:>10}")?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
