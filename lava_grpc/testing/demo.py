"""Calls a gateway with a fake provider behind it until the customer's credit is out.

    python -m lava_grpc.testing.demo

Everything is real but the provider: the server, its database, the official
OpenAI and Anthropic clients over HTTP, generated stubs over gRPC.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import anthropic
import grpc
import grpc.aio
import openai
from lava.v1 import (
    credit_pb2,
    credit_service_pb2,
    credit_service_pb2_grpc,
    customer_service_pb2,
    customer_service_pb2_grpc,
    gateway_service_pb2,
    gateway_service_pb2_grpc,
    meter_pb2,
    meter_service_pb2,
    meter_service_pb2_grpc,
    request_record_pb2,
    request_service_pb2,
    request_service_pb2_grpc,
)
from rich.console import Console
from rich.table import Table

from lava_grpc.testing.stack import Stack, running_stack

CUSTOMER = "alice"
CHAT_METER = "chat"
PAGES_METER = "pages"
CREDIT = "0.0500"
CALLS_MAX = 40
REQUEST_ID_HEADER = "x-lava-request-id"


@dataclass(slots=True)
class Row:
    """A call as the table shows it."""

    what: str
    how: str
    held: str = ""
    charged: str = ""
    released: str = ""
    balance: str = ""
    note: str = ""


@dataclass(slots=True)
class Demo:
    """The clients of one demonstration, and what they did."""

    stack: Stack
    channel: grpc.aio.Channel
    openai: openai.AsyncOpenAI
    anthropic: anthropic.AsyncAnthropic
    rows: list[Row] = field(default_factory=list)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The credential of calls over gRPC."""
        return (("authorization", f"Bearer {self.stack.secret_key}"),)

    async def balance(self) -> credit_pb2.Balance:
        """What the customer has now."""
        stub = credit_service_pb2_grpc.CreditServiceStub(self.channel)
        answer = await stub.GetBalance(
            credit_service_pb2.GetBalanceRequest(customer_id=CUSTOMER), metadata=self.metadata
        )
        return answer.balance

    async def record(self, request_id: str) -> request_record_pb2.RequestRecord:
        """The record of one request."""
        stub = request_service_pb2_grpc.RequestServiceStub(self.channel)
        answer = await stub.GetRequest(
            request_service_pb2.GetRequestRequest(request_id=request_id), metadata=self.metadata
        )
        return answer.request

    async def note(self, what: str, how: str, request_id: str, note: str = "") -> None:
        """Add a call that was charged to the table."""
        record = await self.record(request_id)
        held, charged = record.held or "0", record.charge.amount
        self.rows.append(
            Row(
                what,
                how,
                held=_short(held) if record.held else "",
                charged=_short(charged),
                released=_short(max(Decimal(held) - Decimal(charged), Decimal(0)))
                if record.held
                else "",
                balance=_short((await self.balance()).balance),
                note=note,
            )
        )


async def run() -> int:
    """Run the demonstration; 0 if all went as it should."""
    console = Console(width=118)
    with tempfile.TemporaryDirectory(prefix="lava-demo-") as folder:
        async with running_stack(Path(folder)) as stack, _clients(stack) as demo:
            await _set_up(demo)
            await _chat_json(demo)
            await _chat_stream(demo)
            await _messages_json(demo)
            await _messages_stream(demo)
            await _two_steps(demo)
            await _after_the_fact(demo)
            refused = await _until_refused(demo)
            console.print(_table(demo.rows))
            code, verdict = await stack.command("verify")
            console.print(verdict.strip())
    if not refused:
        console.print("the credit did not run out")
    return 0 if refused and code == 0 else 1


@asynccontextmanager
async def _clients(stack: Stack) -> AsyncIterator[Demo]:
    token = stack.forward_token(CUSTOMER, CHAT_METER)
    forward = f"{stack.http_url}/v1/forward?u="
    async with (
        grpc.aio.insecure_channel(stack.grpc_address) as channel,
        openai.AsyncOpenAI(
            base_url=f"{forward}https://api.openai.com/v1", api_key=token, max_retries=0
        ) as chat,
        anthropic.AsyncAnthropic(
            base_url=f"{forward}https://api.anthropic.com", api_key=token, max_retries=0
        ) as messages,
    ):
        yield Demo(stack, channel, chat, messages)


async def _set_up(demo: Demo) -> None:
    meters = meter_service_pb2_grpc.MeterServiceStub(demo.channel)
    for slug, tier_type, rate in (
        (CHAT_METER, meter_pb2.TIER_TYPE_TOKENS_1M, "12.00"),
        (PAGES_METER, meter_pb2.TIER_TYPE_REQUESTS, "0.0010"),
    ):
        await meters.CreateMeter(
            meter_service_pb2.CreateMeterRequest(
                name=slug,
                meter_slug=slug,
                rate_type=meter_pb2.RATE_TYPE_FIXED,
                tier_type=tier_type,
                tiers=[meter_pb2.MeterTierInput(start="0", rate=rate)],
            ),
            metadata=demo.metadata,
        )
    customers = customer_service_pb2_grpc.CustomerServiceStub(demo.channel)
    await customers.CreateCustomer(
        customer_service_pb2.CreateCustomerRequest(reference_id=CUSTOMER, name="Alice Example"),
        metadata=demo.metadata,
    )
    credit = credit_service_pb2_grpc.CreditServiceStub(demo.channel)
    await credit.CreateCreditGrant(
        credit_service_pb2.CreateCreditGrantRequest(customer_id=CUSTOMER, amount=CREDIT),
        metadata=demo.metadata,
    )
    demo.rows.append(Row("credit granted", "gRPC", balance=_short(CREDIT)))


async def _chat_json(demo: Demo) -> None:
    answer = await demo.openai.chat.completions.with_raw_response.create(
        model="gpt-4o-mini",
        messages=[{"role": "user", "content": "Name three rivers of Europe, please."}],
        max_completion_tokens=400,
    )
    words = len((answer.parse().choices[0].message.content or "").split())
    request_id = answer.headers[REQUEST_ID_HEADER]
    await demo.note("chat completion", "openai SDK", request_id, f"{words} words")


async def _chat_stream(demo: Demo) -> None:
    answer = await demo.openai.chat.completions.with_raw_response.create(
        model="gpt-4o-mini",
        messages=[{"role": "user", "content": "Tell a short story of the sea."}],
        max_completion_tokens=400,
        stream=True,
    )
    chunks = [chunk async for chunk in answer.parse()]
    request_id = answer.headers[REQUEST_ID_HEADER]
    await demo.note("chat, streamed", "openai SDK", request_id, f"{len(chunks)} chunks")


async def _messages_json(demo: Demo) -> None:
    answer = await demo.anthropic.messages.with_raw_response.create(
        model="claude-haiku-4-5",
        messages=[{"role": "user", "content": "What is a ledger?"}],
        max_tokens=300,
    )
    message = await answer.parse()
    note = f"stopped at {message.stop_reason}"
    await demo.note("message", "anthropic SDK", answer.headers[REQUEST_ID_HEADER], note)


async def _messages_stream(demo: Demo) -> None:
    answer = await demo.anthropic.messages.with_raw_response.create(
        model="claude-haiku-4-5",
        messages=[{"role": "user", "content": "Count the boats in the harbour."}],
        max_tokens=300,
        stream=True,
    )
    events = [event.type async for event in await answer.parse()]
    request_id = answer.headers[REQUEST_ID_HEADER]
    await demo.note("message, streamed", "anthropic SDK", request_id, f"{len(events)} events")


async def _two_steps(demo: Demo) -> None:
    stub = gateway_service_pb2_grpc.GatewayServiceStub(demo.channel)
    authorized = await stub.Authorize(
        gateway_service_pb2.AuthorizeRequest(
            customer_id=CUSTOMER, meter_slug=PAGES_METER, amount="0.0050"
        ),
        metadata=demo.metadata,
    )
    hold = authorized.reservation
    rendered = "".join(f"<p>page {number}</p>" for number in range(3))  # the work itself
    reported = await stub.ReportUsage(
        gateway_service_pb2.ReportUsageRequest(reservation_id=hold.reservation_id),
        metadata=demo.metadata,
    )
    note = f"{len(rendered)} bytes rendered"
    await demo.note("authorize, work, report", "gRPC stubs", reported.request.request_id, note)


async def _after_the_fact(demo: Demo) -> None:
    stub = gateway_service_pb2_grpc.GatewayServiceStub(demo.channel)
    reported = await stub.ReportUsage(
        gateway_service_pb2.ReportUsageRequest(
            request_id="map-tile-42", customer_id=CUSTOMER, meter_slug=PAGES_METER
        ),
        metadata=demo.metadata,
    )
    await demo.note(
        "report after the fact",
        "gRPC stubs",
        reported.request.request_id,
        "no hold, no AI",
    )


async def _until_refused(demo: Demo) -> bool:
    """Call on until the gateway refuses; whether it did, and the provider saw nothing of it."""
    for number in range(1, CALLS_MAX + 1):
        seen = demo.stack.provider.calls_total
        try:
            answer = await demo.openai.chat.completions.with_raw_response.create(
                model="gpt-4o-mini",
                messages=[{"role": "user", "content": f"Page {number} of the story. " * 40}],
                max_completion_tokens=600,
                extra_headers={"x-fake-words": "500"},
            )
        except openai.APIStatusError as error:
            untouched = demo.stack.provider.calls_total == seen
            code = error.body.get("code") if isinstance(error.body, dict) else error.body
            demo.rows.append(
                Row(
                    f"chat completion {number}",
                    "openai SDK",
                    balance=_short((await demo.balance()).balance),
                    note=f"{error.status_code} {code}; the provider "
                    + ("never saw it" if untouched else "SAW IT"),
                )
            )
            return untouched and error.status_code == 402  # noqa: PLR2004 - payment required
        await demo.note(
            f"chat completion {number}", "openai SDK", answer.headers[REQUEST_ID_HEADER]
        )
    return False


def _table(rows: list[Row]) -> Table:
    table = Table(title=f"{CUSTOMER}'s calls")
    for name in ("call", "by"):
        table.add_column(name)
    for name in ("held", "charged", "released", "balance"):
        table.add_column(name, justify="right")
    table.add_column("")
    for row in rows:
        table.add_row(row.what, row.how, row.held, row.charged, row.released, row.balance, row.note)
    return table


def _short(amount: str | Decimal) -> str:
    """An amount with as many places as it needs, at least four."""
    text = f"{Decimal(amount):.10f}"
    whole, _, places = text.partition(".")
    return f"{whole}.{places.rstrip('0').ljust(4, '0')}"


if __name__ == "__main__":
    sys.exit(asyncio.run(run()))
