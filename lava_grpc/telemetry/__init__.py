"""Logs: what happened, to whom, never a secret."""
