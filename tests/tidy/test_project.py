"""What documents, lock files and vendored files say is so."""

from __future__ import annotations

import hashlib
import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.tidy.project import ROOT, documents, name_of

LOCKS = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "requirements").glob("*.lock")}
VENDOR = ROOT / "src" / "grab_service" / "pages" / "vendor"
FOLDERS = "src|tests|lua|migrations|campaigns|loadtest|deploy|docs|requirements"


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_file_names_no_place_to_download_from(name: str) -> None:
    """A lock file holds names, versions, conditions and hashes, nothing else."""
    entry = re.compile(r"[a-z0-9._-]+(\[[a-z,-]+\])?==[^ ]+( ; [^\\]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+\n")
    assert entry.sub("", LOCKS[name]) == ""


def test_lock_files_hold_what_is_asked_for() -> None:
    """Each direct dependency stands in its lock file in a version that fits, and development runs what is run."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    run = [*project["dependencies"], *extras["embedded"]]
    traced = [*run, *extras["otel"]]
    lines = (ROOT / "requirements" / "dev.in").read_text(encoding="utf-8").splitlines()
    dev = [line for line in lines if not line.startswith("#")]
    locked = {name: _versions(text) for name, text in LOCKS.items()}
    for name, asked in (("run", run), ("otel", traced), ("dev", [*traced, *dev])):
        for requirement in map(Requirement, asked):
            assert Version(locked[name][canonicalize_name(requirement.name)]) in requirement.specifier
    assert locked["run"].items() <= locked["otel"].items() <= locked["dev"].items()
    assert locked["build"].items() <= locked["dev"].items()


def test_vendored_files_are_the_ones_that_were_checked() -> None:
    """Each vendored file has the digest that stands beside it, and none is there without one."""
    listed = re.findall(r"^([0-9a-f]{64})  (\S+)$", (VENDOR / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    files = [path for path in VENDOR.rglob("*") if path.is_file() and path.name != "README.md"]
    found = {str(path.relative_to(VENDOR)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    assert found == {name: digest for digest, name in listed}


def test_documents_name_targets_that_exist() -> None:
    """Every ``make x`` of a document is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for path in documents():
        named = re.findall(r"(?:`|^)make ([a-z-]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert set(named) <= targets, name_of(path)


def test_documents_name_files_that_exist() -> None:
    """Every relative link and every path in code font leads somewhere."""
    for path in documents():
        text = path.read_text(encoding="utf-8")
        links = [path.parent / link for link in re.findall(r"\]\(([^)#:]+)[^):]*\)", text)]
        paths = [ROOT / name for name in re.findall(rf"`((?:{FOLDERS})/[\w./-]*)`", text)]
        assert [str(target) for target in links + paths if not target.exists()] == [], name_of(path)


def _versions(lock: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9._-]+)(?:\[[a-z,-]+\])?==([^ ]+)", lock, re.MULTILINE))
