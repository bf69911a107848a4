"""Several processes that write to the same accounts: no deadlock, nothing overspent."""

from __future__ import annotations

from benchmarks.workers import measure


async def test_four_processes_spend_one_accounts_credit_exactly(postgres_url: str) -> None:
    figures = await measure(postgres_url, workers=4, accounts=100, seconds=1, credit=600)
    assert figures.ok, figures
