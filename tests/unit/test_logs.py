"""What gets into the log: no credentials, and no flood from a library."""

import logging
import subprocess
import sys

import pytest

from processors.logs import Seldom, without_credentials


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("OpenSearch at http://u:pw@host:9200/ is away", "OpenSearch at http://host:9200/ is away"),
        ("redis://:pw@127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("a@b.example and http://host/x@y", "a@b.example and http://host/x@y"),
    ],
)
def test_credentials(text: str, shown: str) -> None:
    assert without_credentials(text) == shown


def test_libraries_repeat_themselves_seldom() -> None:
    now = 0.0
    seldom = Seldom(lambda: now, every_s=30)

    def passes(name: str, text: str) -> bool:
        return bool(seldom.filter(logging.LogRecord(name, logging.ERROR, "", 0, text, (), None)))

    assert [passes("aiokafka.conn", "away %s") for _ in range(3)] == [True, False, False]
    assert passes("aiokafka.conn", "other")
    assert [passes("streams.worker", "ours") for _ in range(2)] == [True, True]
    now = 30.0
    assert passes("aiokafka.conn", "away %s")


def test_a_traceback_keeps_no_secret() -> None:
    program = (
        "from processors.logs import configure; import structlog\n"
        "configure('INFO')\n"
        "try: raise ValueError('password=hunter' + '2 refused')\n"
        "except ValueError:\n"
        "    structlog.get_logger().error('broke', header='Bearer ' + 'abcdef' + '123456', exc_info=True)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert "password=<redacted:password> refused" in done.stderr
    assert "hunter2" not in done.stderr
    assert "abcdef123456" not in done.stderr
