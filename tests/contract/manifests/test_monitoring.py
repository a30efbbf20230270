"""The dashboard, the alert rules and the scraping of the model servers fit what the server says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from kaito_hooks.api import labels
from kaito_runtime.serving.engine import Delta, FinishReason
from kaito_runtime.serving.http.live_metrics import exposition
from kaito_runtime.serving.http.state import ServerState

from tests.contract.manifests.test_manifests import build
from tests.harness.echo_engine import EchoEngine
from tests.harness.wire import ROOT

MONITORING = ROOT / "manifests/components/monitoring"
RULES = yaml.safe_load((MONITORING / "model-server-rules.yaml").read_text())["spec"]
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"]]
UNIT_TESTS = Path(__file__).with_name("model_server_rules_test.yaml")
DASHBOARD = json.loads((MONITORING / "model-server-dashboard.json").read_text())
_NAME = re.compile(r"\b(?:vllm:|kaito_|process_)\w+")
_VARIABLE = re.compile(r"\$(?!__)\w+")


def dashboard_expressions() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def names_of_the_server() -> set[str]:
    """Every series that a server has which has answered and refused."""
    state = ServerState("text-generation", engine=EchoEngine())
    with state.start.phase("weights"):
        pass
    request = state.metrics.request("m", "none", 1)
    request.add(Delta("a"), streams=True)
    request.add(Delta("b", finish=FinishReason.STOP), streams=True)
    request.end()
    state.metrics.errors.labels(path="/chat", status="500").inc()
    return set(re.findall(r"^([\w:]+)[{ ]", exposition(state).decode(), re.MULTILINE))


def test_every_name_in_rules_and_dashboard_is_one_of_the_server() -> None:
    variables = [each.get("query", "") for each in DASHBOARD["templating"]["list"]]
    written = [rule["expr"] for rule in ALERTS] + dashboard_expressions() + variables
    names = {name for text in written for name in _NAME.findall(text)}
    assert len(names) > 10
    assert names <= names_of_the_server()


def test_each_alert_says_what_is_wrong_and_what_to_do() -> None:
    for rule in ALERTS:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert {"summary", "description"} == set(rule["annotations"])
        assert rule["annotations"]["summary"][-1] != "."
        assert rule["annotations"]["description"].endswith(".")


def test_each_alert_has_a_unit_test_in_which_it_fires() -> None:
    tests = yaml.safe_load(UNIT_TESTS.read_text())["tests"]
    fired = {
        asked["alertname"]
        for test in tests
        for asked in test["alert_rule_test"]
        if asked["exp_alerts"]
    }
    assert fired == {rule["alert"] for rule in ALERTS}


def test_the_pods_that_serve_are_scraped() -> None:
    monitor = yaml.safe_load((MONITORING / "pod-monitor.yaml").read_text())["spec"]
    assert monitor["selector"]["matchLabels"] == {labels.COMPONENT: labels.INFERENCE}
    (expression,) = monitor["selector"]["matchExpressions"]
    assert (expression["key"], expression["operator"]) == (labels.WORKSPACE, "Exists")


def test_the_panels_of_the_dashboard_do_not_cover_each_other() -> None:
    places: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        mine = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not places & mine
        assert at["x"] + at["w"] <= 24
        places |= mine


def test_the_component_builds_beside_an_overlay(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "manifests", tmp_path / "manifests")
    shutil.copytree(ROOT / "crds", tmp_path / "crds")
    overlay = tmp_path / "manifests/overlay"
    overlay.mkdir()
    (overlay / "kustomization.yaml").write_text(
        "resources: [../base]\ncomponents: [../components/monitoring]\n", encoding="utf-8"
    )
    built: list[dict[str, Any]] = build(overlay)
    kinds = {item["kind"]: item for item in built}
    assert {"PodMonitor", "PrometheusRule"} <= set(kinds)
    (config,) = [item for item in built if "dashboard" in item["metadata"]["name"]]
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(config["data"]["model-server-dashboard.json"]) == DASHBOARD


@pytest.fixture
def promtool() -> str:
    found = os.environ.get("PROMTOOL") or shutil.which("promtool")
    if not found:
        pytest.skip("promtool is not on PATH (Debian: apt-get install prometheus), nor in PROMTOOL")
    return found


def test_promtool_accepts_the_rules_and_their_unit_tests(promtool: str, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(RULES))
    (tmp_path / "tests.yaml").write_text(UNIT_TESTS.read_text())
    run(promtool, "check", "rules", "rules.yaml", folder=tmp_path)
    run(promtool, "test", "rules", "tests.yaml", folder=tmp_path)


def test_promtool_reads_the_expressions_of_the_dashboard(promtool: str, tmp_path: Path) -> None:
    """As recording rules, since it has no other way to read one; variables stand for their values."""
    rules = [
        {
            "record": f"panel:{number}",
            "expr": _VARIABLE.sub("x", expression).replace("$__rate_interval", "5m"),
        }
        for number, expression in enumerate(dashboard_expressions())
    ]
    (tmp_path / "panels.yaml").write_text(
        yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]})
    )
    run(promtool, "check", "rules", "panels.yaml", folder=tmp_path)


def run(*command: str, folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
