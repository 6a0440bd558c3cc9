"""Apicurio schema registry; schemas are kept in a file so that a restart finds them."""

from typing import Final

import httpx

from deploy.local import artifacts
from deploy.local.processes import Command
from deploy.local.service import Service, Site


def _commands(site: Site) -> list[Command]:
    java, home = site.java(), site.install(artifacts.REGISTRY)
    site.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (jar,) = home.glob("*-runner.jar")
    settings = (
        "-Dquarkus.http.host=127.0.0.1",
        f"-Dquarkus.http.port={site.ports['client']}",
        f"-DREGISTRY_DATASOURCE_URL=jdbc:h2:file:{site.folder}/schemas",
        "-Dquarkus.datasource.jdbc.initial-size=2",
        "-Dquarkus.datasource.jdbc.min-size=2",
    )
    argv = [java.binary, "-Xms64m", "-Xmx384m", *settings, "-jar", str(jar)]
    return [Command(name=site.name, argv=argv, cwd=site.folder, log=site.log)]


def _address(port: int) -> str:
    return f"http://127.0.0.1:{port}/apis/ccompat/v7"


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"{_address(port)}/subjects", timeout=5, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


SERVICE: Final = Service(
    name="registry",
    ports=("client",),
    timeout_s=180,
    address=_address,
    answers=_answers,
    commands=_commands,
)
