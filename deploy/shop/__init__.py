"""A made-up web shop on Kubernetes: seeded telemetry as shippers write it, with incidents whose cause is known.

The pure part is `player.play(scenario)`; `python -m deploy.shop` is the edge: to Kafka, or to files.
"""
