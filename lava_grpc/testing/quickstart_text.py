"""What the quickstart prints: commands to paste, each on one line and complete."""

from __future__ import annotations

import json
from collections.abc import Mapping

from lava_grpc.testing.stack import Stack

CUSTOMER = "alice"
BROKE = "bob"
CHAT_METER = "chat"
PAGES_METER = "pages"

_CHAT: dict[str, object] = {
    "model": "gpt-4o-mini",
    "max_completion_tokens": 100,
    "messages": [{"role": "user", "content": "Name three rivers of Europe."}],
}
_OPENAI = "https://api.openai.com/v1"


def instructions(stack: Stack) -> str:
    """Where it serves, its key, and calls to try; every command is indented, and nothing else."""
    parts = [
        f"gRPC  {stack.grpc_address}\nREST  {stack.http_url}",
        f"A fake provider answers as OpenAI and Anthropic. {CUSTOMER} has credit, {BROKE} none.",
        "The merchant's secret key, and a forward token (that key, who pays, by which meter):",
        *_commands(_exports(stack)),
        "curl: a chat completion, the same streamed, and one that nobody can pay for (402)",
        *_commands(_gateway(stack)),
        "curl: report an operation after the fact; a hold, and its settlement; what is left",
        *_commands(_rest(stack)),
        "The OpenAI SDK: the gateway's URL, and the forward token for its key",
        *_commands([_sdk(stack)]),
        "gRPC, by reflection: grpcurl, and buf (`make install` puts it into .venv/bin)",
        *_commands(_grpc(stack)),
        "Whether the books balance, to the last entry",
        *_commands([f"curl -sS {stack.http_url}/v1/ledger/verify {_bearer(stack.secret_key)}"]),
        "Serving until Ctrl-C.",
    ]
    return "\n\n".join(parts)


def _commands(lines: list[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _exports(stack: Stack) -> list[str]:
    facts = _json(
        {"secret_key": stack.secret_key, "customer_id": CUSTOMER, "meter_slug": CHAT_METER}
    )
    return [
        f"export LAVA_KEY={stack.secret_key}",
        f"export LAVA_TOKEN=$(printf '%s' '{facts}' | base64 | tr -d '\\n')",
    ]


def _gateway(stack: Stack) -> list[str]:
    token, broke = (stack.forward_token(name, CHAT_METER) for name in (CUSTOMER, BROKE))
    url = f"'{stack.http_url}/v1/forward?u={_OPENAI}/chat/completions'"
    return [
        f"curl -sS {url} {_bearer(token)} {_body(_CHAT)}",
        f"curl -sSN {url} {_bearer(token)} {_body({**_CHAT, 'stream': True})}",
        f"curl -sS {url} {_bearer(broke)} {_body(_CHAT)}",
    ]


def _rest(stack: Stack) -> list[str]:
    url, key = stack.http_url, _bearer(stack.secret_key)
    page = {"customer_id": CUSTOMER, "meter_slug": PAGES_METER}
    hold = {**page, "request_id": "page-2", "amount": "0.0050"}
    return [
        f"curl -sS {url}/v1/requests {key} {_body({**page, 'request_id': 'page-1'})}",
        f"curl -sS {url}/v1/reservations {key} {_body(hold)}",
        f"curl -sS {url}/v1/requests {key} {_body({'request_id': 'page-2'})}",
        f"curl -sS {url}/v1/customers/{CUSTOMER}/balance {key}",
    ]


def _sdk(stack: Stack) -> str:
    ask = (
        "from openai import OpenAI; print(OpenAI().chat.completions.create("
        'model="gpt-4o-mini", max_completion_tokens=100, messages=[{"role": "user", '
        '"content": "Hello"}]).choices[0].message.content)'
    )
    return (
        f"OPENAI_BASE_URL='{stack.http_url}/v1/forward?u={_OPENAI}' "
        f"OPENAI_API_KEY={stack.forward_token(CUSTOMER, CHAT_METER)} .venv/bin/python -c '{ask}'"
    )


def _grpc(stack: Stack) -> list[str]:
    header = f"-H 'authorization: Bearer {stack.secret_key}'"
    hold = _json(
        {
            "customer_id": CUSTOMER,
            "meter_slug": CHAT_METER,
            "usage": {"input_tokens": 500, "output_tokens": 500},
        }
    )
    balance = _json({"customer_id": CUSTOMER})
    grpcurl = f"grpcurl -plaintext {header}"
    buf = f"buf curl --protocol grpc --http2-prior-knowledge {header}"
    address = stack.grpc_address
    return [
        f"grpcurl -plaintext {address} list",
        f"{grpcurl} -d '{hold}' {address} lava.v1.GatewayService/Authorize",
        f"{grpcurl} -d '{balance}' {address} lava.v1.CreditService/GetBalance",
        f"{buf} -d '{hold}' http://{address}/lava.v1.GatewayService/Authorize",
        f"{buf} -d '{balance}' http://{address}/lava.v1.CreditService/GetBalance",
    ]


def _bearer(credential: str) -> str:
    return f"-H 'Authorization: Bearer {credential}'"


def _body(fields: Mapping[str, object]) -> str:
    return f"-H 'Content-Type: application/json' -d '{_json(fields)}'"


def _json(fields: Mapping[str, object]) -> str:
    return json.dumps(fields)
