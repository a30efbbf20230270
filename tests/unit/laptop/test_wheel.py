"""What `pip install` brings is all that `kaito up` needs."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

from tests.harness.wire import ROOT


def test_a_wheel_in_an_empty_environment_elsewhere_runs_kaito_up(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    environment = tmp_path / "env"
    venv.create(environment, symlinks=True)
    packages = next(environment.glob("lib/python*/site-packages"))
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(packages)
    # The dependencies come from here; a line in a .pth file adds the folder and not the editable install in it.
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"], encoding="utf-8")
    example = tmp_path / "workspace.yaml"
    example.write_text(
        (ROOT / "examples/fine-tuning/kaito_workspace_tuning_phi_3.yaml").read_text(
            encoding="utf-8"
        )
    )
    python = environment / "bin/python"
    origin = [str(python), "-c", "import kaito_laptop; print(kaito_laptop.__file__)"]
    assert subprocess.check_output(origin, text=True, cwd=tmp_path).startswith(str(environment))
    run = subprocess.run(
        [
            str(python),
            "-m",
            "kaito_laptop",
            "up",
            "-f",
            str(example),
            "--once",
            "--state",
            str(tmp_path / "state"),
        ],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 1, run.stdout + run.stderr
    assert "(OutputImageInvalid)" in run.stdout
    assert "the repository 'IMAGE_NAME_HERE' must be lower-case" in run.stdout
