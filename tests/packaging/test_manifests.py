"""What is handed out to run the service with is accepted by the programs that read it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from grab_service.settings import FILE_VARIABLE, Settings, variable_of

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"

_KUBECTL, _SYSTEMD = shutil.which("kubectl"), shutil.which("systemd-analyze")
_UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
_MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))


@pytest.mark.parametrize("file", [ROOT / "compose.yaml", *_MANIFESTS], ids=lambda file: file.name)
def test_only_settings_that_there_are_are_set(file: Path) -> None:
    """Each GRAB_ variable that a process is given is a setting; a misspelt one would be passed over in silence."""
    known = {variable_of(name) for name in Settings.model_fields} | {FILE_VARIABLE}
    set_there = set(re.findall(r"^\s+(GRAB_\w+):", file.read_text(encoding="utf-8"), re.MULTILINE))
    assert set_there <= known


@pytest.mark.skipif(_KUBECTL is None, reason="kubectl is not installed")
def test_kustomize_builds_the_manifests() -> None:
    """Every part is there: both deployments with their budgets, and the job that migrates."""
    assert _KUBECTL is not None
    argv = [_KUBECTL, "kustomize", str(DEPLOY / "kubernetes")]
    built = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=50)
    assert built.returncode == 0, built.stderr
    kinds = re.findall(r"^kind: (\w+)$", built.stdout, re.MULTILINE)
    expected = ["ConfigMap", "Deployment", "Deployment", "Job", "Namespace"]
    assert sorted(kinds) == [*expected, "PodDisruptionBudget", "PodDisruptionBudget", "Service"]
    assert built.stdout.count("runAsNonRoot: true") == built.stdout.count("readOnlyRootFilesystem: true") == 3


@pytest.mark.skipif(_SYSTEMD is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("unit", _UNITS, ids=lambda unit: unit.name)
def test_systemd_understands_the_units(unit: Path, tmp_path: Path) -> None:
    """Nothing in them is unknown or out of place."""
    assert _SYSTEMD is not None
    text = unit.read_text(encoding="utf-8").replace("/opt/grab/bin/grab", "/bin/true")
    copy = tmp_path / unit.name.replace("@", "@1")
    copy.write_text(text, encoding="utf-8")
    done = subprocess.run([_SYSTEMD, "verify", str(copy)], capture_output=True, text=True, check=False, timeout=50)
    assert [line for line in done.stderr.splitlines() if unit.name.partition("@")[0] in line] == []
