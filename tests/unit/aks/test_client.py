from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Never

import pytest

from kaito_hooks.machine.errors import CredentialUnavailable
from kaito_hooks.machine.provider import PoolRef, Unknown
from kaito_hooks.providers.aks.client import API_VERSION, Elsewhere, OurClusterOnly, build
from kaito_hooks.providers.aks.error_details import redact
from kaito_hooks.providers.aks.identity import Identity, NoToken
from kaito_hooks.providers.aks.provider import AksProvider
from kaito_hooks.providers.aks.responses import Response
from kaito_hooks.providers.aks.settings import AksSettings, WorkloadIdentity

from tests.unit.aks.machine_simulation import SETTINGS, simulated_machine

OURS = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.ContainerService/managedClusters/aks"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Request:
    def __init__(self, url: Any) -> None:
        self.http_request = self
        self.method = "GET"
        self.url = url


def request(url: str) -> Any:
    return Request(url)


def look_at(url: Any) -> None:
    settings = AksSettings("s", "rg", "aks", "i", arm_endpoint="https://management.azure.com")
    OurClusterOnly(settings).on_request(request(url))


@pytest.mark.parametrize("path", [OURS, f"{OURS}/agentPools", f"{OURS.upper()}/agentPools/a?x=1"])
def test_our_cluster_may_be_asked(path: Any) -> None:
    look_at(f"https://management.azure.com{path}")


@pytest.mark.parametrize(
    "url",
    [
        f"http://management.azure.com{OURS}",
        f"https://management.azure.com.example.org{OURS}",
        f"https://management.azure.com:444{OURS}",
        f"https://x@management.azure.com{OURS}",
        f"https://management.azure.com{OURS}x/agentPools",
        f"https://management.azure.com{OURS}/../other/agentPools",
        f"https://management.azure.com{OURS}/%2e%2e/other",
        "https://management.azure.com/subscriptions/s/providers/Microsoft.ContainerService/register",
    ],
)
def test_no_other_address_ever_is(url: Any) -> None:
    with pytest.raises(Elsewhere):
        look_at(url)


@pytest.mark.parametrize(
    ("method", "path", "is_allowed"),
    [
        ("GET", "skus", True),
        ("GET", "locations/westeurope/usages", True),
        ("GET", "locations/northeurope/usages", False),
        ("PUT", "skus", False),
        ("GET", "virtualMachines", False),
    ],
)
def test_of_the_region_only_sizes_and_quota_may_be_read(
    method: Any, path: Any, is_allowed: Any
) -> None:
    settings = AksSettings("s", "rg", "aks", "i", location="westeurope")
    request: Any = Request(
        f"https://management.azure.com/subscriptions/s/providers/Microsoft.Compute/{path}"
    )
    request.method = method
    if is_allowed:
        OurClusterOnly(settings).on_request(request)
    else:
        with pytest.raises(Elsewhere):
            OurClusterOnly(settings).on_request(request)


def test_the_version_of_the_api_is_the_clients_own() -> None:
    client, _ = build(AksSettings(**SETTINGS, arm_endpoint="http://127.0.0.1:1"))
    assert client._config.api_version == API_VERSION


class NoFile:
    def get_token(self, *scopes: Any, **options: Any) -> Never:
        raise FileNotFoundError("/var/run/secrets/token of hunter2")


def test_56_without_a_token_nothing_is_sent_and_the_process_is_not_ready(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    identity = WorkloadIdentity("tenant", "client", str(tmp_path / "none"), "https://127.0.0.1:1/")
    settings = AksSettings(**SETTINGS, identity=identity)
    provider = AksProvider(settings, lambda: NOW)
    pool = provider.get(PoolRef("ws0", "u"), fresh=True)
    assert isinstance(pool, Unknown)
    assert isinstance(pool.error, CredentialUnavailable)
    assert "no token" in provider.unavailable_reason()


def test_a_failure_of_the_identity_says_only_its_kind() -> None:
    with pytest.raises(NoToken) as error:
        Identity(NoFile()).get_token("scope")
    assert str(error.value) == "FileNotFoundError"
    assert "hunter2" not in Identity(NoFile()).unavailable_reason("scope")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("60", 60),
        ("0", 0),
        ("", None),
        ("0.5", None),
        ("-3", None),
        ("²", None),
        ("9" * 400, 86400),
        ("Thu, 01 Jan 2026 00:01:00 GMT", 60),
        ("Thu, 01 Jan 2020 00:01:00 GMT", 0),
        ("tomorrow", None),
    ],
)
def test_18_retry_after_is_a_number_or_a_date(value: Any, seconds: Any) -> None:
    assert Response(429, {"retry-after": value}).retry_after(NOW) == seconds


def test_what_azure_says_is_shown_with_its_own_pages_and_without_addresses_tokens_and_ids() -> None:
    said = (
        "Quota for 6f8a7c1e-0000-4000-8000-000000000001 is 0.\n See https://aka.ms/x?sig=abc "
        "Bearer abc.def eyJhbGciOiJIUzI1NiJ9.e30.sig https://x.blob.core.windows.net/y?sig=z."
    )
    assert redact(said) == "Quota for … is 0. See https://aka.ms/x … … …"


def test_one_request_is_one_request() -> None:
    with simulated_machine() as simulation:
        simulation.provider.get(PoolRef("ws0", "u"), fresh=True)
        assert [item.verb for item in simulation.arm.asked] == ["GET"]
