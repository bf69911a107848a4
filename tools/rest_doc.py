"""Write the tables of docs/rest.md: Lava's endpoints, and ours beyond them.

    python -m tools.rest_doc            write them
    python -m tools.rest_doc --check    fail if they are not current

The rest of the page is written by hand.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lava_grpc.api.handlers.wiring import build_handlers
from lava_grpc.rest.forward import FORWARD_METHODS
from lava_grpc.rest.inventory import REWRITE_PATH, endpoints
from lava_grpc.rest.paths import DOCS_PATH, HEALTH_PATH, OPENAPI_PATH
from lava_grpc.rest.shaped import SHAPES
from lava_grpc.rest.target import FORWARD_PATH
from lava_grpc.rest.transcode import bindings, services

PAGE = Path(__file__).resolve().parent.parent / "docs" / "rest.md"

# No RPCs, and no credential is needed.
_OWN = (
    (HEALTH_PATH, "health: 200 and `SERVING`, or 503 and `NOT_SERVING`"),
    (OPENAPI_PATH, "the OpenAPI 3.1 document of all of these paths"),
    (DOCS_PATH, "the same as a page to read"),
)
_TABLE = re.compile(r"(<!-- generated: (\w+) -->\n).*?(?=<!-- end -->)", re.DOTALL)
_PARAMETER = re.compile(r"\{\w+\}")


def page(text: str) -> str:
    """The page with its tables as they should be. Raises KeyError for a table nobody knows."""
    tables = {"lava": _lavas(), "ours": _ours()}
    return _TABLE.sub(lambda found: f"{found.group(1)}\n{tables[found.group(2)]}\n", text)


def main(argv: list[str] | None = None, path: Path = PAGE) -> int:
    """Do what the command line asks; 0 if all is well."""
    parser = argparse.ArgumentParser(description="Make the tables of docs/rest.md.")
    parser.add_argument("--check", action="store_true", help="compare and write nothing")
    options = parser.parse_args(argv)
    text = path.read_text(encoding="utf-8")
    wanted = page(text)
    if not options.check:
        path.write_text(wanted, encoding="utf-8")
    elif text != wanted:
        print(f"the tables of {path.name} are not current (run `make generate`)")
        return 1
    return 0


def served() -> dict[tuple[str, str], tuple[str, str]]:
    """Method and shape of each path that is answered, with the path as declared, and the RPC."""
    # The table alone is wanted: no handler is called, so none needs its use case.
    nobody: Any = dict.fromkeys(inspect.signature(build_handlers).parameters)
    handled = build_handlers(**nobody)
    return {
        (binding.http_method, shape(binding.template)): (
            binding.template,
            binding.rpc.removeprefix("lava.v1."),
        )
        for service in services()
        for binding in bindings(service)
        # What is declared and not handled is 501 as well.
        if binding.rpc in handled
    }


def shape(path: str) -> str:
    """The path without its parameters' names."""
    return _PARAMETER.sub("{}", path)


def _lavas() -> str:
    rows = [
        ("ANY", FORWARD_PATH, "`GatewayService/Forward`", "served"),
        *[("POST", path, "`GatewayService/Forward`", "served") for path in SHAPES],
        ("POST", f"{REWRITE_PATH}{{client_format}}/{{url}}", "", "501"),
        *_documented(),
    ]
    head = "| Method | Path | RPC | Status |\n|---|---|---|---|\n"
    order = list(dict.fromkeys(_resource(path) for _, path, _, _ in rows))
    rows.sort(key=lambda row: order.index(_resource(row[1])))
    body = "".join(
        f"| {method} | `{path}` | {rpc} | {what} |\n" for method, path, rpc, what in rows
    )
    return f"{head}{body}\nANY is {', '.join(sorted(FORWARD_METHODS))}.\n"


def _documented() -> Iterator[tuple[str, str, str, str]]:
    ours = served()
    for method, path in endpoints():
        found = ours.get((method, shape(path)))
        if found is None:
            yield method, path, "", "501"
        else:
            yield method, found[0], f"`{found[1]}`", "served"


def _ours() -> str:
    documented = {(method, shape(path)) for method, path in endpoints()}
    rows = "".join(
        f"| {method} | `{path}` | `{rpc}` |\n"
        for (method, _), (path, rpc) in served().items()
        if (method, shape(path)) not in documented
    )
    own = "".join(f"| GET | `{path}` | {what} |\n" for path, what in _OWN)
    return f"| Method | Path | RPC |\n|---|---|---|\n{rows}{own}"


def _resource(path: str) -> str:
    return path.split("/")[2]


if __name__ == "__main__":
    sys.exit(main())
