//! What is broken on purpose, to show that the simulation sees it: a variant for each rule that plan and keeper can break.

use crate::{
    lifecycle::{
        keeper::{KeeperMutant, Tamper},
        ledger::LedgerMutant,
        plan::{Matter, MintReason, Plan, RevokeReason, Step, View},
    },
    model::{Event, Gone, Held, Known, Name, Origin, Record, Revoked, Spec, after, due_age},
};

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Break {
    Nothing,
    /// The store says that it has sealed what it has not.
    SealsNothing,
    /// The same, for what was just minted.
    ForgetsWhatItMinted,
    /// A mint is carried out twice, and the second token is hidden from lists.
    RepeatsMints,
    /// What bears a label of this store is ended, whoever minted it.
    RevokesUnknown,
    /// What a list lacks is gone.
    BelievesOneList,
    /// The data plane says yes before it knows the token everywhere.
    AcceptsTooSoon,
    /// `next` is promoted before it was probed.
    PromotesUnprobed,
    /// The current token is ended.
    EndsCurrent,
    /// Others' tokens are listed under labels that this store sealed.
    ListsOthersAsOurs,
    /// Tokens that others use are imported as if they did not.
    TakesOthersForItsOwn,
    /// What another machine uses, of a store that was copied, is ended.
    EndsInherited,
    /// The keeper believes that no overlap is wanted.
    EndsTooSoon,
    /// Consumers never get a second value.
    DeliversOnce,
    /// Nobody is seen to hold anything.
    SeesNoHolders,
    /// No clock but the server's is asked.
    TrustsTheDate,
    /// The local clock tells whatever the server's does.
    AgreesWithAnyDate,
    /// However many names leave the list, nobody is asked.
    NeverBrakes,
    /// What goes is replaced, however often.
    ReplacesForEver,
    /// Where tokens live elsewhere, others are minted.
    MintsElsewhere,
    /// Each pass seals something.
    WritesForNothing,
    /// A SIGTERM is not heard.
    HearsNoStop,
    /// A name that leaves the list is ended at once.
    EndsAtOnce,
    /// What the list does not ask for any more is taken at once.
    NarrowsAtOnce,
    /// A token is as old as the server claims.
    BelievesCreation,
    /// What a list shows as revoked or expired is gone.
    BelievesRevocation,
    /// A row that cannot be read is not there.
    SkipsUnreadableRows,
    /// What was refused was never minted.
    ForgetsRefused,
    /// A token without its label is as good as any.
    KeepsUnlabelled,
    /// A server that asks for a day gets it.
    ObeysAnyWait,
    /// The next pass begins a second after the last.
    NeverRests,
    /// A stray is revoked whatever its name has.
    RevokesStraysAtOnce,
    /// A former token that works stays one where there is no current one.
    ReinstatesNothing,
    /// What was revoked and lives is not revoked again.
    RevokesOnce,
    /// The same, for tokens that were imported.
    ForgetsImports,
    /// What was replaced before anybody had it lives on.
    KeepsUnused,
    /// Whoever copies a store with a record that cannot be read goes on with that.
    SkipsUnread,
    /// What a write without a durable folder left in the store counts as sealed.
    TrustsFailedWrites,
    /// That a former token is about to be revoked is not sealed before.
    RevokesUnsealed,
    /// Tokens that do not expire are replaced at the same age, whatever their jitter.
    RotatesTogether,
    /// Where the list has given a server's name to another, the former one still gets its mints.
    MintsForFormerServer,
}

/// Each with what it must be caught as.
pub(super) const CAUGHT: [(Break, &str); 40] = [
    (Break::ForgetsWhatItMinted, "rule 1"),
    (Break::SealsNothing, "rule 2"),
    (Break::RepeatsMints, "converge"),
    (Break::RevokesUnknown, "rule 8: somebody else's token is ended"),
    (Break::BelievesOneList, "rule 4"),
    (Break::AcceptsTooSoon, "rule 6"),
    (Break::PromotesUnprobed, "rule 6"),
    (Break::EndsCurrent, "rule 7"),
    (Break::ListsOthersAsOurs, "rule 8"),
    (Break::TakesOthersForItsOwn, "rule 8"),
    (Break::EndsInherited, "rule 8: a token that others use"),
    (Break::EndsTooSoon, "rule 9: before its time"),
    (Break::DeliversOnce, "rule 9: before the new value has arrived"),
    (Break::SeesNoHolders, "consumers: "),
    (Break::TrustsTheDate, "before its"),
    (Break::AgreesWithAnyDate, "before its"),
    (Break::NeverBrakes, "rule 11: so many ends"),
    (Break::ReplacesForEver, "rule 11: replaced"),
    (Break::MintsElsewhere, "rule 12"),
    (Break::WritesForNothing, "rule 15"),
    (Break::HearsNoStop, "rule 17"),
    (Break::EndsAtOnce, "rule 20: before its grace"),
    (Break::NarrowsAtOnce, "consumers: "),
    (Break::BelievesCreation, "rule 11: "),
    (Break::BelievesRevocation, "rule 4"),
    (Break::SkipsUnreadableRows, "rule 4"),
    (Break::ForgetsRefused, "converge"),
    (Break::KeepsUnlabelled, "rule 3"),
    (Break::ObeysAnyWait, "rule 10"),
    (Break::NeverRests, "rule 15: "),
    (Break::RevokesStraysAtOnce, "rule 3: a stray is revoked"),
    (Break::ReinstatesNothing, "rule 4: a former token that works"),
    (Break::RevokesOnce, "lives although it was revoked"),
    (Break::ForgetsImports, "lives although it was revoked"),
    (Break::KeepsUnused, "that nobody had lives"),
    (Break::SkipsUnread, "rule 13"),
    (Break::TrustsFailedWrites, "rule 1: a secret is used before it is sealed"),
    (Break::RevokesUnsealed, "rule 9: before it is sealed"),
    (Break::RotatesTogether, "jitter"),
    (Break::MintsForFormerServer, "rule 12: a mint on a server"),
];

impl Break {
    /// What is done to each plan.
    pub(super) fn tamper(self) -> Option<Tamper> {
        Some(match self {
            Self::RevokesUnknown => revoke_unknown,
            Self::BelievesOneList => believe_one_list,
            Self::PromotesUnprobed => promote_unprobed,
            Self::EndsCurrent => end_current,
            Self::EndsInherited => end_inherited,
            Self::NeverBrakes => never_brake,
            Self::ReplacesForEver => replace_for_ever,
            Self::MintsElsewhere => mint_elsewhere,
            Self::WritesForNothing => write_for_nothing,
            Self::EndsAtOnce => end_at_once,
            Self::NarrowsAtOnce => narrow_at_once,
            Self::BelievesCreation => believe_creation,
            Self::BelievesRevocation => believe_revocation,
            Self::SkipsUnreadableRows => skip_unreadable_rows,
            Self::RevokesStraysAtOnce => revoke_strays_at_once,
            Self::ReinstatesNothing => reinstate_nothing,
            Self::RevokesOnce => revoke_once,
            Self::ForgetsImports => forget_imports,
            Self::KeepsUnused => keep_unused,
            Self::RotatesTogether => rotate_together,
            Self::MintsForFormerServer => mint_for_former_server,
            _ => return None,
        })
    }

    /// What is wrong with a keeper.
    pub(super) fn mutant(self) -> Option<KeeperMutant> {
        match self {
            Self::ObeysAnyWait => Some(KeeperMutant::Obedient),
            Self::NeverRests => Some(KeeperMutant::Restless),
            Self::RevokesUnsealed => Some(KeeperMutant::RevokesUnsealed),
            Self::MintsForFormerServer => Some(KeeperMutant::MintsForOthers),
            _ => None,
        }
    }

    /// What is wrong with the ledger.
    pub(super) fn ledger_mutant(self) -> Option<LedgerMutant> {
        match self {
            Self::SkipsUnread => Some(LedgerMutant::SkipsUnread),
            Self::TrustsFailedWrites => Some(LedgerMutant::TrustsFailedWrites),
            _ => None,
        }
    }
}

fn records<'a>(view: &'a View<'_>) -> impl Iterator<Item = &'a Record> {
    view.records.values().filter_map(Known::record)
}

fn names(plan: &Plan, is_it: impl Fn(&Matter) -> bool) -> Vec<Name> {
    plan.findings.iter().filter(|finding| is_it(&finding.matter)).filter_map(|one| one.name.clone()).collect()
}

fn end(name: &Name, held: &Held, why: RevokeReason) -> Step {
    Step::Revoke { name: name.clone(), id: held.id.clone(), why }
}

fn revoke_unknown(plan: &mut Plan, _: &View<'_>) {
    for finding in &plan.findings {
        if let (Some(name), Matter::Unknown { id, marker, .. }) = (&finding.name, &finding.matter) {
            let (name, id, marker) = (name.clone(), id.clone(), Some(marker.clone()));
            plan.steps.push(Step::RevokeStray { name, id, marker });
        }
    }
}

fn believe_one_list(plan: &mut Plan, _: &View<'_>) {
    for step in &mut plan.steps {
        if let Step::Verify { name, id } = step {
            let event = Event::Gone { id: id.clone(), how: Gone::Absent };
            *step = Step::Note { name: name.clone(), event };
        }
    }
}

fn promote_unprobed(plan: &mut Plan, _: &View<'_>) {
    for step in &mut plan.steps {
        if let Step::Probe { name, id, .. } = step {
            *step = Step::Promote { name: name.clone(), id: id.clone() };
        }
    }
}

fn end_current(plan: &mut Plan, view: &View<'_>) {
    for record in records(view).filter(|record| view.specs.contains_key(&record.name)) {
        if let Some((held, marker)) =
            record.current.as_ref().and_then(|held| Some((held, held.marker.clone()?)))
        {
            let marker = Some(marker);
            plan.steps.push(Step::RevokeStray { name: record.name.clone(), id: held.id.clone(), marker });
        }
    }
}

/// By a step that the keeper does not look at once more, as it does at others.
fn end_inherited(plan: &mut Plan, view: &View<'_>) {
    for record in records(view) {
        let inherited = record.held().filter(|held| held.origin == Origin::Inherited);
        let revoke = |held: &Held| {
            let (name, id, marker) = (record.name.clone(), held.id.clone(), held.marker.clone());
            Step::RevokeStray { name, id, marker }
        };
        plan.steps.extend(inherited.map(revoke));
    }
}

fn never_brake(plan: &mut Plan, view: &View<'_>) {
    for name in names(plan, |matter| *matter == Matter::RevocationUnconfirmed) {
        let record = view.records[&name].record().expect("it is planned for");
        plan.steps.extend(record.held().map(|held| end(&name, held, RevokeReason::Removed)));
    }
}

fn replace_for_ever(plan: &mut Plan, _: &View<'_>) {
    for name in names(plan, |matter| matches!(matter, Matter::Paused { .. })) {
        plan.steps.push(Step::Mint { name, why: MintReason::Gone });
    }
}

fn mint_elsewhere(plan: &mut Plan, _: &View<'_>) {
    for name in names(plan, |matter| matches!(matter, Matter::ServerChanged { .. })) {
        plan.steps.push(Step::Mint { name, why: MintReason::Missing });
    }
}

fn write_for_nothing(plan: &mut Plan, view: &View<'_>) {
    for record in records(view) {
        let wanted = view.specs.get(&record.name).map(|spec| spec.grants.clone());
        let event = Event::SurplusNoted(wanted.filter(|_| record.surplus_since.is_none()));
        plan.steps.push(Step::Note { name: record.name.clone(), event });
    }
}

fn end_at_once(plan: &mut Plan, view: &View<'_>) {
    for name in names(plan, |matter| matches!(matter, Matter::LeftTheList { .. })) {
        let record = view.records[&name].record().expect("it is planned for");
        plan.steps.extend(record.held().map(|held| end(&name, held, RevokeReason::Removed)));
    }
}

fn narrow_at_once(plan: &mut Plan, view: &View<'_>) {
    for step in &mut plan.steps {
        if let Step::Patch { name, grants, .. } = step
            && let Some(spec) = view.specs.get(name)
        {
            *grants = spec.grants.clone();
        }
    }
}

fn believe_creation(plan: &mut Plan, view: &View<'_>) {
    for record in records(view).filter(|record| record.next.is_none()) {
        let lifetime = view.specs.get(&record.name).and_then(|spec| spec.lifetime);
        let claimed = record.current.as_ref().and_then(|current| current.claimed_created_at);
        if lifetime.zip(claimed).is_some_and(|(lifetime, at)| after(at, due_age(lifetime)) <= view.now) {
            plan.steps.push(Step::Mint { name: record.name.clone(), why: MintReason::Due });
        }
    }
}

fn set_aside(plan: &mut Plan, record: &Record, held: &Held, gone: Gone) {
    let event = Event::Gone { id: held.id.clone(), how: gone };
    plan.steps.push(Step::Note { name: record.name.clone(), event });
}

fn believe_revocation(plan: &mut Plan, view: &View<'_>) {
    for record in records(view) {
        let Some(current) = &record.current else { continue };
        let is_dead = |row: &&crate::model::Listed| row.id == current.id && !row.is_live(view.now);
        if view.listing.tokens.iter().any(|row| is_dead(&row)) {
            set_aside(plan, record, current, Gone::Shown);
        }
    }
}

fn skip_unreadable_rows(plan: &mut Plan, view: &View<'_>) {
    for record in records(view) {
        let Some(current) = &record.current else { continue };
        if view.listing.faults.iter().any(|fault| fault.id.as_ref() == Some(&current.id)) {
            set_aside(plan, record, current, Gone::Absent);
        }
    }
}

fn revoke_strays_at_once(plan: &mut Plan, view: &View<'_>) {
    for finding in &plan.findings {
        if let (Some(name), Matter::StrayWaits(id)) = (&finding.name, &finding.matter) {
            let row = view.listing.tokens.iter().find(|row| row.id == *id);
            let marker = row.and_then(|row| Some(row.label.as_ref()?.marker.clone()));
            plan.steps.push(Step::RevokeStray { name: name.clone(), id: id.clone(), marker });
        }
    }
}

fn reinstate_nothing(plan: &mut Plan, _: &View<'_>) {
    plan.steps.retain(|step| !matches!(step, Step::Note { event: Event::Reinstated(_), .. }));
}

fn revoke_once(plan: &mut Plan, view: &View<'_>) {
    plan.steps.retain(|step| revoked_before(view, step).is_none());
}

fn forget_imports(plan: &mut Plan, view: &View<'_>) {
    plan.steps.retain(|step| revoked_before(view, step).is_none_or(|revoked| revoked.marker.is_some()));
}

/// What the record knows of a token that a step revokes once more.
fn revoked_before<'a>(view: &'a View<'_>, step: &Step) -> Option<&'a Revoked> {
    let Step::RevokeStray { name, id, .. } = step else { return None };
    let is_it = |revoked: &&Revoked| revoked.id == *id;
    view.records.get(name)?.record()?.revoked.iter().find(is_it)
}

fn keep_unused(plan: &mut Plan, _: &View<'_>) {
    plan.steps.retain(|step| !matches!(step, Step::Revoke { why: RevokeReason::Unused, .. }));
}

fn rotate_together(plan: &mut Plan, view: &View<'_>) {
    let due = |name: &Name| {
        let lifetime = view.specs.get(name).and_then(|spec| spec.lifetime)?;
        let current = view.records.get(name)?.record()?.current.as_ref()?;
        let is_endless = current.expires_at.is_none();
        Some(after(current.created_at, due_age(lifetime))).filter(|due| is_endless && *due > view.now)
    };
    let (early, steps): (Vec<Step>, _) = std::mem::take(&mut plan.steps)
        .into_iter()
        .partition(|step| matches!(step, Step::Mint { name, why: MintReason::Due } if due(name).is_some()));
    plan.steps = steps;
    let due = early.iter().filter_map(|step| due(step.name()?));
    plan.next_due = plan.next_due.into_iter().chain(due).min();
}

fn mint_for_former_server(plan: &mut Plan, view: &View<'_>) {
    let is_former = |spec: &&Spec| spec.server == *view.server && spec.key != *view.key;
    let mint = |spec: &Spec| Step::Mint { name: spec.name.clone(), why: MintReason::Missing };
    plan.steps.extend(view.specs.values().filter(is_former).map(mint));
}
