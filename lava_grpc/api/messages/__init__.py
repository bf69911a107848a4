"""Protobuf to core and back, a module for each resource. No decisions, no I/O."""
