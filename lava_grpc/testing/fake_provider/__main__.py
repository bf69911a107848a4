"""The fake as a command: prints where it listens, and serves until it is stopped."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal

import uvloop

from lava_grpc.testing.fake_provider.provider import FakeProvider


async def _serve(port: int, *, as_json: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with FakeProvider(port=port) as fake:
        facts = {"base_url": fake.base_url, "upstream_map": fake.upstream_map()}
        print(json.dumps(facts) if as_json else f"fake provider at {fake.base_url}", flush=True)
        await stop.wait()


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(
        prog="python -m lava_grpc.testing.fake_provider", description=__doc__
    )
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument("--json", action="store_true", help="print one line of JSON: base_url")
    chosen = parser.parse_args()
    uvloop.run(_serve(chosen.port, as_json=chosen.json))


if __name__ == "__main__":
    main()
