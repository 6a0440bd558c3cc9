"""Freshness and rate of the running product, on real services: `python -m tests.benchmarks [freshness|rate]`."""
