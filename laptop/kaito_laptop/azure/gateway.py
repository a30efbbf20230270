"""What Azure Resource Manager answers by itself, so that AKS never hears of the request."""

from __future__ import annotations

from kaito_laptop.azure.answers import Answer, Request, error


def unauthenticated(request: Request) -> Answer | None:
    """The answer to a request without a token."""
    if request.headers.get("authorization", "").startswith("Bearer "):
        return None
    return error(401, "AuthenticationFailed", "The bearer token is missing.")


def not_found(cluster: str, request: Request) -> Answer | None:
    """The answer to a path that leads to no cluster."""
    wanted, found = cluster.lower().split("/"), request.path.split("/")
    asked = [part.lower() for part in found]
    if asked[:3] != wanted[:3]:
        said = f"The subscription '{_at(found, 2)}' could not be found."
        return error(404, "SubscriptionNotFound", said)
    if asked[:5] != wanted[:5]:
        said = f"Resource group '{_at(found, 4)}' could not be found."
        return error(404, "ResourceGroupNotFound", said)
    return None if asked[:9] == wanted else _no_cluster(request.method, found)


def _at(parts: list[str], position: int) -> str:
    return parts[position] if len(parts) > position else ""


def _no_cluster(method: str, path: list[str]) -> Answer:
    name, group = _at(path, 8), _at(path, 4)
    if method == "PUT":
        return error(
            404,
            "ParentResourceNotFound",
            "Cannot perform requested operation on nested resource. "
            f"Parent resource '{name}' not found.",
        )
    return error(
        404,
        "ResourceNotFound",
        f"The Resource 'Microsoft.ContainerService/managedClusters/{name}' under resource group "
        f"'{group}' was not found. For more details please go to "
        "https://aka.ms/ARMResourceNotFoundFix",
    )
