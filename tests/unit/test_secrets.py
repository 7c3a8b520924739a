"""Secrets are read when needed and never printed."""

import copy
import json
from pathlib import Path

import pytest
from pydantic import BaseModel

from bridge.config.secrets import Secret, is_secret_name, redact, resolve
from bridge.errors import SecretUnavailable


def test_a_rotated_file_gives_the_new_value_at_the_next_use(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("first\n")
    secret = Secret("${file:pw}", folder=tmp_path)
    assert secret.reveal() == "first"
    (tmp_path / "new").write_text("second\r\n")
    (tmp_path / "new").rename(tmp_path / "pw")
    assert secret.reveal() == "second"


def test_each_kind_of_reference_is_resolved_where_it_says(tmp_path: Path) -> None:
    (tmp_path / "erp").write_text("from systemd")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), "A": "x"}
    assert Secret("${credential:erp}", environ=environ).reveal() == "from systemd"
    assert Secret("a-${env:A}-${env:A}", environ=environ).reveal() == "a-x-x"
    assert Secret("$${env:A}", environ=environ).reveal() == "${env:A}", "a doubled dollar is a literal"
    assert Secret("pa$$word$", environ=environ).reveal() == "pa$$word$"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("${env:B}", "not set"),
        ("${env:EMPTY}", "empty"),
        ("${file:nowhere}", "No such file"),
        ("${file:folder}", "directory"),
        ("${file:binary}", "not UTF-8"),
        ("${file:nul}", "binary"),
        ("${file:blank}", "is empty"),
        ("${file:huge}", "larger than"),
        ("${credential:../pw}", "without slashes"),
        ("${credential:..}", "without slashes"),
        ("${ERP_PASSWORD}", "not a reference"),
        ("${vault:x}", "not a reference"),
        ("${env:}", "not a reference"),
    ],
)
def test_a_reference_that_leads_nowhere_says_why_and_nothing_else(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "binary").write_bytes(b"canary\xff")
    (tmp_path / "nul").write_bytes(b"canary\0")
    (tmp_path / "blank").write_text("\n")
    (tmp_path / "huge").write_text("canary" * 20_000)
    secret = Secret(text, folder=tmp_path, environ={"EMPTY": "", "CREDENTIALS_DIRECTORY": str(tmp_path)})
    with pytest.raises(SecretUnavailable, match=reason) as caught:
        secret.reveal()
    assert "canary" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None, "a cause may quote the content"


def test_a_secret_never_prints_in_any_form() -> None:
    class Model(BaseModel):
        password: Secret

    secret = Secret("canary")
    model = Model(password=secret.reveal())  # type: ignore[arg-type]  # text is what a file holds
    forms = [str(secret), repr(secret), f"{secret}", f"{secret:>10}", "%s %r" % (secret, secret), secret.reference]  # noqa: UP031
    forms += [repr([secret]), repr(model), str(model), model.model_dump_json(), json.dumps({"p": secret}, default=str)]
    assert "canary" not in " ".join(forms)
    assert copy.deepcopy(model).password.reveal() == "canary"


def test_two_secrets_are_equal_when_their_references_are() -> None:
    assert Secret("${env:A}") == Secret("${env:A}")
    assert len({Secret("${env:A}"), Secret("${env:A}"), Secret("${env:B}")}) == 2


def test_only_the_allowed_kinds_are_read() -> None:
    with pytest.raises(SecretUnavailable, match="for secrets only"):
        resolve("${file:/etc/hostname}", folder=Path(), environ={}, kinds=frozenset({"env"}))


@pytest.mark.parametrize(
    "text",
    [
        "postgres://bridge:canary@db/erp failed",
        "https://user:canary@host",
        "connection to host=db password=canary user=x",
        "password='canary' host=db",
        "PGPASSWORD=canary",
        '{"api_key": "canary"}',
        "{'client_secret': 'canary'}",
        "token: canary",
        "access_token=canary&x=1",
    ],
)
def test_free_text_loses_what_looks_like_a_credential(text: str) -> None:
    assert "canary" not in redact(text)
    assert "***" in redact(text)


def test_ordinary_text_stays_as_it_is() -> None:
    for text in ("connection refused by db:5432", "http://host:8079/livez", "table sales.tokens has no key", "a@b.c"):
        assert redact(text) == text
    assert [
        name for name in ("password", "db_password", "apiKey", "token", "DSN", "user", "key") if is_secret_name(name)
    ] == [
        "password",
        "db_password",
        "apiKey",
        "token",
        "DSN",
    ]
