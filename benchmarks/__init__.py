"""Benchmarks: one command each, ratios against a floor measured in the same run."""
