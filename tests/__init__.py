"""Tests. A package at the root alone, so that no installed `tests` shadows it."""
