"""A view's SQL as it is sent: its own words without comments, with its parameters as values to bind.

Cut by the dialect's tokens and nothing else, so that what was linted is what the server gets, and a `:name` inside a
string stays text.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import TokenError
from sqlglot.tokenizer_core import Token, TokenType

from bridge.config.mistakes import InvalidConfig, Mistake, did_you_mean
from bridge.sources.view.parameters import Parameter
from bridge.sources.view.viewfile import View


@dataclass(frozen=True, slots=True)
class Value:
    """A value in a statement: bound by the driver, or a literal that the driver makes; never text of ours."""

    value: Any  # a parameter's value, or one of the answer's columns as the dialect keeps it
    column: str | None = None  # the column it is compared with; None: a parameter
    type: str | None = None  # the parameter's declared type


Sql = tuple[str | Value, ...]  # in order; the texts hold no value

# Of kinds of systems that sqlglot calls otherwise, or reads in its own dialect, which is near to the standard.
_SQLGLOT = {"mssql": "tsql", "firebird": "", "db2": ""}


def sqlglot_dialect(dialect: str) -> str:
    """What sqlglot calls the SQL of a kind of system."""
    return _SQLGLOT.get(dialect, dialect)


def tokens_of(view: View, dialect: str) -> list[Token]:
    """The words of a view, a last semicolon left out; `dialect` is the kind of its system.

    Raises: InvalidConfig where they cannot be told apart.
    """
    try:
        tokens = Dialect.get_or_raise(sqlglot_dialect(dialect)).tokenize(view.sql)
    except TokenError as error:
        line = next((one.get("line") for one in getattr(error, "errors", ()) if one.get("line")), 1)
        mistake = Mistake(f"{view.path}:{line}", "the SQL", "cannot be read", "complete strings, quotes and brackets")
        raise InvalidConfig(str(view.path), [mistake]) from error
    while tokens and tokens[-1].token_type is TokenType.SEMICOLON:
        tokens.pop()
    if not tokens:
        mistake = Mistake(f"{view.path}:1", "the SQL", "is missing, or a comment alone", "a SELECT below the header")
        raise InvalidConfig(str(view.path), [mistake])
    return list(tokens)


def statement(view: View, dialect: str) -> Sql:
    """The SQL of a view whose parameters have their values; `dialect` is the kind of its system.

    Raises: InvalidConfig for a `:name` that the header does not declare, and a declared one that is not used.
    """
    parameters = {parameter.name: parameter for parameter in view.parameters}
    used: set[str] = set()
    pieces: list[str | Value] = []
    mistakes = []
    tokens = tokens_of(view, dialect)
    end = tokens[0].start
    pairs = zip(tokens, [*tokens[1:], None], strict=True)
    for token, following in pairs:
        pieces.append("" if token.start == end else " ")
        if following is None or not is_parameter(token, following):
            pieces.append(view.sql[token.start : token.end + 1])
            end = token.end + 1
            continue
        name = view.sql[following.start : following.end + 1]
        mistakes += _unknown(view, name, token.line, parameters)
        used.add(name)
        pieces.append(_value(parameters.get(name)))
        end = following.end + 1
        next(pairs)  # which begins with the name
    mistakes += [
        Mistake(f"{view.path}:1", "parameter", f"{name} is not used", "a `:name` in the SQL for each parameter")
        for name in sorted(parameters.keys() - used)
    ]
    if mistakes:
        raise InvalidConfig(str(view.path), mistakes)
    return joined(pieces)


def is_parameter(token: Token, following: Token) -> bool:
    """Whether a colon and a name right behind it begin here."""
    return (
        token.token_type is TokenType.COLON
        and following.start == token.end + 1
        and (following.text[:1].isalpha() or following.text[:1] == "_")
        and following.end - following.start + 1 == len(following.text)  # not quoted
    )


def joined(pieces: Iterable[str | Value]) -> Sql:
    """The pieces with texts in a row made one."""
    found: list[str | Value] = []
    for piece in pieces:
        if isinstance(piece, str) and found and isinstance(found[-1], str):
            found[-1] += piece
        else:
            found.append(piece)
    return tuple(found)


def rendered(
    sql: Sql, hold: Callable[[Value, int], str], *, escape: Callable[[str], str] = str
) -> tuple[str, list[Value]]:
    """The statement as one text, and its values in order.

    Args:
        sql: the statement.
        hold: the placeholder of a value and its number, from 0: `lambda value, number: "?"`.
        escape: what a driver wants done to the text around placeholders (`%` doubled).
    """
    values: list[Value] = []
    parts = []
    for piece in sql:
        if isinstance(piece, str):
            parts.append(escape(piece))
        else:
            parts.append(hold(piece, len(values)))
            values.append(piece)
    return "".join(parts), values


def _value(parameter: Parameter | None) -> Value:
    return Value(parameter.value, type=parameter.type) if parameter else Value(None)


def _unknown(view: View, name: str, line: int, known: Mapping[str, Parameter]) -> list[Mistake]:
    if name in known:
        return []
    hint = did_you_mean(name, list(known))
    expected = f"a line `-- parameter: {name} TYPE = DEFAULT` in the header"
    return [Mistake(f"{view.path}:{line}", f":{name}", "is not declared", expected, hint)]
