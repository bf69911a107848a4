"""REST routes out of the protos: each `google.api.http` option becomes an endpoint.

A new resource needs its annotation and nothing here.
"""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import lava.v1
from google.api import annotations_pb2, http_pb2
from google.protobuf.descriptor import Descriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from lava_grpc.api.credentials import find_credential
from lava_grpc.api.dispatch import PUBLIC
from lava_grpc.api.strict_json import BadJsonError, Json, read_object
from lava_grpc.core.errors import invalid
from lava_grpc.rest import json_reader, json_writer
from lava_grpc.rest.fields import FIELD_MASK, descriptor_of
from lava_grpc.rest.http import Answer, Incoming, read_body
from lava_grpc.rest.ports import Dispatcher
from lava_grpc.rest.router import Params
from lava_grpc.rest.url_fields import fill_from_query, parse_query, setter_of

IDEMPOTENCY_HEADER = "idempotency-key"

CREATED = frozenset(("lava.v1.SpendKeyService/CreateSpendKey",))
"""The RPCs that answer 201 over REST: those that Lava documents so; all others answer 200."""

SHOWN_MAX = 8
"""How many answers of a public RPC are kept as JSON."""

_PARAMETERS = re.compile(r"\{([^}]*)\}")
WHOLE_BODY = "*"
"""A rule's body that is the whole message."""

_MASK = "update_mask"


@dataclass(frozen=True, slots=True)
class Binding:
    """One `google.api.http` rule of one RPC."""

    rpc: str
    http_method: str
    template: str
    request: type[Message]
    body: str
    response_body: str


@dataclass(frozen=True, slots=True)
class Limits:
    """How large and how slow a management call may be."""

    body_bytes_max: int
    body_seconds_max: float
    timeout_seconds: float | None


def services() -> list[ServiceDescriptor]:
    """Every service of `lava.v1`, found among the generated modules."""
    names = sorted(module.name for module in pkgutil.iter_modules(lava.v1.__path__))
    found: list[ServiceDescriptor] = []
    for name in names:
        if name.endswith("_service_pb2"):
            module = importlib.import_module(f"lava.v1.{name}")
            found.extend(module.DESCRIPTOR.services_by_name.values())
    return found


def bindings(service: ServiceDescriptor) -> Iterator[Binding]:
    """The REST forms of a service's RPCs. Raises ValueError for a rule that cannot be served."""
    for method in service.methods:
        options = method.GetOptions()
        if not options.HasExtension(annotations_pb2.http):
            continue
        if method.client_streaming or method.server_streaming:
            raise ValueError(f"{method.full_name}: a streaming RPC has no REST form")
        rule = options.Extensions[annotations_pb2.http]
        for each in (rule, *rule.additional_bindings):
            yield _binding(service, method, each)


def _binding(
    service: ServiceDescriptor, method: MethodDescriptor, rule: http_pb2.HttpRule
) -> Binding:
    verb = rule.WhichOneof("pattern")
    if verb in (None, "custom"):
        raise ValueError(f"{method.full_name}: needs get, put, post, delete or patch")
    template: str = getattr(rule, verb)
    for name in parameters_of(template):
        found = setter_of(method.input_type, name)
        if found is None or found[1]:
            raise ValueError(f"{method.full_name}: {name} cannot be a path parameter")
    _check_part(method.input_type, rule.body)
    _check_part(method.output_type, rule.response_body)
    return Binding(
        rpc=f"{service.full_name}/{method.name}",
        http_method=verb.upper(),
        template=template,
        request=GetMessageClass(method.input_type),
        body=rule.body,
        response_body=rule.response_body,
    )


def parameters_of(template: str) -> list[str]:
    """The fields that a path names, in its order."""
    return _PARAMETERS.findall(template)


def _check_part(descriptor: Descriptor, name: str) -> None:
    if name in ("", WHOLE_BODY):
        return
    part = descriptor.fields_by_name.get(name)
    if part is None or part.message_type is None or part.is_repeated:
        raise ValueError(f"{descriptor.full_name}.{name} is no single message")


class Transcoded:
    """The endpoint of one binding."""

    def __init__(self, binding: Binding, dispatcher: Dispatcher, limits: Limits) -> None:
        self._binding = binding
        self._dispatcher = dispatcher
        self._limits = limits
        descriptor = descriptor_of(binding.request)
        self._parameters = [
            (found[0], name)
            for name in parameters_of(binding.template)
            if (found := setter_of(descriptor, name)) is not None
        ]
        fields = descriptor.fields_by_name
        mask = fields.get(_MASK)
        self._masked = (
            mask is not None
            and mask.message_type is not None
            and mask.message_type.full_name == FIELD_MASK
        )
        self._takes_request_id = binding.http_method == "POST" and "request_id" in fields
        self._settles = "reservation_id" in fields
        self._shown = _Shown(self._show)

    async def __call__(self, request: Incoming, params: Params) -> Answer:
        """Call the RPC with what URL and body say."""
        message = self._binding.request()
        pairs = parse_query(request.query)
        credential = find_credential(request.headers, dict(reversed(pairs)))
        if self._binding.body:
            body = await read_body(
                request,
                bytes_max=self._limits.body_bytes_max,
                seconds_max=self._limits.body_seconds_max,
            )
            self._fill_from_body(message, _object(body), params)
        self._fill_from_query(message, pairs, params)
        for setter, name in self._parameters:
            setter(message, params[name], name)
        self._take_idempotency_key(message, request)
        answer = await self._dispatcher.unary(
            self._binding.rpc,
            message,
            credential=credential or "",
            timeout_seconds=self._limits.timeout_seconds,
            idempotency_key=self._idempotency_key(request),
        )
        if self._binding.rpc in PUBLIC:
            return await self._shown.answer(answer)
        return self._show(answer)

    def _show(self, answer: Message) -> Answer:
        part = self._binding.response_body
        shown = json_writer.to_plain(answer)
        status = 201 if self._binding.rpc in CREATED else 200
        return Answer(json_writer.dump(shown.get(part) if part else shown), status)

    def _fill_from_body(self, message: Message, fields: dict[str, Json], params: Params) -> None:
        if self._binding.body != WHOLE_BODY:
            part = getattr(message, self._binding.body)
            part.SetInParent()
            json_reader.fill(part, fields)
            return
        for name in params.keys() & fields.keys():
            # The path has said it already; the body may only agree.
            if fields.pop(name) != params[name]:
                raise invalid(name, "differs from the one in the path")
        json_reader.fill(message, fields)
        if self._masked and fields:
            # A key that is there is a change, null included: it clears.
            mask: FieldMask = getattr(message, _MASK)
            mask.paths.extend(fields)

    def _fill_from_query(
        self, message: Message, pairs: list[tuple[str, str]], params: Params
    ) -> None:
        # `key` is the credential's place in Google's style.
        given = [pair for pair in pairs if pair[0] != "key"]
        if given and self._binding.body == WHOLE_BODY:
            raise invalid(given[0][0][:80], "must be given in the body")
        fill_from_query(message, given, frozenset((*params, self._binding.body)))

    def _idempotency_key(self, request: Incoming) -> str | None:
        """The header, for a POST that has no request id to put it into."""
        if self._binding.http_method != "POST" or self._takes_request_id:
            return None
        return request.headers.get(IDEMPOTENCY_HEADER)

    def _take_idempotency_key(self, message: Message, request: Incoming) -> None:
        """Make the header the request id, unless the body has one, or a reservation that does."""
        key = request.headers.get(IDEMPOTENCY_HEADER)
        if not key or not self._takes_request_id or _is_set(message, "request_id"):
            return
        if self._settles and _is_set(message, "reservation_id"):
            return
        setattr(message, "request_id", key)  # noqa: B010 - the message's type is not known here


class _Shown:
    """Public answers, which are large, the same for all, and made anew now and then.

    Each is spelled once, in a thread: a megabyte of JSON would hold the event loop up.
    """

    def __init__(self, show: Callable[[Message], Answer]) -> None:
        self._show = show
        self._kept: OrderedDict[int, tuple[Message, Answer]] = OrderedDict()

    async def answer(self, message: Message) -> Answer:
        # By identity: as long as a message is kept here, no other has its id.
        kept = self._kept.get(id(message))
        if kept is not None:
            self._kept.move_to_end(id(message))
            return kept[1]
        shown = await asyncio.to_thread(self._show, message)
        self._kept[id(message)] = message, shown
        if len(self._kept) > SHOWN_MAX:
            self._kept.popitem(last=False)
        return shown


def _is_set(message: Message, name: str) -> bool:
    return bool(getattr(message, name))


def _object(body: bytes) -> dict[str, Json]:
    # No body at all is an object without fields: `POST …/release` needs none.
    if not body.strip():
        return {}
    try:
        return read_object(body)
    except BadJsonError as why:
        raise invalid("body", str(why)) from None
