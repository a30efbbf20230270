"""NodeClaims of Karpenter behind the Provider Protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from kubernetes import client as kube

from kaito_hooks.kube.fingerprint import fingerprint
from kaito_hooks.kube.objects import Manifest, get_in, mapping, metadata, sequence, text
from kaito_hooks.kube.times import parse_timestamp
from kaito_hooks.machine.errors import ProviderError
from kaito_hooks.machine.provider import (
    Absent,
    Availability,
    Foreign,
    ListedPool,
    Listing,
    Pool,
    PoolRef,
    PoolRequest,
    Profile,
    Unknown,
)
from kaito_hooks.providers.karpenter import claims, client
from kaito_hooks.providers.karpenter.error_mapping import (
    FOUND_OUT,
    GIVEN_UP,
    ApiUnanswered,
    ApiUnreadable,
    ClaimChanged,
    NoSuchClaim,
    NoToken,
)
from kaito_hooks.providers.karpenter.settings import KarpenterSettings

PAGE = 500
MOST_PAGES = 20
EVENT_AGE = timedelta(minutes=3)
"""A NodeClaim that is taken back is missed within one poll; older events speak of another one."""
_KIND = (claims.GROUP, claims.VERSION, claims.PLURAL)
_EVENTS = ("events.k8s.io", "v1", "default", "events")
"""Events about objects without a namespace are in `default`."""


def create(environ: Mapping[str, str], now: Callable[[], datetime]) -> KarpenterProvider:
    """The provider as the environment says; raise `InvalidSettings`."""
    return KarpenterProvider(KarpenterSettings.from_environ(environ), now)


class KarpenterProvider:
    """Implements `kaito_hooks.machine.provider.Provider`."""

    profile = Profile("Karpenter", "NodeClaim", FOUND_OUT)

    def __init__(
        self,
        settings: KarpenterSettings,
        now: Callable[[], datetime],
        connection: kube.ApiClient | None = None,
    ) -> None:
        """Without a connection it is the one of the pod's service account."""
        self._settings = settings
        self._now = now
        self._unavailable_reason = ""
        if connection is None:
            connection, self._unavailable_reason = client.build()
        # The typed APIs would load a hundred megabytes of models.
        self._objects = kube.CustomObjectsApi(connection)

    def unavailable_reason(self) -> str:
        """Why there is no token."""
        return self._unavailable_reason

    def availability(self, size: str, is_spot: bool) -> Availability:  # noqa: ARG002  the Protocol's
        """Karpenter itself looks for it."""
        return Availability()

    def operation(self) -> str:
        """Karpenter has no operation of the whole cluster."""
        return ""

    def digest(self, request: PoolRequest) -> str:
        """Of the NodeClaim that would be made."""
        return fingerprint(claims.body(request, self._settings))

    def get(self, ref: PoolRef, fresh: bool) -> Pool:  # noqa: ARG002  the Protocol's
        """From the API server itself: its answers are never old."""
        try:
            found = self._read(ref.name)
        except NoSuchClaim:
            return Absent(self._why_given_up(ref.name))
        except ProviderError as error:
            return Unknown(error)
        if ref.uid not in found.uids or not ref.uid:
            return Foreign()
        return found.seen

    def list(self) -> Listing | Unknown:
        """All pages, now."""
        found: list[ListedPool] = []
        token = ""
        try:
            for _ in range(MOST_PAGES):
                page = self._page(token)
                found += [_listed(item) for item in sequence(page.get("items"))]
                token = text(metadata(page).get("continue"))
                if not token:
                    return Listing(tuple(found), is_proven=True)
        except ProviderError as error:
            return Unknown(error)
        return Unknown(ApiUnreadable(detail="The list of NodeClaims does not end."))

    def create(self, request: PoolRequest) -> str:
        """POST, which never changes a NodeClaim that is there."""
        self._need_token()
        body = claims.body(request, self._settings)
        try:
            made = client.change(self._objects.create_cluster_custom_object, *_KIND, body)
        except ApiUnreadable as error:
            raise ApiUnanswered(error.code, error.detail, error.retry_after) from None
        listed = claims.read_claim(made)
        return listed.seen.state if listed else ""

    def delete(self, ref: PoolRef, etag: str) -> None:
        """DELETE of the very NodeClaim that was read; without its version at least of that uid."""
        self._need_token()
        try:
            condition = claims.preconditions(etag or self._uid(ref))
            options = {"preconditions": condition, "propagationPolicy": "Background"}
            client.change(
                self._objects.delete_cluster_custom_object, *_KIND, ref.name, body=options
            )
        except NoSuchClaim:
            return
        except ApiUnreadable as error:
            raise ApiUnanswered(error.code, error.detail, error.retry_after) from None

    def _uid(self, ref: PoolRef) -> str:
        """Of the NodeClaim, whose owner is looked at once more."""
        found = self._read(ref.name)
        if ref.uid not in found.uids:
            raise ClaimChanged()
        return found.seen.etag.partition("/")[0]

    def _read(self, name: str) -> ListedPool:
        self._need_token()
        found = client.ask(self._objects.get_cluster_custom_object, *_KIND, name)
        listed = _listed(found)
        if listed.name != name:
            raise ApiUnreadable(detail="The answer is another NodeClaim.")
        return listed

    def _page(self, token: str) -> Manifest:
        self._need_token()
        more = {"_continue": token} if token else {}
        page = client.ask(self._objects.list_cluster_custom_object, *_KIND, limit=PAGE, **more)
        is_list = page.get("kind") == "NodeClaimList" and isinstance(page.get("items"), list)
        if not is_list or not metadata(page).get("resourceVersion"):
            raise ApiUnreadable(detail="The answer is not a list of NodeClaims.")
        return page

    def _why_given_up(self, name: str) -> ProviderError | None:
        """From the event that Karpenter leaves; in doubt nothing is known."""
        selector = f"regarding.kind=NodeClaim,regarding.name={name},type=Warning"
        read = self._objects.list_namespaced_custom_object
        try:
            found = client.ask(read, *_EVENTS, field_selector=selector, limit=PAGE)
        except (ProviderError, NoSuchClaim):
            return None
        for event in map(mapping, sequence(found.get("items"))):
            kind = GIVEN_UP.get(text(event.get("reason")))
            last = parse_timestamp(event.get("deprecatedLastTimestamp") or event.get("eventTime"))
            if kind and last and abs(self._now() - last) <= EVENT_AGE:
                note = text(event.get("note"))
                return kind(detail=note.partition(" event: ")[2] or note)
        return None

    def _need_token(self) -> None:
        if self._unavailable_reason:
            raise NoToken(detail=self._unavailable_reason)


def _listed(item: object) -> ListedPool:
    listed = claims.read_claim(mapping(item))
    if listed is None or get_in(item, "kind") not in (None, "NodeClaim"):
        raise ApiUnreadable(detail="The answer is not a NodeClaim.")
    return listed
