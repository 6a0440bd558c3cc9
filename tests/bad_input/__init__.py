"""Broken, hostile and merely odd messages, each with what a user expects of it: `python -m tests.bad_input`."""
