"""A stock Faust agent that does nothing with what it gets: `run.py BOOTSTRAP TOPIC GROUP COUNT FOLDER`.

Ends with one JSON line after COUNT events: their number, seconds and processor seconds since the first one.
"""

import json
import os
import sys
import time

import faust

bootstrap, topic, group, count, folder = sys.argv[1:]
# Raw bytes in, as on the other side; all else is as it comes.
app = faust.App(
    group,
    broker=f"kafka://{bootstrap}",
    consumer_auto_offset_reset="earliest",
    key_serializer="raw",
    value_serializer="raw",
    topic_allow_declare=False,
    topic_disable_leader=True,
    web_enabled=False,
    broker_session_timeout=10,  # a member that is gone is soon forgotten
    broker_heartbeat_interval=2,
    datadir=folder,
)


@app.agent(app.topic(topic))
async def take(stream: faust.Stream) -> None:
    seen, began, cpu_s = 0, time.monotonic(), time.process_time()
    async for value in stream:
        if seen == 0:
            began, cpu_s = time.monotonic(), time.process_time()
        assert value
        seen += 1
        if seen > int(count):
            spent = {"records": seen - 1, "wall_s": time.monotonic() - began, "cpu_s": time.process_time() - cpu_s}
            os.write(1, json.dumps(spent).encode() + b"\n")
            os._exit(0)


if __name__ == "__main__":
    worker = faust.Worker(app, loglevel="WARN", quiet=True, redirect_stdouts=False)
    worker.spinner = None  # it would write to standard output
    worker.execute_from_commandline()
