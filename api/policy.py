"""The policy file: read strictly, checked as a whole, and turned into principals. Pure, but for reading files."""

import hmac
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, cast

import yaml
from pydantic import ValidationError

from schemas.access import GroupEntry, Holder, KeyEntry, Kind, PolicyFile, Principal, Quota
from schemas.context import Grant, Scope
from schemas.errors import FreshetError

MIN_KEY_CHARS: Final = 16
EXAMPLE: Final = "deploy/policy.example.yaml shows the form"

Stamp = tuple[tuple[str, int, int, int], ...]  # of each file: path, inode, size, time of its last change


class PolicyWrong(FreshetError):
    """One line that names the file, the place in it, and what is wrong there -> mend the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    digest: bytes  # SHA-256
    entry: KeyEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a policy file says. `defaults`: the quota of whoever it gives none."""

    file: PolicyFile
    keys: tuple[Key, ...]
    defaults: Quota
    stamp: Stamp = field(compare=False)

    def key_of(self, given: bytes) -> KeyEntry | None:
        """The entry of this key. All are compared, so that the time taken says nothing about which one was close."""
        digest = sha256(given).digest()
        matches = [key.entry for key in self.keys if hmac.compare_digest(key.digest, digest)]
        return matches[0] if matches else None

    def key(self, entry: KeyEntry) -> Principal:
        return self._principal("key", entry.name, [entry], entry.groups)

    def user(self, kind: Kind, name: str, also_known_as: Iterable[str], groups: Iterable[str]) -> Principal:
        """Of a valid token. Groups that the policy does not know mean nothing here."""
        own = [self.file.users[alias] for alias in (name, *also_known_as) if alias in self.file.users]
        known = [group for group in groups if group in self.file.groups]
        entries = [*own[:1], self.file.authenticated]
        return self._principal(kind, name, entries, [*known, *(g for entry in entries for g in entry.groups)])

    def anonymous(self) -> Principal:
        return self._principal("anonymous", "", [self.file.anonymous], self.file.anonymous.groups)

    def _principal(self, kind: Kind, name: str, own: list[Holder], groups: Iterable[str]) -> Principal:
        names = tuple(dict.fromkeys(groups))
        entries: list[GroupEntry] = [*own, *(self.file.groups[name] for name in names)]
        grants = dict.fromkeys(grant.grant() for entry in entries for grant in entry.grants)
        quotas = [own[0].quota, *(entry.quota for entry in entries[1:])]
        quota = Quota(
            requests=_allowed([q.requests_per_minute for q in quotas], self.defaults.requests),
            tokens=_allowed([q.tokens_per_minute for q in quotas], self.defaults.tokens),
        )
        return Principal(kind=kind, name=name, groups=names, scope=Scope(grants=tuple(grants)), quota=quota)


def _allowed(said: list[int | None], default: int) -> int:
    """What the principal itself is given, else the most that any of its groups is; 0 is unlimited."""
    if said[0] is not None:
        return said[0]
    given = [limit for limit in said[1:] if limit is not None]
    return default if not given else 0 if 0 in given else max(given)


def overlap(one: Scope, other: Scope) -> Scope:
    """What both grant."""
    grants = dict.fromkeys(both for a in one.grants for b in other.grants for both in _overlap(a, b))
    return Scope(grants=tuple(grants))


def _overlap(a: Grant, b: Grant) -> Iterator[Grant]:
    clusters, namespaces = _common(a.clusters, b.clusters), _common(a.namespaces, b.namespaces)
    if clusters is not None and namespaces is not None:
        objects = a.cluster_objects and b.cluster_objects
        yield Grant(clusters=clusters, namespaces=namespaces, cluster_objects=objects)


def _common(a: tuple[str, ...], b: tuple[str, ...]) -> tuple[str, ...] | None:
    """None: nothing; empty: everything."""
    if not a or not b:
        return a or b
    return tuple(dict.fromkeys(name for x in a for y in b if (name := _narrower(x, y)))) or None


def _narrower(x: str, y: str) -> str:
    if y.endswith("*") and x.startswith(y[:-1]):
        return x
    return y if x == y or (x.endswith("*") and y.startswith(x[:-1])) else ""


# -- Reading -----------------------------------------------------------------------------------------------------------


def read_policy(path: Path, defaults: Quota) -> Policy:
    """Raises PolicyWrong. The files of secrets are read as well."""
    try:
        stamp: Stamp = (_stamp(path),)
        text = path.read_text(encoding="utf-8")
        written = yaml.load(text, _Unique)  # noqa: S506 - a SafeLoader
        file = PolicyFile.model_validate({} if written is None else written)
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyWrong(f"policy file {path} cannot be read: {_why(error)}. Mend the file or its rights") from None
    except yaml.YAMLError as error:
        raise PolicyWrong(f"policy file {path} is not YAML{_where(error)}. Mend it; {EXAMPLE}") from None
    except ValidationError as error:
        first = error.errors()[0]
        message = str(first["msg"]).removeprefix("Value error, ")
        raise PolicyWrong(f"policy file {path}: {_place(first['loc'])}: {message}. Mend it; {EXAMPLE}") from None
    except (ValueError, RecursionError) as error:  # a date that is none, lists within lists without end
        raise PolicyWrong(f"policy file {path} cannot be understood: {str(error)[:80]}. Mend it; {EXAMPLE}") from None
    for place, wrong in _contradictions(file):
        raise PolicyWrong(f"policy file {path}: {place}: {wrong}. Mend it; {EXAMPLE}")
    keys: list[Key] = []
    for number, entry in enumerate(file.keys):
        place = f"policy file {path}: keys[{number}]"
        digest = bytes.fromhex(entry.sha256) if entry.sha256 else _secret(entry, path.parent, place)
        if any(key.digest == digest for key in keys):
            raise PolicyWrong(f"{place}: this key is listed twice. Leave one of them")
        keys.append(Key(digest=digest, entry=entry))
        if entry.secret_file:
            stamp += (_stamp(path.parent / entry.secret_file),)
    return Policy(file=file, keys=tuple(keys), defaults=defaults, stamp=stamp)


def changed(policy: Policy) -> Stamp | None:
    """What its files look like now, if they look otherwise than when it was read; empty when one is gone."""
    try:
        now = tuple(_stamp(Path(path)) for path, *_ in policy.stamp)
    except OSError:
        return ()
    return now if now != policy.stamp else None


def _stamp(path: Path) -> tuple[str, int, int, int]:
    """Through links: Kubernetes swaps the target of one when a mounted file changes."""
    seen = path.stat()
    return str(path), seen.st_ino, seen.st_size, seen.st_mtime_ns


def _secret(entry: KeyEntry, folder: Path, place: str) -> bytes:
    path = folder / cast(Path, entry.secret_file)
    try:
        value = path.read_bytes().strip()
    except OSError as error:
        raise PolicyWrong(
            f"{place}.secret_file: {path} cannot be read: {_why(error)}. Mount the secret there"
        ) from None
    if len(value) < MIN_KEY_CHARS:
        raise PolicyWrong(f"{place}.secret_file: the key in {path} is shorter than {MIN_KEY_CHARS} characters")
    return sha256(value).digest()


def _contradictions(file: PolicyFile) -> Iterator[tuple[str, str]]:
    """What is well-formed, and yet refers to nothing or means two things."""
    holders: dict[str, Holder] = {f"keys[{number}]": key for number, key in enumerate(file.keys)}
    holders |= {f"users.{name}": user for name, user in file.users.items()}
    holders |= {"authenticated": file.authenticated, "anonymous": file.anonymous}
    for place, holder in holders.items():
        for number, group in enumerate(holder.groups):
            if group not in file.groups:
                known = ", ".join(sorted(file.groups)) or "none"
                yield f"{place}.groups[{number}]", f"there is no group {group!r}; known: {known}"
    names = [key.name for key in file.keys]
    for number, name in enumerate(names):
        if name in names[:number]:
            yield f"keys[{number}].name", f"another key is named {name!r} too, and they would share quota and audit"


class _Unique(yaml.SafeLoader):
    """YAML keeps the last of two equal keys; in a policy that would drop grants, or limits, without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _where(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f" at line {mark.line + 1}: {getattr(error, 'problem', None) or 'it ends early'}" if mark else ""


def _why(error: OSError | UnicodeDecodeError) -> str:
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror or type(error).__name__


def _place(location: tuple[int | str, ...]) -> str:
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else str(step)
    return path or "the whole"
