"""A real Alertmanager that runs a given configuration, alone: it looks for no peers."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.process import Server, free_port, get, require


@contextmanager
def running(config: Path, folder: Path) -> Generator[str]:
    """Start Alertmanager with a configuration file, its data in a folder, and yield its address."""
    address = f"127.0.0.1:{free_port()}"
    command = [
        require("prometheus-alertmanager", "alertmanager", package="prometheus-alertmanager"),
        f"--config.file={config}",
        f"--web.listen-address={address}",
        f"--storage.path={folder / 'alertmanager'}",
        "--cluster.listen-address=",
    ]
    with Server(command, log=folder / "alertmanager.log") as server:
        server.wait_until(lambda: get(f"http://{address}/-/ready"))
        yield address
