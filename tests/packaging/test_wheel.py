"""The built wheel holds all that the service needs: it runs where there is no checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import asyncpg
import pytest

ROOT = Path(__file__).parents[2]
DATA = {"lua": "grab_service/_lua", "migrations": "ledger/_migrations", "campaigns": "grab_service/_campaigns"}
GATE_USERS = "grab_service/_deploy/valkey-users.conf"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built by the locked back end, with nothing downloaded."""
    target = tmp_path_factory.mktemp("wheel")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(ROOT)], check=True, timeout=50)
    return next(target.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a new environment that holds the wheel; it sees the dependencies, not the checkout."""
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment)
    python = environment / "bin" / "python"
    options = ["--quiet", "--no-deps", "--no-index", "--no-warn-script-location"]
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", *options, str(wheel)]
    subprocess.run(pip, check=True, timeout=50)
    # Path files are read in the environment's own folder only, so the editable checkout stays out of sight.
    packages = next((environment / "lib").glob("python*/site-packages"))
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return python.parent


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """An empty directory to work in."""
    return tmp_path


def _run(*argv: str | Path, cwd: Path, **variables: str) -> str:
    env = {"PATH": os.environ["PATH"], **variables}
    done = subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_wheel_carries_every_file_of_the_service(wheel: Path) -> None:
    """Code, SQL and pages stand where the packages expect them; Lua, migrations and campaigns come along as data."""
    sources = {path: ROOT / "src" for path in (ROOT / "src").rglob("*") if "__pycache__" not in path.parts}
    expected = {str(path.relative_to(base)) for path, base in sources.items() if path.is_file()}
    expected.add(GATE_USERS)
    for folder, target in DATA.items():
        expected |= {f"{target}/{path.relative_to(ROOT / folder)}" for path in (ROOT / folder).rglob("*.*")}
    with zipfile.ZipFile(wheel) as archive:
        carried = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert carried == expected


def test_an_installed_service_reads_its_own_files(installed: Path, empty: Path) -> None:
    """Library, campaign and page come out of the environment."""
    program = """
import ledger.migrate
from grab_service import resources
assert resources.library_source().startswith("#!lua")
assert "user grab-api " in resources.gate_users()
for path in (resources.default_campaign(), resources.page("docs.html"), ledger.migrate.default_directory()):
    assert path.exists(), path
    print(path)
"""
    paths = _run(installed / "python", "-c", program, cwd=empty).splitlines()
    assert [path for path in paths if not path.startswith(str(installed.parent))] == []


def test_an_installed_service_checks_its_campaign(installed: Path, empty: Path) -> None:
    """``grab campaign check`` accepts the campaign that the wheel carries."""
    program = "from grab_service import resources; print(resources.default_campaign())"
    campaign = _run(installed / "python", "-c", program, cwd=empty)
    _run(installed / "grab", "campaign", "check", campaign, cwd=empty)


async def test_an_installed_service_migrates_an_empty_database(
    installed: Path, empty: Path, vault: asyncpg.Connection, database_url: str
) -> None:
    """``grab migrate`` brings an empty database up to date with the migrations that the wheel carries."""
    await vault.execute("DROP SCHEMA public CASCADE")
    await vault.execute("CREATE SCHEMA public")
    _run(installed / "grab", "migrate", cwd=empty, GRAB_DATABASE_URL=database_url)
    applied = await vault.fetch("SELECT name FROM schema_migrations ORDER BY name")
    assert [row["name"] for row in applied] == sorted(path.stem for path in (ROOT / "migrations").glob("*.sql"))
