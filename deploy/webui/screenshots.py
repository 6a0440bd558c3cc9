"""The pictures of the README: one incident on real services, asked about in the real Open WebUI.

First without a model, then with the stand-in (`tests.standin_model`), which is slow enough to be watched, then without
it again.
"""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from deploy.demo import free_port, launch, play_on, prepare, start_webui, step
from deploy.installation import CHECKOUT, Installation
from deploy.local import processes, services
from deploy.local.processes import Command
from deploy.shop.player import Scenario, single_incident
from deploy.webui import environments
from deploy.webui.browser import Browser, browsing

NAME: Final = "pictures"
INCIDENT: Final = "pool-exhaustion"
MINUTES: Final = 20.0
HEIGHT: Final = 1180  # a whole answer; the width is always 1280
FRESH_S, PATIENCE_S = 5.0, 120.0
MODEL: Final = "model"


def take(folder: Path, state: Path, cache: Path) -> None:
    """Play, ask, take the pictures; nothing stays behind. Raises PageFailed when the page is not as expected."""
    home = environments.install(environments.PRODUCT, cache, print)
    found_running = any(service.state == "running" for service in services.status(state))
    scenario = single_incident(INCIDENT, seed=1, end=datetime.now(UTC).replace(microsecond=0), minutes=MINUTES)
    question = scenario.incidents[0].question
    installation = prepare(state, cache, NAME, until_pid=os.getpid())
    try:
        port = free_port(0)
        launch(installation, port, scenario)
        with _played_on(installation, scenario), browsing(cache, print) as browser:
            url = start_webui(installation, home, free_port(0))
            with step("until the newest data is fresh"):
                installation.wait(lambda: _fresh(installation), "the worker to catch up", "worker-1", PATIENCE_S)
            with step("without a model"):
                _evidence_alone(browser, url, question, folder)
            model = f"http://127.0.0.1:{_start_model(installation)}/v1"
            installation.stop("api")
            installation.extra |= {"FRESHET_MODEL__BASE_URL": model, "FRESHET_MODEL__FIRST_TOKEN_TIMEOUT_S": "5"}
            installation.start_api(port=port)
            with step("with a slow model, then without it"):
                _with_model(browser, url, question, folder, installation)
    finally:
        installation.stop()
        installation.remove()
        if not found_running:
            services.down(state)


@contextmanager
def _played_on(installation: Installation, scenario: Scenario) -> Iterator[None]:
    over = threading.Event()
    player = threading.Thread(target=play_on, args=(installation, scenario, lambda: not over.is_set()))
    player.start()
    try:
        yield
    finally:
        over.set()
        player.join()


def _fresh(installation: Installation) -> bool:
    newest = installation.sources().newest
    return newest is not None and (datetime.now(UTC) - newest).total_seconds() < FRESH_S


def _evidence_alone(browser: Browser, url: str, question: str, folder: Path) -> None:
    browser.do("enter", url=url, height=HEIGHT)
    browser.do("ask", text=question)
    browser.do("answer")
    browser.do("suggestions")
    browser.do("shoot", path=_png(folder, "answer"), top=True)
    browser.do("source", leave_open=True)
    browser.do("shoot", path=_png(folder))
    browser.do("leave")
    browser.do("suggestion")
    browser.do("answer", number=2)
    browser.do("shoot", path=_png(folder, "follow-up"), top=True)


def _with_model(browser: Browser, url: str, question: str, folder: Path, installation: Installation) -> None:
    browser.do("enter", url=url, height=HEIGHT // 2)
    browser.do("ask", text=question)
    browser.do("growing", words="evidence shows")
    browser.do("shoot", path=_png(folder, "streaming"))
    browser.do("stop")
    installation.stop(MODEL)
    browser.do("enter", url=url, height=HEIGHT)
    browser.do("ask", text=question)
    browser.do("answer")
    browser.do("shoot", path=_png(folder, "model-down"), top=True)


def _start_model(installation: Installation) -> int:
    port = free_port(0)
    argv = [sys.executable, "-m", "tests.standin_model", "--port", str(port), "--behaviour", "slow"]
    command = Command(name=f"{installation.name}.{MODEL}", argv=argv, cwd=CHECKOUT, log=installation.log(MODEL))
    processes.spawn(installation.state, command)
    return port


def _png(folder: Path, *name: str) -> str:
    return str((folder / f"{'-'.join(('open-webui', *name))}.png").resolve())
