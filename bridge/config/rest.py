"""The keys of systems that offer HTTP only (`rest`), and of what a stream reads there (`resource`)."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, model_validator

from bridge.config.inbox import BasicLogin
from bridge.config.kit import LocalPath, Networks, Number, Section, WebUrl, Whole, Words, key, one_of, shaped
from bridge.config.schedule import Bounds
from bridge.config.secrets import Secret

LOGINS = ("basic", "bearer", "oauth2")
PAGINGS = ("link", "cursor", "page", "offset")
_OURS = {
    "authorization",
    "connection",
    "content-length",
    "host",
    "if-modified-since",
    "if-none-match",
    "transfer-encoding",
}
ITEM_KEY = re.compile(r"\{([^{}]*)\}")  # a field of the key in a path
_FIELD = r"[^\x00-\x1f]{1,255}"
Field = Annotated[str, shaped(_FIELD, "a field of the answer, one within another like meta.next")]
Parameter = Annotated[str, shaped(r"[^\x00-\x20&=#]{1,255}", "the name of a parameter in the query")]
ResourcePath = Annotated[str, shaped(r"/[^\x00-\x20?#]*", "a path like /customers, without a query")]


def _headers(headers: Mapping[str, Secret]) -> Mapping[str, Secret]:
    if not all(re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}", name) for name in headers):
        raise ValueError("names of headers")
    if {name.lower() for name in headers} & _OURS:
        raise ValueError("no header that the bridge sets itself, like authorization")
    return headers


class OAuth2Login(Section):
    """A token by client credentials (RFC 6749, section 4.4), fetched when one is needed."""

    token_url: WebUrl = key("Where tokens are given.")
    client_id: str = key("Client.", min_length=1, max_length=255)
    client_secret: Secret = key("Its secret: a reference.")
    scope: Words = key("Scopes asked for.", default=())
    audience: str | None = key("Audience asked for, where the server wants one.", default=None)
    send: Literal["header", "body"] = key("Where client and secret are sent.", default="header")


class RestSystemConfig(Section):
    """A system that is read by HTTP requests, all of them GET."""

    url: WebUrl = key("What paths of resources follow; https, or http on a network that `allow_networks` names.")
    basic: BasicLogin | None = key("User and password.", default=None)
    bearer: Secret | None = key("A token that does not change: a reference.", default=None)
    oauth2: OAuth2Login | None = key("A token by client credentials.", default=None)
    headers: Annotated[Mapping[str, Secret], AfterValidator(_headers)] = key(
        "More headers of every request, like x-api-key; references where they are secret.", default={}
    )
    allow_networks: Networks = key(
        "Private networks that requests may go to, like 10.1.0.0/16; public ones always may.", default=()
    )
    ca_file: LocalPath | None = key("File of authorities to trust instead of the system's.", default=None)
    timeout_s: Number = key("Seconds until an answer is given up.", default=30.0, gt=0, le=600)
    answer_megabytes: Whole = key("Largest answer that is read.", default=16, ge=1, le=256)

    @model_validator(mode="after")
    def _one_login(self) -> "RestSystemConfig":
        if "?" in self.url:
            raise ValueError("a `url` without a query")
        if any(getattr(self, name) is not None for name in LOGINS):
            one_of(self, *LOGINS)
        return self


class LinkPaging(Section):
    """The answer says where the next page is."""

    next: Field | None = key("Field of the answer with the next URL; the `Link` header when left out.", default=None)


class CursorPaging(Section):
    """The answer has a mark that the next request gives back."""

    parameter: Parameter = key("Parameter that takes the mark.", default="cursor")
    next: Field = key("Field of the answer with the mark; absent, null or empty on the last page.")


class PagePaging(Section):
    """Pages are numbered; the first without a record is behind the last."""

    parameter: Parameter = key("Parameter that takes the number.", default="page")
    first: Whole = key("Number of the first page.", default=1, ge=0)
    end_status: Literal[400, 404, 410, 416, 422] | None = key(
        "Status of a page behind the last, where that is no empty list; it has to come twice.", default=None
    )


class OffsetPaging(Section):
    """Records are counted; the first page without one is behind the last."""

    parameter: Parameter = key("Parameter that takes how many records to leave out.", default="offset")


class PagingConfig(Section):
    """How one request follows another."""

    link: LinkPaging | None = key("The answer says where the next page is; `{}` = by its `Link` header.", default=None)
    cursor: CursorPaging | None = key("The answer has a mark that the next request gives back.", default=None)
    page: PagePaging | None = key("Pages are numbered.", default=None)
    offset: OffsetPaging | None = key("Records are counted.", default=None)

    @model_validator(mode="after")
    def _one_way(self) -> "PagingConfig":
        one_of(self, *PAGINGS)
        return self


class SinceConfig(Section):
    """How only those records are asked for that changed since a moment."""

    parameter: Parameter = key("Parameter that takes the moment or number.")
    format: Literal["iso", "date", "seconds", "milliseconds"] = key(
        "How a moment is written: ISO 8601, its day, Unix time. Numbers and text go as they are.", default="iso"
    )


class ResourceConfig(Section):
    """Records of one sort, as an API lists them."""

    path: ResourcePath = key("Path below the system's `url`.")
    item: ResourcePath | None = key(
        "Path of one record, its key in braces like /customers/{id}: a few chosen records are asked for one by one.",
        default=None,
    )
    parameters: Mapping[str, str | int | float | bool] = key("Parameters of every request, by name.", default={})
    items: Field | None = key("Field of the answer that holds the list; the answer itself when left out.", default=None)
    mode: Literal["incremental", "full", "append"] = key("How changes are found.", default="full")
    cursor: Field | None = key("Field that grows with every change of a record.", default=None)
    cursor_type: Literal["instant", "timestamp", "integer", "text"] = key(
        "What the cursor is: a time with a zone, a time without, a number, or text that sorts.", default="instant"
    )
    overlap: Bounds = key(
        "Least and most that a change may be listed late: `1m, 1h`; of a cursor that is a number, plain numbers.",
        default="1m, 1h",
    )
    since: SinceConfig | None = key("How the records changed since then are asked for.", default=None)
    paging: PagingConfig | None = key("How the rest of a list is asked for; one answer holds all when left out.",
        default=None)  # fmt: skip
    size: Parameter | None = key("Parameter that takes how many records a page may have.", default=None)
    page_rows: Whole = key("Records asked for in a page.", default=100, ge=1, le=100_000)
    total: Field | None = key(
        "Field of the answer that counts all records, or `header:NAME`; a list that does not add up is read again.",
        default=None,
    )
    reading_megabytes: Whole = key("Memory that all records of one reading may take.", default=256, ge=1, le=4096)

    key: Words = key("Fields that name a record.", min_length=1)  # the last: from here on the word means this

    @model_validator(mode="after")
    def _whole(self) -> "ResourceConfig":
        if self.mode != "full" and (self.cursor is None or self.since is None):
            raise ValueError(f"`cursor` and `since` beside `mode: {self.mode}`")
        since = self.since.format if self.since is not None else None
        if self.cursor_type == "timestamp" and since in ("seconds", "milliseconds"):
            raise ValueError("`since.format` iso or date beside `cursor_type: timestamp`: nobody knows its zone")
        if self.size is not None and self.paging is None:
            raise ValueError("`paging` beside `size`: else all but the first page would be missed")
        if self.item is not None and sorted(ITEM_KEY.findall(self.item)) != sorted(self.key):
            raise ValueError("each field of `key` once in `item`, in braces")
        return self
