"""What redaction finds, what it takes for a secret wrongly, and how fast: `python -m tests.redaction`."""
