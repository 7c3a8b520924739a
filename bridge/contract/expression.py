"""SQL expressions of a contract: parsed, held to an allow-list, never executed as SQL.

Promises: what `parse` returns contains only constructs `normalise` can compile, at most `MAX_NODES` of them; anything
else is a ConfigError with file, line and column that lists what exists.
"""

from collections.abc import Iterator

import sqlglot
from sqlglot import exp
from sqlglot.errors import ErrorLevel, SqlglotError

from bridge.errors import ConfigError

MAX_CHARACTERS = 4_000
MAX_NODES = 400
MAX_NESTING = 40

# Functions of ours, with the least and most arguments.
LEGACY_FUNCTIONS = {
    "cyymmdd": (1, 2),
    "implied_decimal": (2, 2),
    "code": (3, 81),
    "repair_charset": (2, 2),
    "local_time": (2, 2),
}

CALLS: dict[type[exp.Expression], str] = {
    exp.Coalesce: "coalesce",
    exp.Nullif: "nullif",
    exp.Cast: "cast",
    exp.Lower: "lower",
    exp.Upper: "upper",
    exp.Trim: "trim, btrim, ltrim, rtrim",
    exp.Substring: "substring, substr",
    exp.Left: "left",
    exp.Right: "right",
    exp.Replace: "replace",
    exp.Pad: "lpad",
    exp.Length: "length",
    exp.Abs: "abs",
    exp.Round: "round",
    exp.TimestampTrunc: "date_trunc",
    exp.Extract: "extract",
}

_SYNTAX: frozenset[type[exp.Expression]] = frozenset(
    {
        exp.Column, exp.Identifier, exp.Literal, exp.Boolean, exp.Null, exp.Paren, exp.Neg,
        exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.DPipe,
        exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE,
        exp.And, exp.Or, exp.Not, exp.Is, exp.In, exp.Between, exp.Like, exp.ILike,
        exp.Case, exp.If, exp.DataType, exp.DataTypeParam, exp.Var,
    }
)  # fmt: skip

_AVAILABLE = (
    "Available: columns, literals, + - * / % ||, comparisons, and, or, not, is null, in, between, like, ilike, case, "
    + ", ".join([*CALLS.values(), *LEGACY_FUNCTIONS])
    + "."
)


def parse(text: str, *, place: str) -> exp.Expression:
    """Parse one expression in PostgreSQL's SQL.

    Args:
        text: the expression as written.
        place: ``file:line`` of the text for messages.
    Raises: ConfigError when it is no expression, too large, or uses what is not available.
    """
    if len(text) > MAX_CHARACTERS or text.count("(") > MAX_NODES:
        raise ConfigError(f"{place}: the expression is larger than {MAX_CHARACTERS} characters")
    try:
        tree = sqlglot.parse_one(text, read="postgres", error_level=ErrorLevel.RAISE)
    except (SqlglotError, RecursionError, ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
        raise ConfigError(f"{place}: is not a SQL expression{_column_of(error)}", hint=_AVAILABLE) from error
    if not isinstance(tree, exp.Expression):
        raise ConfigError(f"{place}: is not a SQL expression", hint=_AVAILABLE)
    for count, (node, depth) in enumerate(_walk(tree)):
        if count >= MAX_NODES or depth > MAX_NESTING:
            raise ConfigError(f"{place}: the expression has more than {MAX_NODES} parts or {MAX_NESTING} levels")
        _admit(node, place)
    return tree


def columns(tree: exp.Expression) -> frozenset[str]:
    """The column names an expression reads; unquoted ones in lower case, as PostgreSQL folds them."""
    return frozenset(name_of(column) for column in tree.find_all(exp.Column))


def name_of(column: exp.Expression) -> str:
    """The folded name of a column reference."""
    identifier = column.this
    return str(identifier.this) if identifier.args.get("quoted") else str(identifier.this).lower()


def _walk(tree: exp.Expression) -> Iterator[tuple[exp.Expression, int]]:
    pending = [(tree, 0)]
    while pending:
        node, depth = pending.pop()
        yield node, depth
        pending.extend((child, depth + 1) for child in node.iter_expressions())


def _admit(node: exp.Expression, place: str) -> None:
    where = place
    if node.meta.get("line"):
        where = f"{place} (line {node.meta['line']}, column {node.meta['col']} of the expression)"
    if isinstance(node, exp.Anonymous):
        name = str(node.this).lower()
        if name not in LEGACY_FUNCTIONS:
            raise ConfigError(f"{where}: there is no function `{name[:60]}`", hint=_AVAILABLE)
        least, most = LEGACY_FUNCTIONS[name]
        if not least <= len(node.expressions) <= most:
            raise ConfigError(f"{where}: `{name}` takes {least} to {most} arguments, not {len(node.expressions)}")
    elif type(node) not in CALLS and type(node) not in _SYNTAX:
        raise ConfigError(f"{where}: `{type(node).__name__.lower()}` is not available here", hint=_AVAILABLE)
    elif isinstance(node, exp.Column) and (len(node.parts) > 1 or not isinstance(node.this, exp.Identifier)):
        raise ConfigError(f"{where}: write the column's bare name", hint=_AVAILABLE)


def _column_of(error: Exception) -> str:
    details = getattr(error, "errors", None)
    if not details or not details[0].get("col"):
        return ""
    return f" (line {details[0]['line']}, column {details[0]['col']} of the expression)"
