"""Authorization at a registry: anonymous, basic, or a bearer token per scope."""

import json
import re
from urllib.parse import urlencode, urlsplit

from kaito_runtime.transfer.credentials import Credential
from kaito_runtime.transfer.transport import Transport, is_loopback

_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


class Tokens:
    """Knows the Authorization header for one repository; learns it from 401 challenges."""

    def __init__(self, credential: Credential | None, transport: Transport, scope: str):
        self._credential = credential
        self._transport = transport
        self._scope = scope
        self._header = ""
        self._host = ""

    def headers(self, url: str) -> dict[str, str]:
        """Return the headers that authorise a request to the registry's own host."""
        if self._header and urlsplit(url).netloc == self._host:
            return {"Authorization": self._header}
        return {}

    def answer_challenge(self, challenge: str, url: str) -> bool:
        """Learn from a 401; returns true if the request is worth sending again."""
        scheme, _, rest = challenge.partition(" ")
        host, header = urlsplit(url).netloc, ""
        if scheme.lower() == "basic" and self._credential:
            header = self._credential.basic()
        elif scheme.lower() == "bearer":
            header = self._bearer(dict(_PARAMETER.findall(rest)))
        if not header or (header, host) == (self._header, self._host):
            return False
        self._header, self._host = header, host
        return True

    def _bearer(self, challenge: dict[str, str]) -> str:
        realm = challenge.get("realm", "")
        parts = urlsplit(realm)
        if parts.scheme != "https" and not is_loopback(parts.netloc):
            return ""  # a token server over plain HTTP would see the password
        # The registry's own scope comes first: it may ask for more than we would.
        query = {
            "service": challenge.get("service", ""),
            "scope": challenge.get("scope") or self._scope,
        }
        credential = self._credential
        if credential and credential.identity_token:
            form = {
                **query,
                "grant_type": "refresh_token",
                "client_id": "kaito-runtime",
                "refresh_token": credential.identity_token,
            }
            answer = self._transport.request(
                "POST",
                realm,
                {"Content-Type": "application/x-www-form-urlencoded"},
                urlencode(form).encode(),
            )
        else:
            separator = "&" if parts.query else "?"
            headers = {"Authorization": credential.basic()} if credential else {}
            url = f"{realm}{separator}{urlencode(query)}"
            answer = self._transport.request("GET", url, headers)
        body = answer.read()
        if answer.status != 200:
            return ""
        try:
            content = json.loads(body)
            token = content.get("token") or content.get("access_token")
        except (ValueError, AttributeError):
            return ""
        return f"Bearer {token}" if token else ""
