"""`Idempotency-Key`: a call that is repeated with the same key is done once.

For RPCs without a request id of their own. What a key has answered is kept for a
day. An answer that held a secret is not kept, since secrets are stored nowhere:
repeating such a call is refused, and says that the secret cannot be shown again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from google.protobuf.any_pb2 import Any
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.kept import Kept, KeptState
from lava_grpc.core.time import SECOND, Clock
from lava_grpc.gateway.checks import check_id, fingerprint
from lava_grpc.gateway.ports import IdempotencyStore

FIELD = "idempotency_key"

RUNNING_SECONDS_MAX = 60
"""How long a call may take; one that is not done by then never told what became of it."""

# Nothing is known of what such a call did before it failed.
_UNKNOWN = frozenset((Reason.STORE_UNAVAILABLE, Reason.INTERNAL))


class Once:
    """Does calls once for each merchant and key."""

    def __init__(self, store: IdempotencyStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._tasks: set[asyncio.Task[Message]] = set()

    async def __call__(
        self,
        merchant_id: str,
        key: str,
        method: str,
        request: Message,
        work: Callable[[], Awaitable[Message]],
    ) -> Message:
        """What `work` answers, or answered before to the same request.

        A refusal of `work` is not kept: it changed nothing, and may be tried again.
        Raises REQUEST_ID_REUSED where the key was used for another request, where
        the first call still runs or was never heard of again, and where its answer
        held a secret.
        """
        key = check_id(key, FIELD)
        content = fingerprint(method, request.SerializeToString(deterministic=True))
        kept = await self._store.begin(merchant_id, key, method, content, self._clock.now())
        if kept is not None:
            return self._replayed(kept, content)
        # Seen to its end, whoever stops waiting for it: what was done is to be noted.
        task = asyncio.ensure_future(self._done(merchant_id, key, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def _done(
        self, merchant_id: str, key: str, work: Callable[[], Awaitable[Message]]
    ) -> Message:
        try:
            answer = await work()
        except Refusal as refusal:
            if refusal.reason not in _UNKNOWN:
                with contextlib.suppress(Refusal):
                    await self._store.forget(merchant_id, key)
            raise
        # If this cannot be noted, the call stays one of unknown outcome: never done twice.
        with contextlib.suppress(Refusal):
            if holds_secret(answer):
                await self._store.end(merchant_id, key, KeptState.SECRET, None)
            else:
                packed = Any()
                packed.Pack(answer)
                await self._store.end(merchant_id, key, KeptState.DONE, packed.SerializeToString())
        return answer

    def _replayed(self, kept: Kept, content: str) -> Message:
        if kept.fingerprint != content:
            raise _refused("was used before for another request")
        if kept.answer is not None:
            packed = Any.FromString(kept.answer)
            found = Default().FindMessageTypeByName(packed.TypeName())
            answer = GetMessageClass(found)()
            packed.Unpack(answer)
            return answer
        if kept.state is KeptState.SECRET:
            raise _refused(
                "was used before, and the call succeeded: the secret that it made was shown once "
                "and is not kept"
            )
        if self._clock.now() - kept.created_at < RUNNING_SECONDS_MAX * SECOND:
            raise _refused("belongs to a call that still runs: try again", retry_after_seconds=1)
        raise _refused(
            "belongs to a call of unknown outcome: see what it did, then use another key"
        )


def holds_secret(message: Message) -> bool:
    """Whether a field is set, at any depth, that the protos mark `debug_redact`."""
    for field, value in message.ListFields():
        if field.GetOptions().debug_redact:
            return True
        if field.type != FieldDescriptor.TYPE_MESSAGE:
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            continue
        if any(holds_secret(item) for item in (value if field.is_repeated else (value,))):
            return True
    return False


def _refused(why: str, *, retry_after_seconds: float | None = None) -> Refusal:
    return Refusal(
        Reason.REQUEST_ID_REUSED,
        f"{FIELD} {why}",
        field=FIELD,
        retry_after_seconds=retry_after_seconds,
    )
