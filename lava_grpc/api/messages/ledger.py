"""Entries, and what a check of the books found."""

from __future__ import annotations

from lava.v1 import ledger_service_pb2 as pb

from lava_grpc.api.messages.enums import ENTRY_KINDS
from lava_grpc.api.messages.times import to_timestamp
from lava_grpc.core.books import StoredEntry, VerifyReport
from lava_grpc.core.money import format_amount


def from_entry(stored: StoredEntry) -> pb.LedgerEntry:
    """The entry as its merchant sees it."""
    entry = stored.entry
    return pb.LedgerEntry(
        entry_id=stored.entry_id,
        debit_account=entry.debit,
        credit_account=entry.credit,
        amount=format_amount(entry.amount),
        kind=ENTRY_KINDS[entry.kind],
        request_id=entry.request_id,
        reservation_id=entry.hold_id,
        grant_id=entry.grant_id,
        created_at=to_timestamp(entry.created_at),
    )


def from_report(report: VerifyReport) -> pb.VerifyResponse:
    """What the check found."""
    return pb.VerifyResponse(
        ok=not report.findings,
        findings=[
            pb.VerifyFinding(
                rule=finding.rule, kind=finding.kind, id=finding.ident, detail=finding.detail
            )
            for finding in report.findings
        ],
        accounts_checked=report.accounts_checked,
        entries_checked=report.entries_checked,
        holds_checked=report.holds_checked,
    )
