"""The REST shim: HTTP in, the RPC's message to the dispatcher, its answer back as JSON."""
