"""Checking what a model says against what it cites, while it streams. Pure."""
