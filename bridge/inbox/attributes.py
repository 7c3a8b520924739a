"""What makes a CloudEvent one: its attributes, whichever way they came. Pure.

Promises: what breaks a rule of the specification is named, and nothing is corrected: a time that is none is not
replaced by another. Does not look at data, and not at whether a URI could be fetched.

Source: CloudEvents 1.0.2, "Context Attributes" and "Type System"; "JSON Event Format" 2.2 and 3.1.
"""

import re
from collections.abc import Mapping
from datetime import datetime

from bridge.inbox.jsontext import Number, Value

REQUIRED = ("id", "source", "specversion", "type")
_TEXTS = {*REQUIRED, "datacontenttype", "dataschema", "subject", "time"}  # of the specification's own, all that we read
_NAME = re.compile(r"[a-z0-9]+\Z")
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+ *(?:;.*)?\Z", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)\Z", re.ASCII)
_WHOLE = re.compile(r"-?\d{1,10}\Z", re.ASCII)
_INTEGERS = range(-(2**31), 2**31)


def flaw(attributes: Mapping[str, Value]) -> str | None:
    """What is wrong with the attributes of an event; None where nothing is.

    Args:
        attributes: by name, as JSON has them or as text; those that are null are left out.
    """
    if not set(REQUIRED) <= attributes.keys():
        return "lacks a required attribute"
    found = next((found for each in attributes.items() if (found := _flaw_of(*each))), None)
    if found is None and attributes["specversion"] != "1.0":
        found = "is of a version other than 1.0"
    return found


def _flaw_of(name: str, value: Value) -> str | None:
    if not _NAME.match(name):
        return "has an attribute whose name is none"
    if name not in _TEXTS:
        return None if _is_simple(value) else "has an extension that is no text, truth value or integer of 32 bits"
    if not _is_text(value):
        return f"has an attribute {name} that is empty or no text"
    if name == "time" and moment(value) is None:
        return "has a time that is none"
    if name == "datacontenttype" and not _MEDIA_TYPE.match(value):
        return "has a content type that is none"
    return None


def moment(text: str) -> datetime | None:
    """The instant that a text of RFC 3339 names, to the microsecond; None where it names none."""
    try:
        return datetime.fromisoformat(text) if _TIME.match(text) else None
    except ValueError:
        return None


def _is_text(value: Value) -> bool:
    return isinstance(value, str) and not isinstance(value, Number) and value != ""


def _is_simple(value: Value) -> bool:
    if isinstance(value, Number):
        return _WHOLE.match(value) is not None and int(value) in _INTEGERS
    return isinstance(value, (str, bool))
