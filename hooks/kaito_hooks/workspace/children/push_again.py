"""A changed output: a Job on any CPU node pulls the adapter by its digest and pushes it to the new reference."""

from __future__ import annotations

from kaito_contract import references
from kaito_hooks.api import pods
from kaito_hooks.kube.fingerprint import fingerprint
from kaito_hooks.kube.objects import Manifest
from kaito_hooks.workspace.adapters import Adapter
from kaito_hooks.workspace.api import Tuning, Workspace
from kaito_hooks.workspace.children import resources, volumes
from kaito_hooks.workspace.children.check import job
from kaito_hooks.workspace.children.workload import credentials_arguments, push_credentials
from kaito_hooks.workspace.context import Images
from kaito_hooks.workspace.fingerprints import Identity
from kaito_hooks.workspace.job_kinds import PULLER, PUSH, PUSHER


def identity(tuning: Tuning, adapter: Adapter) -> Identity:
    """What the Job for this adapter and this output is known by."""
    wanted = {
        "from": references.with_digest(adapter.image, adapter.digest),
        "to": tuning.output.image,
        "imagePushSecret": tuning.output.push_secret,
    }
    return Identity(fingerprint(wanted), any_transfers=True)


def push_job(workspace: Workspace, tuning: Tuning, adapter: Adapter, images: Images) -> Manifest:
    """The Job; docs/pods.md has the command lines. The push Secret opens the old reference, too."""
    scratch, adapters, push = volumes.scratch(), volumes.adapters(), push_credentials(tuning)
    folders = [scratch, adapters, push]
    figures = resources.of_check(folders).of_container()
    folder, opened = f"{adapters.path}/{workspace.name}", credentials_arguments([push])
    pull = pods.Container(
        PULLER,
        images.transfer,
        ["python", "-m", "kaito_runtime.transfer.pull"],
        [
            *("adapter", "--image", references.with_digest(adapter.image, adapter.digest)),
            *("--to", folder, *opened),
        ],
        folders,
        figures,
    )
    main = pods.Container(
        PUSHER,
        images.transfer,
        ["python", "-m", "kaito_runtime.transfer.push"],
        ["--from", folder, "--image", tuning.output.image, *opened],
        folders,
        figures,
    )
    spec = pods.pod_spec([pull.to_manifest()], main.to_manifest(), folders)
    return job(workspace, PUSH, identity(tuning, adapter).hash, spec)
