"""Who asks, and the policy file: which principals and groups may see which clusters and namespaces."""

from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from schemas.context import Grant, Scope

MAX_NAME_CHARS: Final = 253  # of a namespace: a DNS name at most
MIN_SECRET_BYTES: Final = 32  # of a shared secret for HS256 (RFC 7518, 3.2)

Kind = Literal["key", "user", "forwarded user", "anonymous"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """Per minute; 0: unlimited."""

    requests: int = 0
    tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who asks, and what follows from it."""

    kind: Kind
    name: str  # of the key, or the subject of a token; one principal per kind and name
    groups: tuple[str, ...] = ()  # those that the policy knows
    scope: Scope
    quota: Quota = Quota()

    @property
    def id(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind

    @property
    def pseudonym(self) -> str:
        """The same for the same principal, where names of people have no business."""
        return blake2b(self.id.encode(errors="replace"), digest_size=12).hexdigest()


class _Entry(BaseModel):
    """Strict, and without unknown fields: a misspelt word in a policy must not open or close anything silently."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _pattern(value: str) -> str:
    if not value or len(value) > MAX_NAME_CHARS or not value.isprintable() or value != value.strip():
        raise ValueError("a name is 1 to 253 characters, without blanks around it")
    if "*" in value[:-1]:
        raise ValueError("a * may only stand at the end of a name")
    return value


Pattern = Annotated[str, AfterValidator(_pattern)]
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS, pattern=r"^\S(.*\S)?$")]
PerMinute = Annotated[int, Field(ge=0)]


class GrantEntry(_Entry):
    """Empty: everything. Nodes and other things without a namespace go with all namespaces of their cluster."""

    clusters: Annotated[list[Pattern], Field(strict=True)] = []
    namespaces: Annotated[list[Pattern], Field(strict=True)] = []
    cluster_objects: bool | None = Field(None, description="unset: only where all namespaces are granted")

    def grant(self) -> Grant:
        clusters, namespaces = _all_or(self.clusters), _all_or(self.namespaces)
        objects = self.cluster_objects if self.cluster_objects is not None else not namespaces
        return Grant(clusters=clusters, namespaces=namespaces, cluster_objects=objects)


def _all_or(names: list[str]) -> tuple[str, ...]:
    return () if "*" in names else tuple(dict.fromkeys(names))


class QuotaEntry(_Entry):
    requests_per_minute: PerMinute | None = Field(None, description="0: unlimited; unset: as elsewhere")
    tokens_per_minute: PerMinute | None = Field(None, description="0: unlimited; unset: as elsewhere")


class GroupEntry(_Entry):
    grants: list[GrantEntry] = []
    quota: QuotaEntry = QuotaEntry()


class Holder(GroupEntry):
    """Somebody who may be in groups and have grants besides."""

    groups: list[Name] = []


class KeyEntry(Holder):
    """An API key, by the SHA-256 of its bytes or by a file that holds it (a mounted secret)."""

    name: Name
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    secret_file: Annotated[Path, Field(strict=False)] | None = None
    only_for_users: bool = Field(
        False, description="a gateway's key: refused unless a valid forwarded-user token comes with it"
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.sha256 is None) == (self.secret_file is None):
            raise ValueError("give either sha256 or secret_file")
        return self


class PolicyFile(_Entry):
    """As written. References between its parts are checked where it is read (`api.policy`)."""

    groups: dict[Name, GroupEntry] = {}
    keys: list[KeyEntry] = []
    users: dict[Name, Holder] = Field({}, description="by the subject or e-mail address of a token")
    authenticated: Holder = Field(Holder(), description="what every user with a valid token gets on top")
    anonymous: Holder = Field(Holder(), description="what requests without credentials get, where they are let in")
