"""nginx with the configuration that is handed out, in front of servers of a test."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.ports import free_port

NGINX = shutil.which("nginx")
_CONFIGURATION = Path(__file__).parents[2] / "deploy" / "nginx"


_PUBLIC, _STAFF = "public.conf", "staff.conf"


@contextmanager
def proxy(
    directory: Path, ports: list[int], changes: Mapping[str, str] | None = None, tls: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Run nginx in front of ports of this machine, and return its URL.

    Args:
        directory: Where it keeps its files.
        ports: Where the API answers.
        changes: Patterns of the configuration and what stands there instead, besides addresses and paths.
        tls: What stands in the configuration of TLS instead of its texts; None for no TLS.
    """
    assert NGINX is not None
    port = free_port()
    texts = {name: _text(name) for name in ("nginx.conf", _PUBLIC, _STAFF)}
    for pattern, replacement in (changes or {}).items():
        changed = {name: re.subn(pattern, replacement, text) for name, text in texts.items()}
        assert sum(count for _, count in changed.values()), f"{pattern} is not in the configuration"
        texts = {name: text for name, (text, _) in changed.items()}
    main = texts["nginx.conf"].replace(" /tmp/", f" {directory}/").replace("listen 8080", f"listen 127.0.0.1:{port}")
    texts["nginx.conf"] = main.replace("listen 8081", f"listen 127.0.0.1:{free_port()}")
    servers = "".join(f"    server 127.0.0.1:{each} max_fails=3 fail_timeout=1s;\n" for each in ports)
    texts["upstreams.conf"] = re.sub(r" *server api:.*\n", servers, _text("upstreams.conf"))
    texts["inside.conf"] = "deny all;\n"  # what comes is from this machine
    if tls is not None:
        texts["tls.conf"] = _text("tls.conf")
        for old, new in tls.items():
            assert old in texts["tls.conf"], f"{old} is not in the configuration"
            texts["tls.conf"] = texts["tls.conf"].replace(old, new)
    for name, text in texts.items():
        (directory / name).write_text(text, encoding="utf-8")
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


def _text(name: str) -> str:
    return (_CONFIGURATION / name).read_text(encoding="utf-8")
