"""Environment variables that override keys: ``BRIDGE_HTTP__PORT``, ``BRIDGE_SYSTEMS__ERP__POSTGRES__HOST``.

``__`` stands between the keys of a path; a path that does not start with ``systems`` or ``streams`` is one below
``bridge``. ``..._FILE`` gives the path of a file that holds a secret. In names, ``-`` is written ``_``.
A variable whose first key is none of ours is left alone: Kubernetes sets ``BRIDGE_SERVICE_HOST`` and the like for every
pod beside a service called bridge.
"""

from collections.abc import Mapping
from typing import Any

from bridge.config import keys

PREFIX = "BRIDGE_"
_TOP = ("systems", "streams")


def override(data: dict[str, Any], environ: Mapping[str, str]) -> dict[tuple[str, ...], str]:
    """Put the values of ``BRIDGE_*`` variables into `data`, in place.

    Returns: the path of each key that was set, with the variable that set it. Unknown keys are set as well: the models
    report them.
    """
    places: dict[tuple[str, ...], str] = {}
    for variable in sorted(name for name in environ if name.startswith(PREFIX)):
        words = variable.removeprefix(PREFIX).lower().split("__")
        value = environ[variable]
        if words[-1].endswith("_file"):
            words[-1], value = words[-1].removesuffix("_file"), f"${{file:{value}}}"
        path = tuple(words) if words[0] in _TOP else ("bridge", *words)
        if words[0] in _TOP or words[0] in keys.below(("bridge",)):
            places[_put(data, path, value)] = variable
    return places


def _put(data: dict[str, Any], path: tuple[str, ...], value: str) -> tuple[str, ...]:
    """Set the value, with the spelling of keys that are already there; returns the path as spelt."""
    here, spelt = data, []
    for index, word in enumerate(path):
        key = next((key for key in here if key.lower().replace("-", "_") == word), word)
        spelt.append(key)
        if index == len(path) - 1:
            here[key] = value
        else:
            if not isinstance(here.get(key), dict):
                here[key] = {}
            here = here[key]
    return tuple(spelt)
