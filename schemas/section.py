"""What every section of the settings is made of."""

import ssl
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

Positive = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0)]


def _authorities(file: Path | None) -> Path | None:
    """Read here, so that a file that no client could use is one line at the start, whichever client it is for."""
    try:
        if file:
            ssl.create_default_context(cafile=str(file))
    except ssl.SSLError:
        raise ValueError("there is no PEM certificate in this file") from None
    except OSError as error:
        raise ValueError(f"this file cannot be read: {error.strerror}") from None
    return file


CaFile = Annotated[Path | None, BeforeValidator(lambda given: given or None), AfterValidator(_authorities)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
