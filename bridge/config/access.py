"""The keys of `principals` and of `bridge.http.oidc`: who may do what through the HTTP door."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, model_validator

from bridge.config.kit import Section, Streams, Whole, Words, key, shaped, split

Act = Literal["read", "mend", "operate", "administer"]
Classification = Annotated[
    str, shaped(r"[A-Za-z][A-Za-z0-9 _-]{0,62}", "the `classification` of fields in contracts, like restricted")
]


class OidcConfig(Section):
    """An issuer of JSON Web Tokens."""

    issuer: str = key("Value of `iss`, an https URL.")
    audience: str = key("Value of `aud` that stands for this bridge.")
    jwks_url: str | None = key("Where its keys are; found by OpenID discovery when left out.", default=None)
    principal_claim: str = key("Claim that is matched with a principal's `subject`.", default="sub")
    allow_networks: Words = key("Private networks that the issuer may be in, like 10.1.0.0/16.", default=())

    @model_validator(mode="after")
    def _over_tls(self) -> "OidcConfig":
        for url in filter(None, (self.issuer, self.jwks_url)):
            scheme = urlsplit(url).scheme
            if scheme != "https" and not (scheme == "http" and self.allow_networks):
                raise ValueError("https URLs; plain http only within `allow_networks`")
        return self


class PrincipalConfig(Section):
    """Somebody who may use the HTTP door, with API keys (`legacy-bridge key create`) or tokens of the issuer."""

    streams: Streams = key("Names of streams it may see, or `*` for all.", default=(), live=True)
    acts: Annotated[tuple[Act, ...], BeforeValidator(split)] = key(
        "What it may do: read events; mend dead letters; operate sinks, streams, alarms; administer keys and audit.",
        default=("read",),
        live=True,
    )
    release: Annotated[tuple[Classification, ...], BeforeValidator(split)] = key(
        "Classifications whose fields it may see, besides unclassified and `public` ones.", default=(), live=True
    )
    subject: str | None = key(
        "Its claim in the issuer's tokens; none = API keys only.", default=None, live=True, min_length=1
    )
    requests_per_minute: Whole = key("Requests a minute at most.", default=600, live=True, ge=1)
    connections: Whole = key("Live connections at once.", default=20, live=True, ge=1)
