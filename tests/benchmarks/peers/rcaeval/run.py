"""Root cause methods as RCAEval publishes them, on tables that are given to them.

    run.py   (a JSON line for each case on standard input)

A case is {"time": [...], "inject": t, "columns": {name: [...]}}, without gaps. The last line of the output holds, for
each case and method, the names of its columns, the most suspect first.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import pandas as pd
import RCAEval.utility

# The package imports its methods on Python 3.10, 3.12 and 3.14 only; these two run on others, too.
RCAEval.utility.is_py312 = lambda: True
from RCAEval.e2e import baro, nsigma  # noqa: E402

METHODS = {"BARO": baro, "three sigma": nsigma}


def ranks(method: Callable[..., dict[str, Any]], table: pd.DataFrame, inject: float) -> list[str]:
    return [name for name in method(table.copy(), inject, dataset="given")["ranks"] if name != "time"]


def main() -> None:
    answers = []
    for line in sys.stdin:
        case = json.loads(line)
        table = pd.DataFrame({"time": case["time"], **case["columns"]})
        answers.append({name: ranks(method, table, case["inject"]) for name, method in METHODS.items()})
    sys.stdout.write(json.dumps({"answers": answers}) + "\n")


main()
