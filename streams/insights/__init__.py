"""Incidents on topics: told by workers, read by people and by other programs."""
