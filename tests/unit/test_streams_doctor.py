"""The doctor says what is wrong and what to do, in one line, without a secret."""

import pytest

from schemas.errors import SinkUnavailable, StartupError
from schemas.settings import Settings
from streams import doctor


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (None, "fine"),
        (
            SinkUnavailable("Redis at h:1 does not answer"),
            "Redis at h:1 does not answer. Start it (`make up`) or set FRESHET_REDIS__*.",
        ),
        (StartupError("X is wrong. Set FRESHET_X."), "X is wrong. Set FRESHET_X."),
        (SinkUnavailable("http://u:pw@h:1 is away, set FRESHET_Y"), "http://h:1 is away, set FRESHET_Y"),
    ],
)
def test_one_line(error: Exception | None, text: str) -> None:
    def call(_: Settings) -> str:
        if error:
            raise error
        return "fine"

    check = doctor._try(Settings(), "redis", "h:1", True, call)
    assert (check.ok, check.text) == (error is None, text)


def test_a_defect_is_not_hidden() -> None:
    def call(_: Settings) -> str:
        raise KeyError("defect")

    with pytest.raises(KeyError):
        doctor._try(Settings(), "redis", "", True, call)


def test_every_check_has_advice() -> None:
    assert set(doctor.ADVICE) == {"kafka", "topics", "opensearch", "redis", "registry", "model", "embedder"}
