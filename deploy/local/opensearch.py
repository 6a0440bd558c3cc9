"""OpenSearch: one node with k-NN and hybrid search, loopback only, no security plugin."""

import re
import shutil
from typing import Final

import httpx

from deploy.local import artifacts
from deploy.local.accounts import own_folder, readable_copy, unprivileged
from deploy.local.processes import Command
from deploy.local.service import Service, Site

VECTOR_MODULE: Final = "--add-modules=jdk.incubator.vector"
SETTINGS: Final = """\
cluster.name: freshet-local
node.name: freshet-local
discovery.type: single-node
network.host: 127.0.0.1
http.port: {port}
path.data: {folder}/disk
path.logs: {folder}/logs
cluster.routing.allocation.disk.threshold_enabled: false
action.auto_create_index: false
"""
LOGGING: Final = """\
status = error
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %-5p %c{1.} %m%n
"""


def _commands(site: Site) -> list[Command]:
    """As root it will run as `nobody`, in a folder of its own."""
    account, java = unprivileged(), site.java()
    home = readable_copy(site.install(artifacts.OPENSEARCH), account)
    java_home = readable_copy(java.home, account)
    folder = own_folder(site.folder, account)
    config = folder / "config"
    shutil.copytree(home / "config", config, dirs_exist_ok=True)  # its keystore stays: making one costs a JVM
    (config / "opensearch.yml").write_text(SETTINGS.format(port=site.ports["client"], folder=folder))
    (config / "log4j2.properties").write_text(LOGGING)
    options = (home / "config" / "jvm.options").read_text()
    # The distribution is shared and read only, so relative paths in it cannot be written; nobody reads the GC log.
    options = re.sub(r"(?m)^.*-Xlog:gc.*$", "", options).replace("=logs/", f"={folder}/logs/")
    options = options.replace("HeapDumpPath=data", f"HeapDumpPath={folder}/logs")
    if not java.vector:  # a JRE made by jlink may lack the module, and then the JVM would not start
        options = re.sub(rf"(?m)^(.*{VECTOR_MODULE}.*)$", r"# \1", options)
    (config / "jvm.options").write_text(options)
    for name in ("disk", "logs", "tmp"):
        (folder / name).mkdir(exist_ok=True)
    own_folder(folder, account)
    env = {
        "OPENSEARCH_JAVA_HOME": str(java_home),
        "OPENSEARCH_JAVA_OPTS": f"-Xms{site.heap_mb}m -Xmx{site.heap_mb}m",
        "OPENSEARCH_TMPDIR": str(folder / "tmp"),
        "OPENSEARCH_PATH_CONF": str(config),
    }
    # The mark goes into the arguments too: root in a container may not read another user's environment.
    argv = [
        str(home / "bin" / "opensearch"),
        "-E",
        f"node.attr.freshet_local={site.mark}",
    ]
    return [
        Command(
            name=site.name,
            argv=argv,
            cwd=folder,
            log=site.log,
            env=env,
            account=account,
        )
    ]


def _answers(port: int) -> bool:
    try:
        reply = httpx.get(f"http://127.0.0.1:{port}/_cluster/health", timeout=5, trust_env=False)
    except httpx.TransportError:
        return False
    return reply.status_code == 200 and reply.json()["status"] in ("green", "yellow")


SERVICE: Final = Service(
    name="opensearch",
    ports=("client",),
    timeout_s=300,
    address=lambda port: f"http://127.0.0.1:{port}",
    answers=_answers,
    commands=_commands,
)
