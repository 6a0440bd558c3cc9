"""The real Kafka, OpenSearch, Redis and schema registry on free loopback ports, without Docker.

`services` is the interface for tests and the demo, `python -m deploy.local` the one for people. Read next: `services`,
then one screen per service (`kafka`, `opensearch`, `redis`, `registry`), then `processes` and `artifacts`.
"""
