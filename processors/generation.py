"""The generation: identity of everything that feeds an id or a vector. Indices carry it, so settings never mix."""

from typing import Final

from processors.decode import DECODERS_VERSION
from processors.embed import make_embedder
from processors.redact import Redactor
from processors.template import TEMPLATE_VERSION
from schemas.documents import MERGE_SCRIPT_VERSION, Names, digest
from schemas.settings import Settings

SHAPE_VERSION: Final = 2  # of `shape.py`: which fields an id is made of


def generation_parts(settings: Settings) -> dict[str, str]:
    """What the generation is made of, for people to compare when two differ."""
    return {
        "decoders": str(DECODERS_VERSION),
        "redaction": Redactor(settings.redaction).identity,
        "template": str(TEMPLATE_VERSION),
        "shape": str(SHAPE_VERSION),
        "merge": str(MERGE_SCRIPT_VERSION),
        "embedder": make_embedder(settings.embedder).identity,
    }


def generation(parts: dict[str, str]) -> str:
    return "g" + digest(*(f"{name}={value}" for name, value in sorted(parts.items())))[:8]


def names_for(settings: Settings) -> Names:
    return Names(settings.opensearch.prefix, generation(generation_parts(settings)))
