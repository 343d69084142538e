"""The deployment files hold together: what they name exists, and what they promise of security is in them."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from running import ROOT

from guestpass.cli.serve import command as serve
from guestpass.config import ServerSettings, describe
from guestpass.config.environment import CONFIG_FILE, VENDOR_VARIABLES

DEPLOY = ROOT / "examples" / "deploy"
DOCKERFILE = DEPLOY / "container" / "Dockerfile"
COMPOSE = DEPLOY / "container" / "compose.yaml"
UNIT = DEPLOY / "systemd" / "guestpass.service"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())

DRAIN_DELAY = "GUESTPASS_SERVER__DRAIN_DELAY"
VARIABLES = {setting.variable for setting in describe()} | VENDOR_VARIABLES.keys() | {CONFIG_FILE}
FLAGS = {flag for parameter in serve.params for flag in parameter.opts}


def loaded(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text("utf-8")) if document]


MANIFEST = [(path.name, document) for path in MANIFESTS for document in loaded(path)]
DEPLOYMENTS = [(name, document) for name, document in MANIFEST if document["kind"] == "Deployment"]


def of_kind(file: str, kind: str) -> Iterator[dict[str, Any]]:
    return (document for name, document in MANIFEST if name == file and document["kind"] == kind)


def guestpass_of(deployment: dict[str, Any]) -> dict[str, Any]:
    (ours,) = [c for c in deployment["spec"]["template"]["spec"]["containers"] if c["name"] == "guestpass"]
    found: dict[str, Any] = ours
    return found


def test_the_folder_is_known_to_the_test_of_all_examples() -> None:
    assert DEPLOY.name == "deploy"
    assert FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_setting_that_a_file_names_exists(path: Path) -> None:
    """An unknown one would be refused at start."""
    # Comments may speak of variables that are none of ours.
    lines = [line for line in path.read_text("utf-8").splitlines() if not line.lstrip().startswith("#")]
    named = set(re.findall(r"\b(?:GUESTPASS|GENESYS)_[A-Z0-9_]+\b", "\n".join(lines)))
    assert {name.removesuffix("_FILE") for name in named} <= VARIABLES


def commands() -> Iterator[list[str]]:
    for _, deployment in DEPLOYMENTS:
        yield guestpass_of(deployment)["args"]
    (compose,) = loaded(COMPOSE)
    yield compose["services"]["guestpass"]["command"]
    (started,) = re.findall(
        r"^ExecStart=/opt/guestpass/bin/guestpass (.+)$", UNIT.read_text("utf-8"), re.MULTILINE
    )
    yield started.split()


@pytest.mark.parametrize("command", list(commands()), ids=" ".join)
def test_every_flag_exists(command: list[str]) -> None:
    assert command[0] == serve.name
    assert {word for word in command if word.startswith("-")} <= FLAGS


def test_the_container_file_passes_hadolint_and_runs_as_nobody() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint
    done = subprocess.run([hadolint, DOCKERFILE], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    text = DOCKERFILE.read_text("utf-8")
    assert re.findall(r"^USER (.+)$", text, re.MULTILINE) == ["10001:10001"]
    assert f"http://127.0.0.1:8080{ServerSettings().livez}" in text


def test_the_image_is_built_from_files_that_exist() -> None:
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE.read_text("utf-8"), re.MULTILINE):
        assert all((ROOT / source).exists() for source in sources.split())


def test_compose_builds_that_image_and_hides_the_backend_behind_it() -> None:
    (compose,) = loaded(COMPOSE)
    ours, backend = compose["services"]["guestpass"], compose["services"]["backend"]
    context = (COMPOSE.parent / ours["build"]["context"]).resolve()
    assert (context, context / ours["build"]["dockerfile"]) == (ROOT, DOCKERFILE)
    assert ours["read_only"]
    assert backend["network_mode"] == "service:guestpass"
    assert "ports" not in backend
    source, *_ = backend["volumes"][0].split(":")
    assert (COMPOSE.parent / source).resolve().is_file()


@pytest.mark.parametrize(
    ("file", "document"), MANIFEST, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_manifest_says_what_it_is(file: str, document: dict[str, Any]) -> None:
    assert {"apiVersion", "kind", "metadata"} <= document.keys()
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", document["metadata"]["name"]), file


@pytest.mark.parametrize("deployment", [document for _, document in DEPLOYMENTS], ids=["gateway", "sidecar"])
def test_a_pod_has_no_more_rights_than_it_needs(deployment: dict[str, Any]) -> None:
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert not pod["automountServiceAccountToken"]
    for container in pod["containers"]:
        rights = container["securityContext"]
        assert rights["readOnlyRootFilesystem"]
        assert not rights["allowPrivilegeEscalation"]
        assert rights["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("deployment", [document for _, document in DEPLOYMENTS], ids=["gateway", "sidecar"])
def test_a_pod_is_not_handed_variables_that_only_look_like_ours(deployment: dict[str, Any]) -> None:
    """A Service of our name would put GUESTPASS_SERVICE_HOST into it, which is no setting."""
    assert deployment["spec"]["template"]["spec"]["enableServiceLinks"] is False


@pytest.mark.parametrize("deployment", [document for _, document in DEPLOYMENTS], ids=["gateway", "sidecar"])
def test_what_a_pod_refers_to_is_there(deployment: dict[str, Any]) -> None:
    pod, ours = deployment["spec"]["template"]["spec"], guestpass_of(deployment)
    (secret,) = of_kind("secret.yaml", "Secret")
    keys = [entry["valueFrom"]["secretKeyRef"] for entry in ours["env"] if "valueFrom" in entry]
    assert all(key["name"] == secret["metadata"]["name"] for key in keys)
    assert all(key["key"] in secret["stringData"] for key in keys)
    mounts = {mount["name"]: mount["mountPath"] for mount in ours["volumeMounts"]}
    assert mounts.keys() == {volume["name"] for volume in pod["volumes"]}
    for entry in ours["env"]:
        if entry["name"].endswith("_FILE"):
            folder, _, key = entry["value"].rpartition("/")
            assert (folder, key in secret["stringData"]) == (mounts["secret"], True)
    ports = {port["name"] for port in ours["ports"]}
    for name, path in (
        ("livenessProbe", ServerSettings().livez),
        ("readinessProbe", ServerSettings().readyz),
    ):
        probe = ours[name]["httpGet"]
        assert (probe["path"], probe["port"] in ports) == (path, True)
    # What is stopped serves on until all have turned away, and then gets its time to finish.
    (delay,) = [float(entry["value"]) for entry in ours["env"] if entry["name"] == DRAIN_DELAY]
    assert delay >= 2 * ours["readinessProbe"]["periodSeconds"]
    assert pod["terminationGracePeriodSeconds"] > delay + ServerSettings().drain_timeout


@pytest.mark.parametrize("file", ["gateway.yaml", "sidecar.yaml"])
def test_services_scalers_and_budgets_find_their_pods(file: str) -> None:
    (deployment,) = of_kind(file, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    for service in of_kind(file, "Service"):
        assert service["spec"]["selector"] == labels
    for scaler in of_kind(file, "HorizontalPodAutoscaler"):
        assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    for budget in of_kind(file, "PodDisruptionBudget"):
        assert budget["spec"]["selector"]["matchLabels"] == labels
    for policy in of_kind(file, "NetworkPolicy"):
        (rule,) = policy["spec"]["ingress"]
        assert rule["from"] == [{"podSelector": {"matchLabels": labels}}]


def test_a_store_secret_that_was_not_replaced_is_refused() -> None:
    (secret,) = of_kind("secret.yaml", "Secret")
    assert len(secret["stringData"]["store-secret"]) < 32


def test_the_unit_may_do_little_and_gets_its_time_to_drain() -> None:
    unit = ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # names keep their case, as typeshed cannot say
    unit.read(UNIT)
    service = unit["Service"]
    for name in ("NoNewPrivileges", "DynamicUser", "PrivateTmp", "MemoryDenyWriteExecute"):
        assert service[name] == "yes"
    assert (service["ProtectSystem"], service["CapabilityBoundingSet"]) == ("strict", "")
    assert float(service["TimeoutStopSec"]) > 5 + ServerSettings().drain_timeout


def test_the_readme_says_what_was_not_run() -> None:
    assert "No image was built and nothing was started" in (DEPLOY / "README.md").read_text("utf-8")
