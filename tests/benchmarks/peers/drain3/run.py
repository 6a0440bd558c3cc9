"""Drain3 as it comes and with its example masks, a new miner for each request.

    run.py SCORER   (the file that holds the masks)

Says {} when it is ready. Then a JSON line in, a JSON line out: {"masks": true, "before": [...], "lines": [...]} gives
{"cpu_s": ..., "clusters": [...]} of `lines`, once the miner knows those that come before.
"""

import json
import runpy
import sys
import time
from typing import Any

from drain3 import TemplateMiner
from drain3.masking import MaskingInstruction
from drain3.template_miner_config import TemplateMinerConfig


def miner(masks: list[tuple[str, str]]) -> TemplateMiner:
    """With Drain's usual depth and threshold."""
    config = TemplateMinerConfig()
    config.drain_sim_th, config.drain_depth, config.profiling_enabled = 0.4, 4, False
    config.masking_instructions = [MaskingInstruction(pattern, name) for pattern, name in masks]
    return TemplateMiner(config=config)


def main() -> None:
    masks = runpy.run_path(sys.argv[1])["MASKS"]
    say({})
    for line in sys.stdin:
        request = json.loads(line)
        add = miner(masks if request["masks"] else []).add_log_message
        for each in request["before"]:
            add(each)
        began = time.process_time()
        clusters = [add(each)["cluster_id"] for each in request["lines"]]
        say({"cpu_s": time.process_time() - began, "clusters": clusters})


def say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


main()
