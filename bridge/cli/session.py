"""What a command starts from: the configuration file, and the journal it names.

Promises: a configuration is looked for only where the help says; the journal is opened for reading, never created.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from bridge.errors import ConfigError

if TYPE_CHECKING:
    from bridge.config.models import Config
    from bridge.ports import Journal

FILE_NAME = "bridge.yaml"


def places() -> list[Path]:
    """Where a configuration is looked for when none is given, in order."""
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return [Path(FILE_NAME), home / "legacy-bridge" / FILE_NAME, Path("/etc/legacy-bridge") / FILE_NAME]


@dataclass(frozen=True, slots=True)
class Session:
    """The global options of one invocation."""

    given: Path | None  # --config

    @property
    def config_path(self) -> Path:
        """The configuration file. Raises: ConfigError when there is none."""
        if self.given is not None:
            if not self.given.is_file():
                raise ConfigError(f"{self.given}: no such file", hint="Name an existing file with --config.")
            return self.given
        for place in places():
            if place.is_file():
                return place
        looked = ", ".join(str(place) for place in places())
        raise ConfigError(f"no configuration found; looked at {looked}", hint="`legacy-bridge init DIR` makes one.")

    def config(self, *, online: bool = False, require_contracts: bool = True) -> "Config":
        """The whole configuration, checked.

        Args:
            online: a legacy system will be reached, so what references stand for (passwords) must be there.
            require_contracts: False where they are yet to be written.
        Raises: ConfigError with every mistake.
        """
        from bridge.config.load import load

        return load(self.config_path, require_references=online, require_contracts=require_contracts)

    @contextmanager
    def journal(self, config: "Config") -> Iterator["Journal"]:
        """The journal, open for reading and for leaving requests, beside a daemon or without one."""
        from bridge.journal.sqlite import SqliteJournal

        journal = SqliteJournal.open(config.bridge.journal.sqlite, owner=False)
        try:
            yield journal
        finally:
            journal.close()


def session(context: typer.Context) -> Session:
    """The session of a running command."""
    found = context.find_object(Session)
    return found or Session(given=None)
