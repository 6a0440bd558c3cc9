"""Telling incidents from summaries: symptoms, what groups them, how they begin and end. Pure."""
