"""nginx with the configuration that is handed out, in front of servers of a test."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.flow.ports import free_port

NGINX = shutil.which("nginx")
_CONFIGURATION = Path(__file__).parents[2] / "deploy" / "nginx"


@contextmanager
def proxy(directory: Path, ports: list[int], changes: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run nginx in front of ports of this machine, and return its URL.

    Args:
        directory: Where it keeps its files.
        ports: Where the API answers.
        changes: Patterns of the configuration and what stands there instead, besides addresses and paths.
    """
    assert NGINX is not None
    port = free_port()
    text = (_CONFIGURATION / "nginx.conf").read_text(encoding="utf-8")
    text = text.replace(" /tmp/", f" {directory}/").replace("listen 8080", f"listen 127.0.0.1:{port}")
    text = text.replace("listen 8081", f"listen 127.0.0.1:{free_port()}")
    for pattern, replacement in (changes or {}).items():
        text, count = re.subn(pattern, replacement, text)
        assert count, f"{pattern} is not in the configuration"
    upstreams = (_CONFIGURATION / "upstreams.conf").read_text(encoding="utf-8")
    servers = "".join(f"    server 127.0.0.1:{each} max_fails=3 fail_timeout=1s;\n" for each in ports)
    (directory / "nginx.conf").write_text(text, encoding="utf-8")
    (directory / "upstreams.conf").write_text(re.sub(r" *server api:.*\n", servers, upstreams), encoding="utf-8")
    (directory / "inside.conf").write_text("deny all;\n", encoding="utf-8")  # what comes is from this machine
    argv = [NGINX, "-p", str(directory), "-c", str(directory / "nginx.conf"), "-e", "/dev/stderr"]
    checked = subprocess.run([*argv, "-t"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    environment = os.environ | {"TZ": "CST-8"}
    process = subprocess.Popen([*argv, "-g", "daemon off;"], env=environment, stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)
