"""What the operator wants read from one PostgreSQL: the values that preflight and the DBA's script are made from."""

from dataclasses import dataclass

from psycopg import sql

from bridge.errors import ConfigError

# The closed list of what an operator may sign for, in `allow`.
WAIVERS = frozenset({"public_temp", "public_create", "security_definer", "can_write", "unlimited_slot"})


@dataclass(frozen=True, slots=True)
class Capture:
    """One table to read."""

    table: str  # "schema.name", as the catalog writes them, without quotes
    capture_secrets: bool = False  # read it although it looks like sessions or credentials

    def __post_init__(self) -> None:
        if not all(self.table.partition(".")):
            raise ConfigError(f"{self.table!r} is not of the form schema.table")

    @property
    def parts(self) -> tuple[str, str]:
        """Schema and name."""
        schema, _, name = self.table.partition(".")
        return schema, name


@dataclass(frozen=True, slots=True)
class Setup:
    """The tables of one system and the names of what the server keeps for us."""

    captures: tuple[Capture, ...]
    slot: str = "legacy_bridge"
    publication: str = "legacy_bridge"  # tables with a replica identity
    insert_publication: str = "legacy_bridge_inserts"  # keyless tables: publishes inserts only
    failover: bool = False  # standbys keep a copy of the slot, PostgreSQL 17 and later
    waivers: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if unknown := self.waivers - WAIVERS:
            raise ConfigError(f"unknown waiver {sorted(unknown)}", hint=f"Known are: {', '.join(sorted(WAIVERS))}.")


def quoted(*names: str) -> str:
    """An identifier, qualified by those before it, as SQL writes it."""
    return sql.Identifier(*names).as_string()
