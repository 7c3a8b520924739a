"""Each kind of database has a session of its own behind the one extractor."""

from pathlib import Path

import pytest

from bridge.config.load import load
from bridge.errors import ConfigError
from bridge.extractors import build_extractor

SERVER = "host: db, database: shop, user: bridge_ro"
SYSTEMS = {
    "postgres": "{host: db}",
    "mysql": f"{{{SERVER}}}",
    "sqlite": "{path: till.db}",
    "firebird": f"{{{SERVER}}}",
    "mssql": f"{{{SERVER}}}",
    "oracle": f"{{{SERVER}}}",
    "db2": f"{{{SERVER}}}",
}


@pytest.mark.parametrize("kind", SYSTEMS)
def test_every_kind_of_database_is_read_by_views(kind: str, tmp_path: Path) -> None:
    (tmp_path / "v.sql").write_text("-- mode: full\n-- key: id\nSELECT id FROM shop.orders\n")
    (tmp_path / "bridge.yaml").write_text(
        f"bridge: {{name: acme, type_prefix: com.acme}}\nsystems: {{shop: {{{kind}: {SYSTEMS[kind]}}}}}\n"
        "streams: {orders: {system: shop, view: v.sql, contract: c.yaml}}\n"
    )
    (tmp_path / "c.yaml").touch()
    config = load(tmp_path / "bridge.yaml")
    assert build_extractor(config, "shop", {}).name == "shop"


def test_another_kind_has_no_views(tmp_path: Path) -> None:
    (tmp_path / "bridge.yaml").write_text(
        "bridge: {name: acme, type_prefix: com.acme}\nsystems: {hook: {webhook: {basic: {user: a, password: "
        "'${env:HOOK}'}}}}\nstreams: {orders: {system: hook, webhook: orders, contract: c.yaml}}\n"
    )
    (tmp_path / "c.yaml").touch()
    with pytest.raises(ConfigError):
        build_extractor(load(tmp_path / "bridge.yaml"), "hook", {})
