"""The sizes and the quota of the region, from Microsoft.Compute, over the same pipeline as all else.

Needs two rights to read, at the subscription; without them AKS itself judges each request.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from azure.core.rest import HttpRequest
from azure.mgmt.containerservice import ContainerServiceClient

from kaito_hooks.kube.objects import get_in, mapping, number, sequence, text
from kaito_hooks.machine.errors import ProviderError
from kaito_hooks.machine.provider import Availability, Unknown
from kaito_hooks.providers.aks import client as arm
from kaito_hooks.providers.aks import error_mapping
from kaito_hooks.providers.aks.catalog import (
    Quota,
    Quotas,
    Size,
    Sizes,
    exceeded_quota,
    unavailable_size,
)
from kaito_hooks.providers.aks.errors import Unreadable
from kaito_hooks.providers.aks.responses import Response
from kaito_hooks.providers.aks.settings import AksSettings

SIZES_AGE = timedelta(hours=1)
QUOTAS_AGE = timedelta(seconds=30)
UNKNOWN_AGE = timedelta(minutes=1)
"""A question that got no answer is not asked again for so long."""
SKUS_API, USAGES_API = "2021-07-01", "2024-07-01"

T = TypeVar("T")


class Compute:
    """What may be asked of Microsoft.Compute, with its answers kept for a while."""

    def __init__(
        self, settings: AksSettings, client: ContainerServiceClient, now: Callable[[], datetime]
    ) -> None:
        self._settings = settings
        self._client = client
        self._now = now
        self._sizes: _Cached[Sizes] = _Cached(now, SIZES_AGE)
        self._quotas: _Cached[Quotas] = _Cached(now, QUOTAS_AGE)

    def availability(self, size: str, is_spot: bool) -> Availability | Unknown:
        """Whether the region offers the size, then whether there is quota for it: one request at most."""
        sizes = self.sizes()
        if isinstance(sizes, Unknown):
            return sizes
        if sizes.is_fresh:
            return Availability(is_complete=False)
        error = unavailable_size(sizes, size)
        quotas = None if error else self.quotas()
        if quotas is not None and not isinstance(quotas, Unknown):
            error = exceeded_quota(sizes, quotas, size, is_spot)
        return Availability(error)

    def sizes(self) -> Sizes | Unknown:
        """Of the region; fresh only in the call that asked for them."""
        if not self._settings.location:
            return Unknown(Unreadable(detail="LOCATION is not set."))
        found, is_fresh = self._sizes.get(self._read_sizes)
        return replace(found, is_fresh=is_fresh) if isinstance(found, Sizes) else found

    def quotas(self) -> Quotas | Unknown:
        """Of the region."""
        return self._quotas.get(self._read_quotas)[0]

    def known(self) -> tuple[Sizes | None, Quotas | None]:
        """What was asked for lately; nothing is asked now."""
        return self._sizes.known(), self._quotas.known()

    def _read_sizes(self) -> Sizes | Unknown:
        location = self._settings.location
        query = {"api-version": SKUS_API, "$filter": f"location eq '{location}'"}
        body = self._ask("skus", query)
        if isinstance(body, Unknown):
            return body
        sizes = [_size(mapping(item), location) for item in sequence(body.get("value"))]
        found = {size.name.lower(): size for size in sizes if size is not None}
        if not found:
            return Unknown(Unreadable(detail="The list of sizes is empty."))
        return Sizes(location, found, is_complete=not body.get("nextLink"))

    def _read_quotas(self) -> Quotas | Unknown:
        path = f"locations/{self._settings.location}/usages"
        body = self._ask(path, {"api-version": USAGES_API})
        if isinstance(body, Unknown):
            return body
        return {
            text(get_in(item, "name", "value")).lower(): Quota(
                number(mapping(item).get("limit")), number(mapping(item).get("currentValue"))
            )
            for item in sequence(body.get("value"))
        }

    def _ask(self, path: str, query: Mapping[str, str]) -> Mapping[str, object] | Unknown:
        settings = self._settings
        url = (
            f"{settings.arm_endpoint}/subscriptions/{settings.subscription_id}"
            f"/providers/Microsoft.Compute/{path}"
        )
        request = HttpRequest("GET", url, params=dict(query))
        try:
            response: Response = arm.send(
                self._client.send_request, request, read_timeout=arm.CHANGE_SECONDS
            )
        except ProviderError as error:
            return Unknown(error)
        if response.status != 200:
            return Unknown(error_mapping.of_response(response, self._now()))
        return response.json


class _Cached(Generic[T]):
    """One answer, until it is too old; who comes meanwhile waits and uses it."""

    def __init__(self, now: Callable[[], datetime], age: timedelta) -> None:
        self._now, self._age = now, age
        self._lock = threading.Lock()
        self._found: tuple[datetime, T | Unknown] | None = None

    def get(self, read: Callable[[], T | Unknown]) -> tuple[T | Unknown, bool]:
        """The answer, and whether it was asked for now."""
        with self._lock:
            now = self._now()
            if self._found is not None:
                at, found = self._found
                age = UNKNOWN_AGE if isinstance(found, Unknown) else self._age
                if timedelta(0) <= now - at < age:
                    return found, False
            self._found = (now, read())
            return self._found[1], True

    def known(self) -> T | None:
        """The answer that is kept, however old."""
        with self._lock:
            found = self._found
        return None if found is None or isinstance(found[1], Unknown) else found[1]


def _size(body: Mapping[str, Any], location: str) -> Size | None:
    """A virtual machine's size; None for disks and what else is sold."""
    if body.get("resourceType") != "virtualMachines" or not text(body.get("name")):
        return None
    vcpus = [
        text(mapping(item).get("value"))
        for item in sequence(body.get("capabilities"))
        if mapping(item).get("name") == "vCPUs"
    ]
    return Size(
        name=text(body.get("name")),
        family=text(body.get("family")),
        vcpus=int(vcpus[0]) if vcpus and vcpus[0].isdecimal() else 0,
        restriction=_restriction(body, location),
    )


def _restriction(body: Mapping[str, Any], location: str) -> str:
    """Of the whole region; a restriction of one zone leaves the others."""
    for item in map(mapping, sequence(body.get("restrictions"))):
        places = [text(place).lower() for place in sequence(item.get("values"))]
        if item.get("type") == "Location" and location in places:
            return text(item.get("reasonCode")) or "Restricted"
    return ""
