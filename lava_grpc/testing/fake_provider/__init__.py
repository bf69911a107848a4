"""A faithful fake of OpenAI, Anthropic and Google, on loopback.

It speaks their published shapes, checks keys as they do, and answers with text
and token counts that follow from the request alone (`words.py`). It fails on
command, by code or by header (`fault.py`), counts its calls and keeps them.

    async with FakeProvider() as fake:
        client = AsyncOpenAI(base_url=fake.openai_url, api_key="sk-any")

As a command: `python -m lava_grpc.testing.fake_provider --port 0 --json`.
"""

from lava_grpc.testing.fake_provider.call import Outcome, SeenCall
from lava_grpc.testing.fake_provider.fault import Fault
from lava_grpc.testing.fake_provider.provider import FakeProvider, Scripted

__all__ = ["FakeProvider", "Fault", "Outcome", "Scripted", "SeenCall"]
