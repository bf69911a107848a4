"""JSON objects from callers, read without guessing.

Python's reader takes more than JSON (NaN, Infinity) and lets the last of two
equal keys win; where a text says who pays, neither may pass.
"""

from __future__ import annotations

import json
from typing import NoReturn, TypeAlias

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

_NAME_SHOWN_MAX = 80


class BadJsonError(ValueError):
    """The text is not such an object; the message completes "<field> ..."."""


def read_object(raw: bytes) -> dict[str, Json]:
    """The JSON object that `raw` (UTF-8) spells.

    Raises BadJsonError for anything else: other values, invalid UTF-8, duplicate
    keys, NaN and Infinity, nesting beyond the interpreter's limit.
    """
    try:
        value: Json = _DECODER.decode(raw.decode())
    except UnicodeDecodeError:
        raise BadJsonError("must be UTF-8") from None
    except RecursionError:
        raise BadJsonError("is nested too deeply") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise BadJsonError(f"is not valid JSON: {error.msg} at {where}") from None
    except BadJsonError:
        raise
    except ValueError:
        # Python refuses to read integers of more than some thousand digits.
        raise BadJsonError("has a number with too many digits") from None
    if not isinstance(value, dict):
        raise BadJsonError("must be a JSON object")
    return value


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise BadJsonError(f"has the key '{name[:_NAME_SHOWN_MAX]}' twice")
            seen.add(name)
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise BadJsonError(f"has {name}, which is no JSON number")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant)
