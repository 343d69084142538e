"""examples/monitoring: alerts and dashboard against a running instance, by promtool and a real Prometheus."""

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from fleet import fleet
from forward_auth_site import program
from prometheus_client.parser import text_string_to_metric_families
from running import ROOT, Running, running

from guestpass.cli.app import COMMANDS
from guestpass.config import describe
from guestpass.metrics import METRICS, REASONS

MONITORING = ROOT / "examples" / "monitoring"
ALERTS: list[dict[str, Any]] = yaml.safe_load((MONITORING / "alerts.yml").read_text("utf-8"))["groups"][0][
    "rules"
]
DASHBOARD: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text("utf-8"))
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]

# As Grafana fills them in, with All chosen.
FILLED = {"$job": ".*", "$instance": ".*", "$__rate_interval": "1m"}
OF_PROMETHEUS = {"job", "instance", "le"}
PATIENCE = 30
ENV = {
    "GUESTPASS_SERVER__ADMIN_PORT": "0",
    "GUESTPASS_POOL__SIZE": "1",  # else there is no such metric
    "GUESTPASS_POOL__NAME": "Visitor",
}


def filled(query: str) -> str:
    for name, value in FILLED.items():
        query = query.replace(name, value)
    return query


SHOWN = [
    (f"{panel['title']} {target['refId']}", filled(target["expr"]))
    for panel in PANELS
    for target in panel["targets"]
]
RAISED = [(alert["alert"], alert["expr"]) for alert in ALERTS]
QUERIES = [pytest.param(query, id=name) for name, query in [*SHOWN, *RAISED]]


# --- a running instance, and what it exposes ----------------------------------------------------------------

Exposed = Mapping[str, list[dict[str, str]]]
"""The labels of every sample, by the sample's name."""


@pytest.fixture(scope="module")
def admin() -> Iterator[str]:
    """The admin port of `guestpass serve` with some traffic behind it: verdicts of all kinds, a rotation."""
    with fleet("memory://", env=ENV) as started:
        guest = {"X-Guest-Token": started.token(left=1000)}
        with httpx.Client(base_url=started.url, trust_env=False) as client:
            visitor = {"name": "Ada", "email": "ada@example.org"}
            assert client.post("/guestpass/token", json=visitor).status_code == 200
            for _ in range(3):
                assert client.get("/", headers=guest).status_code == 200
            rotated = client.get("/", headers={"X-Guest-Token": started.token("Grace")})
            assert "x-guest-token" in rotated.headers
            assert client.get("/").status_code == 401
        yield json.loads(started.processes[0].said("server.listening"))["admin"]


@pytest.fixture(scope="module")
def exposed(admin: str) -> Exposed:
    found: dict[str, list[dict[str, str]]] = {}
    for family in text_string_to_metric_families(httpx.get(f"{admin}/metrics", trust_env=False).text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_asks_for_what_a_running_instance_exposes(query: str, exposed: Exposed) -> None:
    named = set(re.findall(r"\bguestpass_\w+", query))
    assert named or query.startswith("up{")
    assert named <= exposed.keys()
    for name, selector in re.findall(r"(guestpass_\w+)\{([^}]*)\}", query):
        for label, operator, value in re.findall(r'(\w+)(=~|!=|=)"([^"]*)"', selector):
            if label not in OF_PROMETHEUS:
                assert operator in ("=", "!=")
                assert value in {labels[label] for labels in exposed[name]}


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_groups_by_labels_that_there_are(query: str, exposed: Exposed) -> None:
    asked = {label.strip() for listed in re.findall(r"by \(([^)]*)\)", query) for label in listed.split(",")}
    named = set(re.findall(r"\bguestpass_\w+", query))
    there = {label for name in named for labels in exposed[name] for label in labels}
    assert asked <= there | OF_PROMETHEUS


def test_every_metric_is_on_the_dashboard() -> None:
    named = set(re.findall(r"\bguestpass_(\w+)", " ".join(query for _, query in SHOWN)))
    assert {re.sub("_bucket$", "", name) for name in named} == {metric.name for metric in METRICS}


# --- a real Prometheus --------------------------------------------------------------------------------------

PACKAGE = "apt-get install prometheus"


def promtool(*arguments: str) -> None:
    tool = program("promtool", PACKAGE)
    done = subprocess.run(
        [tool, *arguments], cwd=MONITORING, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_takes_the_rules_and_the_configuration() -> None:
    promtool("check", "rules", "alerts.yml")
    promtool("check", "config", "prometheus.yml")


def test_each_alert_fires_when_it_should_and_not_before() -> None:
    promtool("test", "rules", "alerts_test.yml")


def test_each_alert_is_tested() -> None:
    tests = yaml.safe_load((MONITORING / "alerts_test.yml").read_text("utf-8"))["tests"]
    expected = re.findall(r'alertname="(\w+)"', json.dumps(tests).replace("\\", ""))
    assert sorted(expected) == sorted(alert["alert"] for alert in ALERTS)


class Prometheus:
    """One that scrapes every second in place of every fifteen, so that rates are there soon."""

    def __init__(self, process: Running, url: str) -> None:
        self.process = process
        self.client = httpx.Client(base_url=url, trust_env=False)

    def ask(self, path: str, **query: str) -> Any:
        answer = self.client.get(f"/api/v1/{path}", params=query).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def values(self, query: str) -> list[Any]:
        found: list[Any] = self.ask("query", query=query)["result"]
        return found

    def until(self, condition: Callable[[], object]) -> None:
        """Ask until it holds: what Prometheus does next has no event."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                if condition():
                    return
            except httpx.TransportError:
                pass  # it does not listen yet
            assert time.monotonic() < end, "\n".join(self.process.lines)
            time.sleep(0.05)


@contextmanager
def started(admin: str, folder: Path) -> Iterator[Prometheus]:
    shutil.copy(MONITORING / "alerts.yml", folder)
    written = (MONITORING / "prometheus.yml").read_text("utf-8")
    for ours, here in (("127.0.0.1:9090", admin.removeprefix("http://")), (": 15s", ": 1s")):
        assert ours in written
        written = written.replace(ours, here)
    (folder / "prometheus.yml").write_text(written, "utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    files = (f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}")
    with running(program("prometheus", PACKAGE), *files, f"--web.listen-address={address}") as process:
        prometheus = Prometheus(process, f"http://{address}")
        with prometheus.client:
            yield prometheus


@pytest.fixture(scope="module")
def prometheus(admin: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with started(admin, tmp_path_factory.mktemp("prometheus")) as prometheus:
        # It listens before it can answer. Two samples make a rate.
        prometheus.until(lambda: prometheus.client.get("/-/ready").is_success)
        prometheus.until(
            lambda: prometheus.values("count_over_time(guestpass_loop_lag_seconds_sum[1m]) >= 2")
        )
        yield prometheus


@pytest.mark.parametrize("query", QUERIES)
def test_prometheus_answers_every_query(query: str, prometheus: Prometheus) -> None:
    """A panel that leaves out what is zero, as an alert does, may have nothing to show; all others have."""
    found = prometheus.values(query)
    assert found or re.search(r" (>|==|<) ", query)


def test_every_rule_is_evaluated_and_none_fires_while_all_is_well(prometheus: Prometheus) -> None:
    def rules() -> list[dict[str, Any]]:
        [group] = prometheus.ask("rules")["groups"]
        found: list[dict[str, Any]] = group["rules"]
        return found

    prometheus.until(lambda: all(rule["health"] != "unknown" for rule in rules()))
    assert {rule["name"] for rule in rules()} == {alert["alert"] for alert in ALERTS}
    assert {rule["health"] for rule in rules()} == {"ok"}
    assert "firing" not in {rule["state"] for rule in rules()}


def test_the_variables_of_the_dashboard_find_the_instance(admin: str, prometheus: Prometheus) -> None:
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            [(selector, label)] = re.findall(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
            [found] = prometheus.values(filled(selector))
            assert (
                found["metric"][label]
                == {"job": "guestpass", "instance": admin.removeprefix("http://")}[label]
            )


# --- what a person reads ------------------------------------------------------------------------------------


def words_of(rule: Mapping[str, Any]) -> str:
    return f"{rule['annotations']['summary']} {rule['annotations']['runbook']}"


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_and_what_to_do_in_one_line(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"].keys() == {"summary", "runbook"}
    assert "\n" not in rule["annotations"]["runbook"]


def test_what_a_runbook_names_exists() -> None:
    text = " ".join(words_of(rule) for rule in ALERTS)
    assert set(re.findall(r"`guestpass ([a-z-]+)`", text)) <= COMMANDS.keys()
    known = {f"guestpass_{metric.name}" for metric in METRICS}
    assert set(re.findall(r"\bguestpass_\w+", text)) <= known
    settings = {f"{setting.section}.{setting.name}" for setting in describe()}
    sections = {setting.section for setting in describe()} - {"issuer", "store"}  # events start with these
    named = {f"{section}.{name}" for section, name in re.findall(r"\b([a-z]+)\.([a-z_]+)\b", text)}
    assert {name for name in named if name.partition(".")[0] in sections} <= settings
    assert set(re.findall(r"\b(?:token|claim|key)_\w+", text)) <= set(REASONS)


def test_the_documentation_lists_them_all() -> None:
    shown = (ROOT / "docs" / "operations.md").read_text("utf-8")
    listed = re.findall(r"^\| `(Guestpass\w+)` \((\w+)\)", shown, re.MULTILINE)
    assert listed == [(rule["alert"], rule["labels"]["severity"]) for rule in ALERTS]


def test_the_panels_lie_beside_one_another_and_say_what_they_show() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert all(panel["description"].endswith(".") and panel["title"] for panel in PANELS)


def test_the_dashboard_belongs_to_no_one_data_source() -> None:
    assert set(re.findall(r'"uid": "([^"]*)"', json.dumps(DASHBOARD))) == {"guestpass", "${datasource}"}


def test_the_folder_is_known_to_the_test_of_all_examples() -> None:
    assert MONITORING.name == "monitoring"
    named = set(re.findall(r"^\| `([\w.]+)`", (MONITORING / "README.md").read_text("utf-8"), re.MULTILINE))
    assert named == {path.name for path in MONITORING.iterdir()} - {"README.md"}
