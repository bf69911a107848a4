"""Serves a gateway to try out, with a fake provider behind it, until it is stopped.

    python -m lava_grpc.testing.quickstart

On the default addresses, or those of `LAVA_GRPC_ADDRESS` and `LAVA_HTTP_ADDRESS`.
The books are in a temporary folder, which goes when it stops (Ctrl-C, SIGTERM).
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import httpx

from lava_grpc.testing.quickstart_text import BROKE, CHAT_METER, CUSTOMER, PAGES_METER, instructions
from lava_grpc.testing.stack import Stack, running_stack

GRPC_DEFAULT = "127.0.0.1:50051"
HTTP_DEFAULT = "127.0.0.1:8080"
CREDIT = "25.00"


class AddressTakenError(Exception):
    """Somebody else listens on an address that was asked for by name."""


async def run() -> int:
    """Serve until SIGTERM or SIGINT; 0 then, 1 if it could not start."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    try:
        grpc_address = _address("LAVA_GRPC_ADDRESS", GRPC_DEFAULT)
        http_address = _address("LAVA_HTTP_ADDRESS", HTTP_DEFAULT)
        with tempfile.TemporaryDirectory(prefix="lava-run-") as folder:
            async with running_stack(
                Path(folder), grpc_address=grpc_address, http_address=http_address
            ) as stack:
                await _set_up(stack)
                print(instructions(stack), flush=True)
                await stop.wait()
                print("\nstopping", flush=True)
    except AddressTakenError as error:
        print(error, file=sys.stderr)
        return 1
    except (RuntimeError, httpx.HTTPError) as error:
        # Ctrl-C reaches the commands that it starts with too, and may end them first.
        if not stop.is_set():
            print(f"could not start: {error}", file=sys.stderr)
            return 1
    return 0


def _address(setting: str, default: str) -> str:
    """The address that the environment names, or the default, or the default's host with any port.

    Raises AddressTakenError for a taken one that was named.
    """
    named = os.environ.get(setting)
    address = named or default
    host, _, port = address.rpartition(":")
    if _is_free(host, int(port) if port.isascii() and port.isdigit() else 0):
        return address
    if named:
        raise AddressTakenError(f"{setting}: {address} is taken")
    print(f"{address} is taken: using a free port instead (set {setting} to choose one)")
    return f"{host}:0"


def _is_free(host: str, port: int) -> bool:
    if port == 0:
        return True
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # A port that a server of a moment ago had is free, though TCP still remembers it.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), port))
        except OSError:
            return False
    return True


async def _set_up(stack: Stack) -> None:
    """Two meters, a customer with credit and one without."""
    headers = {"authorization": f"Bearer {stack.secret_key}"}
    async with httpx.AsyncClient(base_url=stack.http_url, headers=headers) as http:
        for slug, tier_type, rate in (
            (CHAT_METER, "tokens_1m", "12.00"),
            (PAGES_METER, "requests", "0.0010"),
        ):
            meter = {
                "name": slug,
                "meter_slug": slug,
                "rate_type": "fixed",
                "tier_type": tier_type,
                "tiers": [{"start": "0", "rate": rate}],
            }
            await _post(http, "/v1/meters", meter)
        for customer in (CUSTOMER, BROKE):
            await _post(http, "/v1/customers", {"reference_id": customer, "name": customer.title()})
        await _post(http, f"/v1/customers/{CUSTOMER}/credit_grants", {"amount": CREDIT})


async def _post(http: httpx.AsyncClient, path: str, body: Mapping[str, object]) -> None:
    answer = await http.post(path, json=body)
    if not answer.is_success:
        raise RuntimeError(f"POST {path}: {answer.status_code} {answer.text}")


if __name__ == "__main__":
    sys.exit(asyncio.run(run()))
