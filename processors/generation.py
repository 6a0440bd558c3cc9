"""The generation: identity of everything that feeds an id or a vector. Indices carry it, so settings never mix.

A generation may be written twice, beside the one that is live: a *shadow* has a name, its own indices and its own
consumer group, and takes the place of the live one by a switch of aliases. A *label* names either: `g1a2b3c4d`, or
`g1a2b3c4d_blue`.
"""

from typing import Final

from processors.decode import DECODERS_VERSION
from processors.embed import make_embedder
from processors.redact import Redactor
from processors.template import TEMPLATE_VERSION
from schemas.documents import MERGE_SCRIPT_VERSION, Names, digest
from schemas.settings import Settings

SHAPE_VERSION: Final = 5  # of `shape.py` and `lines.py`: what an id is made of, what is kept of a record


def generation_parts(settings: Settings) -> dict[str, str]:
    """What the generation is made of, for people to compare when two differ."""
    return {
        "decoders": str(DECODERS_VERSION),
        "redaction": Redactor(settings.redaction).identity,
        "template": str(TEMPLATE_VERSION),
        "shape": str(SHAPE_VERSION),
        "body": str(settings.worker.max_body_chars),  # a template may lie behind a cut
        "merge": str(MERGE_SCRIPT_VERSION),
        "embedder": make_embedder(settings.embedder).identity,
    }


def generation(parts: dict[str, str]) -> str:
    return "g" + digest(*(f"{name}={value}" for name, value in sorted(parts.items())))[:8]


def label_of(generation: str, shadow: str) -> str:
    return f"{generation}_{shadow}" if shadow else generation


def group_of(group: str, label: str) -> str:
    """The consumer group that feeds a label: positions belong to what was indexed, so they switch with the alias."""
    _, _, shadow = label.partition("_")
    return f"{group}.{shadow}" if shadow else group


def names_for(settings: Settings) -> Names:
    return Names(settings.opensearch.prefix, generation(generation_parts(settings)))
