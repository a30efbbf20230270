"""The way to the API server: the official client, told to ask once and soon."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import urllib3
from kubernetes import client as kube
from kubernetes import config

from kaito_hooks.kube.objects import Manifest
from kaito_hooks.providers.karpenter import error_mapping

CONNECT_SECONDS = 2
READ_SECONDS = 4
CHANGE_SECONDS = 10
"""Admission webhooks of the cluster may look at a change first."""


def build() -> tuple[kube.ApiClient | None, str]:
    """A client with the pod's service account, or why there is none, in a few words."""
    configuration = kube.Configuration()
    try:
        config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
    except config.ConfigException:
        return None, "no token for the API server: the pod must mount that of its service account"
    return connect(configuration), ""


def connect(configuration: kube.Configuration) -> kube.ApiClient:
    """A client that asks once and follows nobody elsewhere."""
    configuration.retries = False
    return kube.ApiClient(configuration)


def ask(operation: Callable[..., Any], *args: Any, **options: Any) -> Manifest:
    """One request that changes nothing; raise `ProviderError`."""
    return _ask(operation, READ_SECONDS, *args, **options)


def change(operation: Callable[..., Any], *args: Any, **options: Any) -> Manifest:
    """One request that changes something; raise `ProviderError`."""
    return _ask(operation, CHANGE_SECONDS, *args, **options)


def _ask(operation: Callable[..., Any], seconds: float, *args: Any, **options: Any) -> Manifest:
    try:
        times = (CONNECT_SECONDS, seconds)
        answer = operation(*args, _request_timeout=times, _preload_content=False, **options)
        found = json.loads(answer.data)
    except kube.ApiException as error:
        raise error_mapping.of_answer(error) from None
    except (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError) as error:
        raise error_mapping.ApiUnreachable(type(error).__name__) from None
    except urllib3.exceptions.HTTPError as error:
        raise error_mapping.ApiUnanswered(type(error).__name__) from None
    except ValueError as error:
        raise error_mapping.ApiUnreadable(type(error).__name__) from None
    if not isinstance(found, dict):
        raise error_mapping.ApiUnreadable(detail="The answer is not an object.")
    return found
