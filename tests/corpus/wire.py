"""What a pair's file cannot say as text: forms, and the binary framing of AWS."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

_BOUNDARY = "corpus-boundary-7d1c"
_STRING = 7


def multipart(fields: Mapping[str, Any]) -> tuple[str, bytes]:
    """A form's content type and body. A file is a table of `name`, `type` and `size` in bytes."""
    parts: list[bytes] = []
    for name, value in fields.items():
        for each in value if isinstance(value, list) else [value]:
            head, content = f'form-data; name="{name}"', b""
            if isinstance(each, Mapping):
                head += f'; filename="{each["name"]}"\r\nContent-Type: {each["type"]}'
                # What is in it is nothing that a gateway looks at.
                content = bytes(each["size"])
            else:
                content = str(each).encode()
            parts.append(f"--{_BOUNDARY}\r\nContent-Disposition: {head}\r\n\r\n".encode() + content)
    body = b"\r\n".join([*parts, f"--{_BOUNDARY}--\r\n".encode()])
    return f"multipart/form-data; boundary={_BOUNDARY}", body


def event_stream(events: Iterable[Mapping[str, str]]) -> bytes:
    """Messages in the framing of AWS: of an `event`, an `exception`, or a `chunk`.

    A `chunk` is a model's own event, which goes in base64, as invoke streams
    have it. `cut = n` leaves the last n bytes of the stream out.
    """
    return b"".join([_framed(event) for event in events])


def _framed(event: Mapping[str, Any]) -> bytes:
    payload = event.get("payload", "{}").strip().encode()
    if "chunk" in event:
        inner = base64.b64encode(event["chunk"].strip().encode()).decode()
        payload = json.dumps({"bytes": inner, "p": "abcdefghijkl"}).encode()
        headers = {":event-type": "chunk"}
    elif "exception" in event:
        headers = {":exception-type": event["exception"]}
    else:
        headers = {":event-type": event["event"]}
    kind = "exception" if "exception" in event else "event"
    headers |= {":content-type": "application/json", ":message-type": kind}
    raw = _message(headers, payload)
    return raw[: len(raw) - event.get("cut", 0)]


def _message(headers: Mapping[str, str], payload: bytes) -> bytes:
    head = b"".join([_header(name, value) for name, value in headers.items()])
    total = 16 + len(head) + len(payload)
    prelude = total.to_bytes(4, "big") + len(head).to_bytes(4, "big")
    prelude += zlib.crc32(prelude).to_bytes(4, "big")
    body = prelude + head + payload
    return body + zlib.crc32(body).to_bytes(4, "big")


def _header(name: str, value: str) -> bytes:
    text = value.encode()
    return (
        bytes((len(name),))
        + name.encode()
        + bytes((_STRING,))
        + len(text).to_bytes(2, "big")
        + text
    )
