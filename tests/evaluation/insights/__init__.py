"""Measuring incident insights: known incidents and anomalies, beside simple baselines in the same run."""
