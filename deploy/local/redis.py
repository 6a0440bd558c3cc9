"""Redis from Debian, with an append-only file so that a restart finds what was there."""

import shutil
import socket
from typing import Final

from deploy.local.processes import Command
from deploy.local.service import Service, Site
from schemas.errors import StartupError

SETTINGS: Final = """\
bind 127.0.0.1
port {port}
dir "{folder}"
daemonize no
appendonly yes
save ""
# The title would overwrite the memory in which the process shows its environment, and with it our mark.
set-proc-title no
"""


def _commands(site: Site) -> list[Command]:
    server = shutil.which("redis-server")
    if server is None:
        raise StartupError(
            "redis: redis-server is not installed: apt-get install redis-server (or deploy/bootstrap.sh)"
        )
    site.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    settings = site.folder / "redis.conf"
    settings.write_text(SETTINGS.format(port=site.ports["client"], folder=site.folder))
    return [Command(name=site.name, argv=[server, str(settings)], cwd=site.folder, log=site.log)]


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")  # while it loads its file it says -LOADING
    except OSError:
        return False


SERVICE: Final = Service(
    name="redis",
    ports=("client",),
    timeout_s=30,
    address=lambda port: f"redis://127.0.0.1:{port}/0",
    answers=_answers,
    commands=_commands,
)
