"""Use cases of the gateway, and the client that reaches providers."""
