"""Sets one after the other through one running stack: loaded, asked, cleared away."""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path
from typing import Final

from rich.console import Console

from deploy.local import services
from deploy.local.services import Endpoints
from processors.embed import Embedder
from processors.index import connect
from schemas.settings import OpenSearch
from tests.evaluation.baselines import Baselines, Sections
from tests.evaluation.run import Asked, ask, loaded
from tests.evaluation.sets import LabelledSet
from tests.evaluation.standing import written

WIDE: Final = 200  # columns where no terminal says how many there are
notes = Console(stderr=True, highlight=False)
out = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)


def sets_asked(
    names: Sequence[str], *, state: Path | None, cache: Path, limit: int, embedder: Embedder | None
) -> Iterator[tuple[str, list[Asked]]]:
    """Each set's name and answers as soon as they are there. Raises FreshetError, OSError, ValueError, HTTPError."""
    signal.signal(signal.SIGTERM, _leave)
    with tempfile.TemporaryDirectory(prefix="freshet-sets-") as home:
        standing = written(names, Path(home))
        first = next(standing)  # a set with a mistake is refused before anything is started
        with _services(state, cache) as (place, endpoints):
            for one in chain([first], standing):
                yield one.name, run(one, place, endpoints, limit, embedder)


def _leave(number: int, _frame: object) -> None:
    """What is running is stopped and what was made is removed, as after Ctrl-C."""
    raise SystemExit(128 + number)


def run(one: LabelledSet, place: Path, endpoints: Endpoints, limit: int, embedder: Embedder | None) -> list[Asked]:
    """Everything that a set asks, with what plain searches find beside it unless `embedder` is None."""

    def say(text: str) -> None:
        notes.print(f"{one.name}: {text}", markup=False)

    say(f"{len(one.tasks)} tasks")
    asked = []
    with (
        loaded(one, place, endpoints, say) as installation,
        closing(connect(OpenSearch.model_validate({"url": endpoints.opensearch}))) as client,
    ):
        baselines = None
        if embedder is not None:
            sections = Sections(one.path(one.runbooks) if one.runbooks else None, embedder)
            baselines = Baselines(client, installation.name, sections, embedder)
        start = time.monotonic()
        for number, task in enumerate(one.tasks, 1):
            asked.append(ask(installation, one, task, limit, baselines))
            if number % 50 == 0:
                say(f"{number} of {len(one.tasks)} tasks asked")
        say(f"all asked in {time.monotonic() - start:.0f} s")
    return asked


@contextmanager
def _services(state: Path | None, cache: Path) -> Iterator[tuple[Path, Endpoints]]:
    """The services of a folder, which stay as they are; or own ones, which end with this process, however it ends."""
    if state is not None:
        yield state, services.up(state, cache)
        return
    with tempfile.TemporaryDirectory(prefix="freshet-eval-") as folder:
        home = Path(folder)
        try:
            yield (
                home,
                services.up(home, cache, until_pid=os.getpid(), report=lambda s, text: notes.print(f"{s}: {text}")),
            )
        finally:
            services.down(home, wipe=True)
