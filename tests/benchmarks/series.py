"""What the pictures are made from: figures over time, as JSON in a folder that git ignores."""

import json
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parents[2] / ".bench"


def keep(name: str, **series: Any) -> Path:
    """The last run's only."""
    FOLDER.mkdir(exist_ok=True)
    file = FOLDER / f"{name}.json"
    file.write_text(json.dumps(series) + "\n")
    return file
