"""What demos, tests and benchmarks run the service against, in place of the outside world."""

from lava_grpc.testing.fake_provider import FakeProvider, Fault, Outcome, Scripted, SeenCall

__all__ = ["FakeProvider", "Fault", "Outcome", "Scripted", "SeenCall"]
