"""Settings that cannot work are refused when they are read."""

from pathlib import Path

import pytest

from schemas.errors import StartupError
from schemas.settings import Settings

AUTHORITIES = [
    f"FRESHET_{section}__CA_FILE" for section in ("KAFKA", "OPENSEARCH", "REDIS", "REGISTRY", "MODEL", "EMBEDDER")
]


@pytest.mark.parametrize("name", AUTHORITIES)
@pytest.mark.parametrize(
    ("content", "says"), [(None, "cannot be read: No such file"), ("junk", "there is no PEM certificate in")]
)
def test_an_authority_that_no_client_could_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, content: str | None, says: str
) -> None:
    file = tmp_path / "authority.pem"
    if content:
        file.write_text(content)
    monkeypatch.setenv(name, str(file))
    with pytest.raises(StartupError, match=says) as refused:
        Settings.load()
    assert name in str(refused.value)


def test_an_empty_authority_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in AUTHORITIES:
        monkeypatch.setenv(name, "")
    assert Settings.load().kafka.ca_file is None
