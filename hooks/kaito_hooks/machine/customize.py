"""Which other objects the Machine hook must see."""

from __future__ import annotations

from kaito_hooks.api import labels as keys
from kaito_hooks.errors import BadRequest
from kaito_hooks.kube.objects import Manifest, uid
from kaito_hooks.metacontroller import RelatedRule, parse_parent


def customize(body: object) -> Manifest:
    """The Machine's own Nodes and no others: each heartbeat of a Node that is named causes a sync."""
    owner = uid(parse_parent(body))
    if not owner:
        raise BadRequest("`parent.metadata` must have a uid")
    rule = RelatedRule("v1", "nodes", match_labels={keys.MACHINE_UID: owner})
    return {"relatedResources": [rule.to_json()]}
