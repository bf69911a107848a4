"""Paths to endpoints. A literal segment goes before a parameter in the same place."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import unquote

from lava_grpc.core.errors import invalid
from lava_grpc.rest.errors import unknown_path, wrong_method
from lava_grpc.rest.http import Answer, Incoming

Params: TypeAlias = dict[str, str]
Endpoint: TypeAlias = Callable[[Incoming, Params], Awaitable[Answer]]

SEGMENTS_MAX = 16
"""Deeper paths than any route has."""

_PARAMETER = re.compile(r"\{([a-z][a-z0-9_.]*)\}")
_LITERAL = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(slots=True)
class _Node:
    literals: dict[str, _Node] = field(default_factory=dict)
    parameter: _Node | None = None
    endpoints: dict[str, tuple[Endpoint, tuple[str, ...]]] = field(default_factory=dict)


class Router:
    """Filled at start-up, then only read."""

    def __init__(self) -> None:
        self._root = _Node()

    def add(self, method: str, template: str, endpoint: Endpoint) -> None:
        """A route such as `GET /v1/meters/{meter_id}`.

        Raises ValueError for a template of another kind, or a route that is taken.
        """
        node, names = self._root, []
        for segment in template.removeprefix("/").split("/"):
            if (parameter := _PARAMETER.fullmatch(segment)) is not None:
                names.append(parameter.group(1))
                node.parameter = node = node.parameter or _Node()
            elif _LITERAL.fullmatch(segment):
                node = node.literals.setdefault(segment, _Node())
            else:
                raise ValueError(f"{template}: {segment!r} is neither a name nor {{field}}")
        if method in node.endpoints:
            raise ValueError(f"{method} {template} is declared twice")
        node.endpoints[method] = (endpoint, tuple(names))

    def has(self, method: str, template: str) -> bool:
        """Whether a route of this shape exists, whatever its parameters are called."""
        path = shape(template)
        return any(method in node.endpoints for node, _ in _matches(self._root, _split(path), ()))

    def routes(self) -> Iterator[tuple[str, str]]:
        """Method and path of every route, its parameters by name."""
        yield from _routes(self._root, ())

    async def answer(self, request: Incoming) -> Answer:
        """What the request's endpoint answers; 404 or 405 where there is none."""
        allowed: set[str] = set()
        for node, values in _matches(self._root, _split(request.path), ()):
            if (found := node.endpoints.get(request.method)) is not None:
                endpoint, names = found
                params = {n: _decoded(n, v) for n, v in zip(names, values, strict=True)}
                return await endpoint(request, params)
            allowed |= node.endpoints.keys()
        return wrong_method(sorted(allowed)) if allowed else unknown_path()


def shape(template: str) -> str:
    """The path without its parameters' names."""
    return _PARAMETER.sub("{}", template)


def _routes(node: _Node, segments: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for method, (_, names) in node.endpoints.items():
        left = iter(names)
        yield method, "".join(f"/{s or f'{{{next(left)}}}'}" for s in segments)
    for literal, below in node.literals.items():
        yield from _routes(below, (*segments, literal))
    if node.parameter is not None:
        yield from _routes(node.parameter, (*segments, ""))


def _split(path: str) -> list[str]:
    return path.removeprefix("/").split("/", SEGMENTS_MAX)


def _matches(
    node: _Node, segments: list[str], values: tuple[str, ...]
) -> Iterator[tuple[_Node, tuple[str, ...]]]:
    if not segments:
        if node.endpoints:
            yield node, values
        return
    first, rest = segments[0], segments[1:]
    if (literal := node.literals.get(first)) is not None:
        yield from _matches(literal, rest, values)
    if node.parameter is not None and first:
        yield from _matches(node.parameter, rest, (*values, first))


def _decoded(name: str, raw: str) -> str:
    try:
        return unquote(raw, errors="strict")
    except UnicodeDecodeError:
        raise invalid(name, "must be percent-encoded UTF-8") from None
