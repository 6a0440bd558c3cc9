"""Redis lost with many runbooks: how long until all of them are served again."""

from typing import Any

from rich.console import Console

from tests.faults.runbook_site import Site


def measure(site: Site, runbooks: int, out: Console) -> dict[str, Any]:
    raise NotImplementedError
