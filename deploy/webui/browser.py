"""A browser that a test or a command leads through Open WebUI."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deploy.webui.environments import BROWSER, Report, chromium, install
from schemas.errors import StartupError

PAGE: Final = Path(__file__).with_name("page.py")


class PageFailed(AssertionError):
    """The page did not show what it should; says what it shows instead."""


@dataclass(slots=True)
class Browser:
    """Its verbs are the methods of `page.Person`."""

    _process: "subprocess.Popen[str]"

    def do(self, verb: str, **values: Any) -> Any:
        """What the page then says. Blocks; raises PageFailed."""
        if self._process.stdin is None or self._process.stdout is None:
            raise StartupError("the browser was started without pipes")
        self._process.stdin.write(json.dumps({"do": verb, **values}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise StartupError(f"the browser ended ({self._process.wait()}) at `{verb}`; its reasons are above")
        answer = json.loads(line)
        if "failed" in answer:
            raise PageFailed(f"{verb} {values}: {answer['failed']}\nThe page shows: {answer['shown']}")
        return answer["said"]


@contextmanager
def browsing(cache: Path, report: Report) -> Iterator[Browser]:
    """A headless browser, installed first if need be. It ends with us, however we end: its input does."""
    python, program = install(BROWSER, cache, report) / "bin" / "python", chromium()
    with subprocess.Popen(
        [str(python), str(PAGE), str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Browser(process)
        finally:
            if process.stdin:
                process.stdin.close()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
