"""How requests show whom they are from: nothing, user and password, a token, or one that is fetched (OAuth 2.0).

Promises: of all who need a token one fetches it and the others wait; a token that the system refuses is fetched once
again, and not while another has just done so; how long a token is good is counted from when it came, so that no clock
of anybody matters. Secrets are read when they are used and never told.
"""

import asyncio
import base64
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote_plus, urlencode

from bridge.client import Answer, Client, Headers, Target
from bridge.config.rest import OAuth2Login, RestSystemConfig
from bridge.errors import SourceRefused, SourceUnavailable
from bridge.inbox import jsontext
from bridge.inbox.jsontext import NotJson

MARGIN = 0.1  # of its life before the end of which a token is replaced
_MARGIN_LIMIT_S = 60.0
_ANSWER_LIMIT_BYTES = 64 << 10
_CODES = frozenset(
    {
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    }
)
_MEND = "Mend the login of this system in bridge.yaml, or the secret behind it."


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    until: float  # on the monotonic clock; infinity: until it is refused


class Login:
    """The login of one system. Used on one event loop, by any number of tasks."""

    def __init__(
        self, config: RestSystemConfig, client: Client, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._config = config
        self._client = client
        self._monotonic = monotonic
        self._token: _Token | None = None
        self._turn = asyncio.Lock()
        self.fetched = 0  # tokens so far

    async def headers(self) -> Headers:
        """What a request carries now.

        Raises: SourceUnavailable, SourceRefused when there is no token to be had; SecretUnavailable.
        """
        config = self._config
        found = [(name.lower(), secret.reveal()) for name, secret in config.headers.items()]
        if config.basic is not None:
            pair = f"{config.basic.user}:{config.basic.password.reveal()}"
            found.append(("authorization", f"Basic {base64.b64encode(pair.encode()).decode()}"))
        elif config.bearer is not None:
            found.append(("authorization", f"Bearer {config.bearer.reveal()}"))
        elif config.oauth2 is not None:
            found.append(("authorization", f"Bearer {await self._good(config.oauth2)}"))
        if not all(re.fullmatch(r"[\t\x20-\x7e]*", value) for _, value in found):
            raise SourceRefused("a header or token has characters that no header can have", hint=_MEND)
        return [(name.encode(), value.encode()) for name, value in found]

    def distrust(self, sent: Headers) -> bool:
        """The system refused a request with these headers.

        Returns: whether another attempt may succeed: the token it carried is forgotten, or was replaced meanwhile.
        """
        if self._config.oauth2 is None:
            return False
        if self._token is not None and (b"authorization", f"Bearer {self._token.text}".encode()) in sent:
            self._token = None
        return True

    async def _good(self, config: OAuth2Login) -> str:
        token = self._token
        if token is None or self._monotonic() >= token.until:
            async with self._turn:
                token = self._token
                if token is None or self._monotonic() >= token.until:
                    token = self._token = await self._fetch(config)
        return token.text

    async def _fetch(self, config: OAuth2Login) -> _Token:
        """A new token (RFC 6749, section 4.4)."""
        form = {"grant_type": "client_credentials"}
        if config.scope:
            form["scope"] = " ".join(config.scope)
        if config.audience is not None:
            form["audience"] = config.audience
        secret = config.client_secret.reveal()
        headers = [(b"content-type", b"application/x-www-form-urlencoded"), (b"accept", b"application/json")]
        if config.send == "body":
            form |= {"client_id": config.client_id, "client_secret": secret}
        else:
            pair = f"{quote_plus(config.client_id)}:{quote_plus(secret)}"
            headers.append((b"authorization", b"Basic " + base64.b64encode(pair.encode())))
        asked_at = self._monotonic()
        answer = await self._client.ask(
            "POST",
            Target.parse(config.token_url),
            deadline_s=self._config.timeout_s,
            headers=headers,
            body=urlencode(form).encode(),
            answer_limit=_ANSWER_LIMIT_BYTES,
        )
        self.fetched += 1
        return _token(answer, asked_at)


def _token(answer: Answer, asked_at: float) -> _Token:
    """The token in an answer. Quotes nothing of it but the codes of the standard."""
    said = _said(answer)
    if answer.status in (400, 401, 403):
        code = said.get("error")
        why = f" ({code})" if code in _CODES else ""
        raise SourceRefused(f"the token server refuses the login: HTTP {answer.status}{why}", hint=_MEND)
    if answer.status != 200:  # noqa: PLR2004  the only success that RFC 6749 knows
        detail = f"the token server answered {answer.status}"
        raise SourceUnavailable(detail, retry_after_s=answer.retry_after_s(time.time()))
    text, kind = said.get("access_token"), said.get("token_type")
    is_token = isinstance(text, str) and re.fullmatch(r"[\x21-\x7e]+", text) is not None
    if not isinstance(text, str) or not is_token or not isinstance(kind, str) or kind.lower() != "bearer":
        raise SourceUnavailable("the token server's answer holds no bearer token")
    life = re.fullmatch(r"\d{1,10}", str(said.get("expires_in")), re.ASCII)
    if life is None:
        return _Token(text, float("inf"))
    life_s = float(life[0])
    return _Token(text, asked_at + life_s - min(life_s * MARGIN, _MARGIN_LIMIT_S))


def _said(answer: Answer) -> Mapping[str, object]:
    try:
        found = jsontext.read(answer.body)
    except NotJson:
        return {}
    return found if isinstance(found, dict) else {}
