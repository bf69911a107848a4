"""The OpenAPI document as one HTML page: no scripts, nothing from anywhere else."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from html import escape
from typing import Any, TypeAlias

from lava_grpc.rest.docs_schema import sentence, table_of

Node: TypeAlias = Mapping[str, Any]

_STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8882}
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem}
code,.method{font-family:ui-monospace,monospace;font-size:.92em}
table{border-collapse:collapse;width:100%;margin:.4rem 0 1rem}
th,td{text-align:left;vertical-align:top;padding:.25rem .6rem;border-bottom:1px solid var(--line)}
details{border:1px solid var(--line);border-radius:.4rem;margin:.4rem 0;padding:.3rem .7rem}
summary{cursor:pointer}
details[open]>summary{border-bottom:1px solid var(--line);margin-bottom:.5rem}
.method{display:inline-block;min-width:4.6rem;font-weight:700}
.about{opacity:.75;margin-left:.6rem}
nav a{margin-right:.8rem}
h2{margin-top:2.2rem}h3{margin:.8rem 0 .2rem;font-size:1em}
:target{background:var(--soft)}
"""

_STYLE_HASH = base64.b64encode(sha256(_STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_CODE = re.compile(r"`([^`]+)`")


def page(document: Node) -> str:
    """The whole page."""
    info = document["info"]
    title = escape(f"{info['title']} {info['version']}")
    tags = [tag["name"] for tag in document["tags"]]
    links = "".join(f'<a href="#{_anchor(tag)}">{escape(tag)}</a> ' for tag in tags)
    return "".join(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            f"<title>{title}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{title}</h1>{_prose(info['description'])}",
            '<p>For machines: <a href="/openapi.json">/openapi.json</a>.</p>',
            f'<nav>{links}<a href="#errors">Errors</a> <a href="#schemas">Schemas</a></nav>',
            _credentials(document["components"]["securitySchemes"]),
            *(_tag(tag, document) for tag in tags),
            _errors(document["x-error-reasons"]),
            _schemas(document["components"]["schemas"]),
            "</body></html>\n",
        )
    )


def _credentials(schemes: Node) -> str:
    rows = ((_place(scheme), _inline(scheme["description"])) for scheme in schemes.values())
    return f"<h2>Credentials</h2><p>The first place that holds one counts.</p>{_table((), rows)}"


def _place(scheme: Node) -> str:
    if scheme["type"] == "http":
        return "<code>Authorization: Bearer …</code>"
    what = "parameter" if scheme["in"] == "query" else "header"
    return f"{what} <code>{escape(scheme['name'])}</code>"


def _tag(tag: str, document: Node) -> str:
    operations = "".join(
        _operation(method, path, operation, document)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if tag in operation["tags"]
    )
    return f'<h2 id="{_anchor(tag)}">{escape(tag)}</h2>{operations}'


def _operation(method: str, path: str, operation: Node, document: Node) -> str:
    parts = [_prose(operation["description"])]
    if operation.get("security", [None])[0] == {}:
        parts.append("<p>Needs no credential.</p>")
    if parameters := operation.get("parameters"):
        rows = (_parameter(_resolved(each, document)) for each in parameters)
        parts.append(f"<h3>Parameters</h3>{_table(('Name', 'In', 'Type', ''), rows)}")
    if (body := operation.get("requestBody")) is not None:
        parts.append(f"<h3>Body</h3><ul>{''.join(_content(body))}</ul>")
    answers = (
        (f"<code>{status}</code>", _answer(_resolved(answer, document)))
        for status, answer in operation["responses"].items()
    )
    parts.append(f"<h3>Answers</h3>{_table(('Status', ''), answers)}")
    return (
        f'<details id="{escape(operation["operationId"])}"><summary>'
        f'<span class="method">{method.upper()}</span><code>{escape(path)}</code>'
        f'<span class="about">{_inline(operation["summary"])}</span></summary>'
        f"{''.join(parts)}</details>"
    )


def _parameter(parameter: Node) -> tuple[str, ...]:
    required = " (required)" if parameter.get("required") else ""
    return (
        f"<code>{escape(parameter['name'])}</code>{required}",
        parameter["in"],
        sentence(parameter["schema"]),
        _inline(parameter.get("description", "")),
    )


def _answer(answer: Node) -> str:
    return f"{_inline(answer['description'])}<ul>{''.join(_content(answer))}</ul>"


def _content(of: Node) -> Iterator[str]:
    for kind, content in of.get("content", {}).items():
        schema = content.get("schema")
        shown = f": {sentence(schema)}" if schema else ""
        table = table_of(schema, _inline) if schema else ""
        yield f"<li><code>{escape(kind)}</code>{shown}{table}</li>"


def _errors(reasons: Iterable[Node]) -> str:
    rows = (
        (
            f"<code>{escape(reason['code'])}</code>",
            str(reason["http"]),
            f"<code>{escape(reason['grpc'])}</code>",
            "yes" if reason["retryable"] else "no",
            _inline(reason["description"]),
        )
        for reason in reasons
    )
    head = ("Code", "HTTP", "gRPC", "Try again", "When")
    return f'<h2 id="errors">Errors</h2>{_table(head, rows)}'


def _schemas(schemas: Node) -> str:
    shown = (
        f'<details id="schema-{escape(name)}"><summary><code>{escape(name)}</code></summary>'
        f"{_prose(schema.get('description', ''))}{table_of(schema, _inline)}</details>"
        for name, schema in schemas.items()
    )
    return f'<h2 id="schemas">Schemas</h2>{"".join(shown)}'


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>{f'<tr>{top}</tr>' if top else ''}{body}</table>"


def _resolved(node: Node, document: Node) -> Node:
    reference: str | None = node.get("$ref")
    if reference is None:
        return node
    found: Any = document
    for name in reference.removeprefix("#/").split("/"):
        found = found[name]
    return dict(found)


def _prose(text: str) -> str:
    return "".join(f"<p>{_inline(paragraph)}</p>" for paragraph in text.split("\n\n") if paragraph)


def _inline(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escape(text, quote=False))


def _anchor(tag: str) -> str:
    return "tag-" + escape(tag.replace(" ", "-"))
