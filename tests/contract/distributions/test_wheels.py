"""Four wheels: the contract, the operator, the runtime, and the laptop with the `kaito` command."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from tests.harness.wire import ROOT

PARTS = {
    "contract": "kaito_contract",
    "hooks": "kaito_hooks",
    "runtime-images": "kaito_runtime",
    "laptop": "kaito_laptop",
}
"""Folder of each distribution, and its package."""


def project(part: str) -> dict[str, Any]:
    text = (ROOT / part / "pyproject.toml").read_text(encoding="utf-8")
    return dict(tomllib.loads(text)["project"])


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheels."""
    folder = tmp_path_factory.mktemp("dist")
    for part in PARTS:
        subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
            cwd=ROOT / part,
            check=True,
            capture_output=True,
        )
    return folder


def test_each_wheel_holds_its_own_package_and_no_other(wheels: Path) -> None:
    found = {}
    for wheel in wheels.glob("*.whl"):
        files = zipfile.ZipFile(wheel).namelist()
        name = wheel.name.partition("-")[0]
        found[name] = {file.partition("/")[0] for file in files if ".dist-info/" not in file}
    assert found == {
        "kaito_contract": {"kaito_contract"},
        "kaito_operator": {"kaito_hooks"},
        "kaito_runtime": {"kaito_runtime"},
        "kaito_laptop": {"kaito_laptop"},
    }


def test_all_have_one_version_and_ask_for_that_of_each_other() -> None:
    versions = {str(project(part)["version"]) for part in PARTS}
    assert len(versions) == 1
    (version,) = versions
    for part in PARTS:
        for dependency in _dependencies(project(part)):
            if dependency.startswith("kaito-") and dependency.partition("[")[0] != _name(part):
                assert dependency.endswith(f"=={version}"), f"{part}: {dependency}"


@pytest.mark.parametrize("part", PARTS)
def test_what_a_package_imports_is_declared(part: str) -> None:
    owners = {
        **metadata.packages_distributions(),
        **{package: [_name(other)] for other, package in PARTS.items()},
        "vllm": ["vllm"],  # not installed here: it pins other releases of torch and transformers
    }
    declared = {_distribution(each) for each in _dependencies(project(part))}
    for path in (ROOT / part).rglob("*.py"):
        for module in _imports(ast.parse(path.read_text(encoding="utf-8"))):
            if module in {*sys.stdlib_module_names, "_typeshed", PARTS[part]}:
                continue
            names = {_normalized(each) for each in owners.get(module, ["nothing installed"])}
            assert names & declared, f"{path.relative_to(ROOT)} imports {module} of {names}"


def test_the_images_with_rights_in_azure_hold_no_laptop() -> None:
    copies = re.findall(r"^COPY (?!--from)(.*)$", (ROOT / "hooks/Dockerfile").read_text(), re.M)
    sources = {word for line in copies for word in line.split()[:-1]}
    assert sources == {
        "contract/kaito_contract",
        "hooks/kaito_hooks",
        "hooks/gunicorn.conf.py",
        "presets.yaml",
        "requirements/workspace-hook.txt",
        "requirements/machine-hook.txt",
        "requirements/orphan-sweep.txt",
    }


def test_each_requirements_file_is_used_by_an_image_or_a_make_target() -> None:
    dockerfiles = [*ROOT.glob("hooks/Dockerfile"), *ROOT.glob("runtime-images/*/Dockerfile")]
    users = "\n".join(path.read_text() for path in [ROOT / "Makefile", *dockerfiles])
    used = set(re.findall(r"requirements/[\w.-]+\.txt", users))
    assert used == {f"requirements/{path.name}" for path in (ROOT / "requirements").glob("*.txt")}


def test_every_image_is_built_on_the_python_that_the_requirements_are_compiled_for() -> None:
    compiled = re.search(r"--python-version (\S+)", (ROOT / "requirements/compile.sh").read_text())
    assert compiled
    for path in [ROOT / "hooks/Dockerfile", *ROOT.glob("runtime-images/*/Dockerfile")]:
        assert f"ARG PYTHON=python:{compiled[1]}-slim" in path.read_text(), path


def test_the_wheels_in_an_empty_environment_elsewhere_run_kaito_up(
    wheels: Path, tmp_path: Path
) -> None:
    environment = tmp_path / "env"
    venv.create(environment, symlinks=True)
    packages = next(environment.glob("lib/python*/site-packages"))
    for wheel in wheels.glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(packages)
    _link_dependencies(packages)
    example = tmp_path / "workspace.yaml"
    example.write_text(
        (ROOT / "examples/fine-tuning/kaito_workspace_tuning_phi_3.yaml").read_text(
            encoding="utf-8"
        )
    )
    python = environment / "bin/python"

    def run(*line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(python), *line],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=120,
        )

    where = run("-c", "import kaito_laptop; print(kaito_laptop.__file__)")
    assert where.stdout.startswith(str(environment)), where.stderr
    helped = run("-m", "kaito_laptop", "--help")
    assert (helped.returncode, "demo" in helped.stdout) == (0, True), helped.stderr
    state = str(tmp_path / "state")
    up = run("-m", "kaito_laptop", "up", "-f", str(example), "--once", "--state", state)
    assert up.returncode == 1, up.stdout + up.stderr
    assert "(OutputImageInvalid)" in up.stdout
    assert "which 'ACR_REPO_HERE.azurecr.io' is not" in up.stdout


def _link_dependencies(packages: Path) -> None:
    """Put there what `pip install` of the laptop's wheel would bring, and nothing else."""
    here = Path(sysconfig.get_paths()["purelib"])
    for name in _closure("kaito-laptop"):
        for file in metadata.files(name) or []:
            top = Path(str(file)).parts[0]
            is_wanted = top not in ("..", "__pycache__") and (here / top).exists()
            if is_wanted and not (packages / top).exists():
                (packages / top).symlink_to(here / top)


def _closure(name: str, extras: frozenset[str] = frozenset()) -> set[str]:
    """The distributions outside this project that a distribution needs, directly or not."""
    from packaging.requirements import Requirement

    found: set[str] = set()
    seen: set[tuple[str, frozenset[str]]] = set()
    queue = [(name, extras)]
    while queue:
        current = queue.pop()
        if current in seen:
            continue
        seen.add(current)
        if not current[0].startswith("kaito-"):
            found.add(current[0])
        for line in metadata.requires(current[0]) or []:
            wanted = Requirement(line)
            markers = (
                [wanted.marker.evaluate({"extra": each}) for each in ("", *current[1])]
                if (wanted.marker)
                else [True]
            )
            if any(markers):
                queue.append((_normalized(wanted.name), frozenset(wanted.extras)))
    return found


def _dependencies(content: dict[str, Any]) -> list[str]:
    extras = content.get("optional-dependencies", {})
    return [*content["dependencies"], *(each for extra in extras.values() for each in extra)]


def _imports(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def _name(part: str) -> str:
    return str(project(part)["name"])


def _distribution(requirement: str) -> str:
    return _normalized(re.split(r"[\[<>=~! ]", requirement)[0])


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
