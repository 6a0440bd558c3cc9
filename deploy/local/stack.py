"""What a state directory remembers between two starts: ports and choices, in `stack.json`."""

import itertools
import json
import threading
import zlib
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

from deploy.local.service import Service, is_free

# Below the kernel's range for outgoing connections: a client cannot take the port while its server restarts.
PORT_RANGE: Final = range(20_000, 32_000)
_writing = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """What must be the same at the next start."""

    cache: str
    java_home: str = ""
    opensearch_heap_mb: int = 512
    ports: dict[str, dict[str, int]] = field(default_factory=dict)


def load(state: Path) -> Stack | None:
    """None where nothing was ever started."""
    path = state / "stack.json"
    return Stack(**json.loads(path.read_text())) if path.is_file() else None


def save(state: Path, stack: Stack) -> None:
    """Replace what is remembered."""
    write_whole(state / "stack.json", json.dumps(asdict(stack), indent=2))


def remember_ports(state: Path, name: str, ports: dict[str, int]) -> None:
    """Note the ports of one service; threads may do so at the same time."""
    with _writing:
        stack = load(state)
        if stack:
            save(state, replace(stack, ports={**stack.ports, name: ports}))


def choose_ports(state: Path, service: Service, known: dict[str, int]) -> dict[str, int]:
    """Free ports, the known ones if possible; the first guess depends on the directory, so two stacks rarely meet."""
    chosen: dict[str, int] = {}
    for index, role in enumerate(service.ports):
        guess = zlib.crc32(f"{service.name}:{index}@{state}".encode()) % len(PORT_RANGE)
        candidates = (PORT_RANGE[(guess + step) % len(PORT_RANGE)] for step in range(len(PORT_RANGE)))
        wanted = itertools.chain([known[role]] if role in known else [], candidates)
        chosen[role] = next(port for port in wanted if port not in chosen.values() and is_free(port))
    return chosen


def write_whole(path: Path, text: str) -> None:
    """Write a small file so that a reader sees the old or the new one, never a part."""
    fresh = path.with_name(f".{path.name}")
    fresh.write_text(text)
    fresh.rename(path)
