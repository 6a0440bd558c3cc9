"""Measuring answers: labelled sets of telemetry, runbooks and questions, asked through the real processes."""
