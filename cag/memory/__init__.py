"""Answers that were made before: what may be kept, found again by the same or another wording, made once."""
