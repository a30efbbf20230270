"""What pods wrote: the files below the state folder."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from kaito_hooks.api import labels as keys
from kaito_laptop.cli.control_client import ask
from kaito_laptop.core.errors import LaptopError
from kaito_laptop.core.log_files import log_folder
from kaito_laptop.core.objects import labels, name
from kaito_laptop.core.state_folder import is_taken

LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class PodLogs:
    """The logs of one namespace."""

    state: Path
    namespace: str

    def show(self, whose: str, container: str | None, *, follow: bool) -> None:
        """Print those of a pod, or of all pods that a Workspace has now; the newest last."""
        files = self._files(whose, container)
        if not files:
            raise LaptopError(f"{whose} has written nothing yet below {self.state}/logs")
        for file in files:
            if len(files) > 1:
                print(f"==> {file.parent.name}/{file.stem} <==")
            print(file.read_text(encoding="utf-8", errors="replace"), end="")
        if follow:
            self._follow(files[-1])

    def _files(self, whose: str, container: str | None) -> list[Path]:
        names = [whose]
        if not log_folder(self.state, self.namespace, whose).is_dir():
            pods = ask(self.state, {"kind": "Pod", "namespace": self.namespace})["objects"]
            names = [name(pod) for pod in pods if labels(pod).get(keys.WORKSPACE) == whose]
        folders = [log_folder(self.state, self.namespace, each) for each in names]
        found = [file for folder in folders for file in folder.glob(f"{container or '*'}.log")]
        return sorted(found, key=lambda file: file.stat().st_mtime)

    def _follow(self, file: Path) -> None:
        """Print what is written until the cluster ends."""
        with file.open(encoding="utf-8", errors="replace") as log:
            log.seek(0, os.SEEK_END)
            while True:
                text = log.read()
                if text:
                    print(text, end="", flush=True)
                elif not is_taken(self.state):
                    return
                else:
                    time.sleep(LOOK_SECONDS)
