"""A real server with one RPC more: a no-op, the floor that others are measured against.

    python -m benchmarks.server

Settings come from the environment, as for `lava-grpc serve`.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from typing import Any

import grpc
import uvloop

from lava_grpc import config
from lava_grpc.app.service import Addresses, Service
from lava_grpc.telemetry import logs

NOOP = "/bench.Bench/Noop"


async def _noop(raw: bytes, _context: object) -> bytes:
    return raw


def _handlers() -> list[grpc.GenericRpcHandler]:
    behavior: Any = _noop
    method: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(behavior)
    return [grpc.method_handlers_generic_handler("bench.Bench", {"Noop": method})]


def _ready(addresses: Addresses) -> None:
    print(json.dumps(asdict(addresses)), flush=True)


def main() -> int:
    """Serve until SIGTERM."""
    settings = config.load()
    logs.configure(level="warning", as_json=False)
    if (path := os.environ.get("BENCH_PROFILE")) is None:
        return 0 if uvloop.run(Service.serve(settings, _ready, more_handlers=_handlers())) else 1
    import cProfile  # noqa: PLC0415 - only where a profile is asked for

    profile = cProfile.Profile()
    profile.runcall(uvloop.run, Service.serve(settings, _ready, more_handlers=_handlers()))
    profile.dump_stats(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
