"""lava_grpc: a self-hosted credit gateway. Reserve first, settle after."""

__version__ = "0.1.0"
