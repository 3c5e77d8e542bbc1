"""Replays the Dockerfile's steps in a clean root file system, where no container engine runs: `make image-replay`.

Each stage is a copy of a fresh Debian with this machine's Python in /usr/local, which stands for the base image.  COPY
takes the context as .dockerignore leaves it, RUN runs in the stage by chroot in a name space of its own.  Then what the
image is for is run as its user: the version, the campaign's check, everything on one machine, and beside it, on a file
system that is read-only but for /tmp, the migrations and the API until /readyz.  Packages are fetched once by this
machine's pip; inside, pip reaches no index.

Needs root, mmdebstrap and a Python that is not the system's own.  Exit codes: 0 the image works, 1 it does not, 2 it
could not be tried.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
_BASE = "python:3.11-slim-bookworm"
_WHEELS = "/wheels"
_LIBRARIES = (  # what Python is linked with, and what the base image has besides
    *("libbz2-1.0", "libffi8", "liblzma5", "libncursesw6", "libreadline8", "libsqlite3-0", "libssl3", "zlib1g"),
    *("ca-certificates", "netbase", "tzdata"),
)
_PORT, _SECOND_PORT = 18_431, 18_432
_READY_WITHIN_S = 120.0
_SETTLE_S = 60.0


class ImageBroken(Exception):
    """A step failed; the message says which."""


@dataclass(slots=True)
class Stage:
    """One stage of the build.

    Attributes:
        root: Its file system.
        env: What ENV has set.
        workdir: Where steps run.
        user: As whom.
        entrypoint: What the image runs.
    """

    root: Path
    env: dict[str, str] = field(default_factory=lambda: {"PATH": "/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin"})
    workdir: str = "/"
    user: str = "0"
    entrypoint: list[str] = field(default_factory=list)

    def argv(self, command: Sequence[str], *, is_image: bool = False) -> list[str]:
        """Return how a command is run in it; as a container of the image is, it can write to few places only."""
        mounts = [f"mount -t proc proc {self.root}/proc", f"mount --rbind /dev {self.root}/dev"]
        if is_image:
            mounts.insert(0, f"mount --bind {self.root} {self.root} && mount -o remount,bind,ro {self.root}")
            mounts.append(f"mount -t tmpfs tmpfs {self.root}/tmp")
        else:
            mounts.append(f"mount --bind {self.root.parent}{_WHEELS} {self.root}{_WHEELS}")
        inner = ["chroot", f"--userspec={self.user}:{self.user}", str(self.root), "/usr/bin/env", "-i"]
        inner += [f"{name}={value}" for name, value in self.env.items()]
        inner += ["/bin/sh", "-c", f"cd {shlex.quote(self.workdir)} && exec {shlex.join(command)}"]
        script = " && ".join([*mounts, f"exec {shlex.join(inner)}"])
        return ["unshare", "--mount", "sh", "-c", script]  # each becomes the next, so a signal reaches the command

    def run(self, command: Sequence[str], *, is_image: bool = False) -> str:
        """Run a command to its end; return what it printed.

        Raises:
            ImageBroken: It failed.
        """
        done = subprocess.run(self.argv(command, is_image=is_image), capture_output=True, text=True, check=False)
        if done.returncode:
            raise ImageBroken(
                f"{shlex.join(command)[:200]}: {done.returncode}\n{done.stdout[-1500:]}{done.stderr[-3000:]}"
            )
        return done.stdout


def instructions(dockerfile: str) -> Iterator[tuple[str, str]]:
    """Yield each instruction with its arguments, continued lines joined."""
    lines = [line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        if line.strip():
            name, _, rest = line.strip().partition(" ")
            yield name.upper(), " ".join(rest.split())


def context(ignore: str, paths: Sequence[Path]) -> list[Path]:
    """Return the files that the build sees: the last line of .dockerignore that fits a path decides."""
    rules = [line for line in ignore.splitlines() if line and not line.startswith("#")]

    def is_in(path: Path) -> bool:
        kept = True
        for rule in rules:
            pattern, keeps = rule.removeprefix("!").removeprefix("**/"), rule.startswith("!")
            is_deep = rule.removeprefix("!").startswith("**/")
            heads = [Path(*path.parts[: depth + 1]) for depth in range(len(path.parts))]
            names = [head.name for head in heads] if is_deep else [str(head) for head in heads]
            if any(fnmatch.fnmatch(name, pattern) for name in names):
                kept = keeps
        return kept

    return [path for path in paths if is_in(path)]


@dataclass(slots=True)
class Replay:
    """The build so far.

    Attributes:
        work: Where everything is made.
        base: The file system that stands for the base image.
    """

    work: Path
    base: Path
    stages: dict[str, Stage] = field(default_factory=dict)
    stage: Stage | None = None

    def build(self, dockerfile: str) -> Stage:
        """Carry out every instruction; return the last stage.

        Raises:
            ImageBroken: A step failed, or is not understood.
        """
        for name, rest in instructions(dockerfile):
            _say(f"{name} {rest[:110]}")
            step = getattr(self, f"_{name.lower()}", None)
            if step is None:
                raise ImageBroken(f"{name} is not understood here")
            step(rest)
        return self._now

    @property
    def _now(self) -> Stage:
        assert self.stage is not None, "a Dockerfile begins with FROM"  # noqa: S101  the build would refuse it, too
        return self.stage

    def _from(self, rest: str) -> None:
        image, _, name = rest.partition(" AS ")
        if image != _BASE:
            raise ImageBroken(f"{image} is not the base that is made here")
        root = self.work / f"stage{len(self.stages)}"
        _call("cp", "--archive", "--reflink=auto", str(self.base), str(root))
        self.stage = self.stages[name or str(len(self.stages))] = Stage(root)

    def _workdir(self, rest: str) -> None:
        self._now.workdir = rest
        (self._now.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)

    def _copy(self, rest: str) -> None:
        words = rest.split()
        stage, to = self._now, words[-1]
        target = stage.root / (to if to.startswith("/") else f"{stage.workdir}/{to}").lstrip("/")
        if words[0].startswith("--from="):
            source = self.stages[words[0].removeprefix("--from=")].root / words[1].lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            _call("cp", "--archive", str(source), str(target))
            return
        listed = [Path(each) for each in _call("git", "-C", str(ROOT), "ls-files", "-z").split("\0") if each]
        files = context((ROOT / ".dockerignore").read_text(encoding="utf-8"), listed)
        for source_name in words[:-1]:
            top = Path(source_name)
            taken = [path for path in files if path.is_relative_to(top)]
            if not taken:
                raise ImageBroken(f"COPY {source_name}: the context has no such file")
            for path in taken:
                copy = target / path.relative_to(top)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / path, copy)

    def _run(self, rest: str) -> None:
        self._now.run(["/bin/sh", "-c", rest])

    def _env(self, rest: str) -> None:
        for word in shlex.split(rest):
            name, _, value = word.partition("=")
            self._now.env[name] = re.sub(r"\$(\w+)", lambda match: self._now.env.get(match[1], ""), value)

    def _user(self, rest: str) -> None:
        self._now.user = rest

    def _volume(self, rest: str) -> None:
        """Say what is kept; it is written by `grab up` alone."""

    def _entrypoint(self, rest: str) -> None:
        self._now.entrypoint = _words(rest)

    def _expose(self, rest: str) -> None:
        """Say a port; nothing is to be done."""

    def _cmd(self, rest: str) -> None:
        """Say what runs if nothing is asked for; it is tried below."""


def fetch_wheels(to: Path) -> None:
    """Fetch every package of the lock files, by the hashes that stand there, with the pip of this machine."""
    for lock in ("run", "build"):
        options = ["--quiet", "--require-hashes", "--dest", str(to), "-r", str(ROOT / "requirements" / f"{lock}.lock")]
        _call(sys.executable, "-m", "pip", "download", *options)


def make_base(to: Path) -> None:
    """Make what stands for the base image: Debian, and in /usr/local a Python with pip and nothing else."""
    _call("mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(_LIBRARIES)}", "bookworm", str(to))
    shutil.copytree(sys.base_prefix, to / "usr" / "local", symlinks=True, dirs_exist_ok=True, ignore=_leave_out)
    programs = to / "usr" / "local" / "bin"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for name in ("python", "python3"):
        (programs / name).unlink(missing_ok=True)
        (programs / name).symlink_to(f"python{version}")
    (programs / "pip").write_text('#!/bin/sh\nexec python -m pip "$@"\n', encoding="utf-8")
    (programs / "pip").chmod(0o755)
    _call("chroot", str(to), "ldconfig")  # a Python that is linked with a library of its own finds it
    (to / "etc" / "pip.conf").write_text(f"[global]\nno-index = true\nfind-links = {_WHEELS}\n", encoding="utf-8")
    (to / _WHEELS.lstrip("/")).mkdir()


def _leave_out(directory: str, names: list[str]) -> set[str]:
    """Leave out what somebody has installed into this Python, and its tests."""
    if directory.endswith("site-packages"):
        return {name for name in names if not name.startswith(("pip", "setuptools"))}
    return {name for name in names if name in ("test", "__pycache__")}


def try_image(stage: Stage, work: Path) -> None:
    """Run what the image is for, as its user.

    Raises:
        ImageBroken: Something does not work.
    """
    grab = stage.entrypoint
    _say("version: " + stage.run([*grab, "version"], is_image=True).strip())
    check = "from grab_service import resources; print(resources.default_campaign())"
    campaign = stage.run(["/opt/grab/bin/python", "-c", check], is_image=True).strip()
    _say("campaign: " + stage.run([*grab, "campaign", "check", campaign], is_image=True).strip().splitlines()[-1])
    up = [*grab, "up", "--data-dir", "/var/lib/grab/site", "--port", str(_PORT), "--opens-in", "600"]
    with _running(stage.argv(up), f"http://127.0.0.1:{_PORT}/readyz", work / "up.log"):
        stage.env |= {"GRAB_SETTINGS_FILE": "/var/lib/grab/site/settings.toml", "GRAB_PORT": str(_SECOND_PORT)}
        _say("migrate: " + stage.run([*grab, "migrate"], is_image=True).strip())
        with _running(
            stage.argv([*grab, "serve"], is_image=True), f"http://127.0.0.1:{_SECOND_PORT}/readyz", work / "serve.log"
        ):
            _say(f"serve: ready, on a read-only file system, as uid {stage.user}")


@contextmanager
def _running(argv: Sequence[str], probe: str, log: Path) -> Iterator[None]:
    with log.open("wb") as out:
        process = subprocess.Popen(argv, stdout=out, stderr=out)
    try:
        until_s = time.monotonic() + _READY_WITHIN_S
        while not _answers(probe):
            if process.poll() is not None or time.monotonic() > until_s:
                raise ImageBroken(f"{probe} does not answer:\n{log.read_text()[-3000:]}")
            time.sleep(0.3)
        yield
    finally:
        process.terminate()
        try:
            code = process.wait(_SETTLE_S)
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise ImageBroken(f"it does not end at SIGTERM: {shlex.join(argv[-1:])[-200:]}") from error
    if code not in (0, -signal.SIGTERM):
        raise ImageBroken(f"it ended with {code} at SIGTERM:\n{log.read_text()[-3000:]}")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=3) as answer:  # noqa: S310  the loopback
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _words(text: str) -> list[str]:
    return [each.strip().strip('"') for each in text.strip("[]").split(",")]


def _call(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ImageBroken(f"{shlex.join(argv)}: {done.stderr[-2000:]}")
    return done.stdout


def _say(text: str) -> None:
    print(f"{time.monotonic() - _BEGUN_S:6.1f} s  {text}", flush=True)


_BEGUN_S = time.monotonic()


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay from the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="replay_image", description="Replay the Dockerfile in a clean file system.")
    parser.add_argument("--keep", type=Path, help="a directory to make the base in, and to find it in again")
    options = parser.parse_args(arguments)
    if os.geteuid() != 0 or shutil.which("mmdebstrap") is None or sys.base_prefix == "/usr":
        print("replay_image: needs root, mmdebstrap and a Python outside /usr", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="grab-image-") as temporary:
        work = Path(temporary)
        work.chmod(0o755)
        base = (options.keep or work) / "base"
        try:
            _say("fetch the packages of the lock files")
            fetch_wheels(work / _WHEELS.lstrip("/"))
            if not base.is_dir():
                _say(f"make {_BASE}")
                make_base(base)
            stage = Replay(work, base).build((ROOT / "Dockerfile").read_text(encoding="utf-8"))
            try_image(stage, work)
        except ImageBroken as error:
            print(f"replay_image: {error}", file=sys.stderr)
            return 1
    _say("the image works")
    return 0


if __name__ == "__main__":
    sys.exit(main())
