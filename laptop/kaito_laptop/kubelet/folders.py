"""The files of a pod on this computer: volumes, one root for each container, logs.

<state>/pods/<uid>/volumes/<volume>/
<state>/pods/<uid>/roots/<container>/        mount paths are links to the volumes
<state>/logs/<namespace>/<pod>/<container>.log       and .previous of the run before
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from kaito_laptop.core.cluster import Manifest
from kaito_laptop.core.log_files import inside, log_file, tail
from kaito_laptop.core.objects import name, namespace, uid
from kaito_laptop.core.state_folder import PODS
from kaito_laptop.kubelet.sources import Sources

MESSAGE_BYTES = 4096
PREVIOUS = ".previous"


@dataclass(frozen=True, slots=True)
class Folders:
    """Makes, finds and removes the files of pods below one folder."""

    state: Path
    sources: Sources

    def make_volumes(self, pod: Manifest) -> None:
        """Write the volumes; raise `MissingSourceError` before anything is written."""
        contents = {
            volume["name"]: self.sources.files(pod, volume)
            for volume in pod["spec"].get("volumes", [])
        }
        for volume, files in contents.items():
            folder = inside(self._pod(pod) / "volumes", volume)
            folder.mkdir(parents=True, exist_ok=True)
            for path, content in files.items():
                file = inside(folder, path)
                file.parent.mkdir(parents=True, exist_ok=True)
                # Secrets are for the owner of this process alone.
                file.touch(mode=0o600)
                file.write_bytes(content)

    def make_root(self, pod: Manifest, container: Manifest) -> Path:
        """Return the container's root with its mounts and an empty termination message."""
        root = inside(self._pod(pod) / "roots", container["name"])
        root.mkdir(parents=True, exist_ok=True)
        # Outer mounts first: /data before /data/inner.
        for mount in sorted(container.get("volumeMounts", []), key=lambda m: str(m["mountPath"])):
            at = inside(root, mount["mountPath"])
            volume = inside(self._pod(pod) / "volumes", mount["name"])
            at.parent.mkdir(parents=True, exist_ok=True)
            if not at.is_symlink() and not at.exists():
                at.symlink_to(inside(volume, mount.get("subPath", "")))
        message = inside(root, container["terminationMessagePath"])
        message.parent.mkdir(parents=True, exist_ok=True)
        message.unlink(missing_ok=True)  # a link that a run before made is not followed
        message.write_bytes(b"")
        return root

    def new_log(self, pod: Manifest, container: str) -> Path:
        """Return an empty log for a new run; the one before is kept beside it."""
        file = self.log(pod, container)
        if file.exists():
            file.replace(file.with_suffix(PREVIOUS))
        return file

    def log(self, pod: Manifest, container: str) -> Path:
        """Return the file that a container's output goes to."""
        file = log_file(self.state, namespace(pod), name(pod), container)
        file.parent.mkdir(parents=True, exist_ok=True)
        return file

    def message(self, pod: Manifest, container: Manifest, exit_code: int) -> str:
        """Return the termination message, or the end of the log where that stands for it."""
        root = inside(self._pod(pod) / "roots", container["name"])
        try:
            written = inside(root, container["terminationMessagePath"]).read_bytes()
        except OSError:
            written = b""
        if written:
            return written[:MESSAGE_BYTES].decode(errors="replace")
        if exit_code != 0 and container["terminationMessagePolicy"] == "FallbackToLogsOnError":
            return tail(self.log(pod, container["name"]))
        return ""

    def remove(self, pod: Manifest) -> None:
        """Remove everything but the logs."""
        shutil.rmtree(self._pod(pod), ignore_errors=True)

    def _pod(self, pod: Manifest) -> Path:
        return inside(self.state / PODS, uid(pod))
