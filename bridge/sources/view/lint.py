"""What a view may say: one SELECT that can only read, in words known to be harmless.

The tree that sqlglot reads must be made of known parts, and the words that are sent must hold none that could mean
something else to the server: each check alone would have to be wrong for a write to pass. It is the second wall; the
first is the session, which may not write (I9).
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import ErrorLevel, SqlglotError
from sqlglot.tokenizer_core import Token, TokenType

from bridge.config.mistakes import InvalidConfig, Mistake, did_you_mean
from bridge.sources.view.harmless import FUNCTIONS, NEVER
from bridge.sources.view.statement import sqlglot_dialect, statement, tokens_of
from bridge.sources.view.viewfile import View

_SCHEMA_NEEDED = frozenset({"postgres"})  # sessions without a search path
_FOLDS: Mapping[str, Callable[[str], str]] = {
    "postgres": str.lower, "oracle": str.upper, "db2": str.upper, "firebird": str.upper,
}  # fmt: skip
_PURE_SCHEMAS = frozenset({"pg_catalog", "sys", "mysql", "sysibm"})

_KNOWN_TEXT = """
    Select Subquery Union Except Intersect With CTE From Join Where Group Having Order Ordered Limit Offset Fetch
    LimitOptions Distinct Table TableAlias Alias Aliases Column ColumnDef Identifier Star Literal Null Boolean Paren
    Tuple Case If Cast TryCast DataType DataTypeParam ObjectIdentifier PseudoType Interval IntervalSpan Var Placeholder
    Window WindowSpec Filter WithinGroup IgnoreNulls RespectNulls Lateral Unnest Values Array Bracket Slice Dot And Or
    Not Xor Between In Exists Any All Is Collate AtTimeZone Escape Rollup Cube GroupingSets HexString BitString
    ByteString RawString UnicodeString National HavingMax JSONPath JSONPathRoot JSONPathKey JSONPathSubscript
    JSONPathSelector JSONPathWildcard JSONExtract JSONExtractScalar JSONBExtract JSONBExtractScalar JSONBContains
    JSONKeyValue Introducer Pivot PivotAlias WithOrdinality CurrentDate CurrentTime CurrentTimestamp CurrentDatetime
    Localtime Localtimestamp TimeStrToTime TsOrDsToDate
"""
# Besides its own errors, sqlglot raises these on what nobody writes.
_UNREADABLE = (SqlglotError, AttributeError, TypeError, ValueError, LookupError, RecursionError)
_UNKNOWN = (exp.Operator, exp.Parameter, exp.SessionParameter, exp.Command)
# Words that no harmless SELECT holds outside its strings and quoted names.
_WORDS_TEXT = """
    INSERT UPDATE DELETE MERGE UPSERT CREATE DROP ALTER TRUNCATE GRANT REVOKE CALL EXECUTE EXEC COPY INTO OUTFILE
    DUMPFILE INFILE LOAD LOCK UNLOCK SET RESET DISCARD DECLARE PREPARE DEALLOCATE LISTEN NOTIFY UNLISTEN VACUUM ANALYZE
    REINDEX CLUSTER REFRESH COMMIT ROLLBACK SAVEPOINT BEGIN ATTACH DETACH PRAGMA HANDLER PROCEDURE WAITFOR RETURNING
    SHUTDOWN KILL BACKUP RESTORE
"""
_KNOWN = frozenset(_KNOWN_TEXT.split())
_WORDS = frozenset(_WORDS_TEXT.split())
_CALLED = frozenset({"TRUNCATE"})  # a function as well
_LOCKING = frozenset({"UPDATE", "SHARE", "NO", "KEY", "READ", "BROWSE", "XML", "JSON"})  # behind FOR
_TEXTS = frozenset(
    {
        TokenType.STRING, TokenType.IDENTIFIER, TokenType.HEREDOC_STRING, TokenType.RAW_STRING, TokenType.BYTE_STRING,
        TokenType.NATIONAL_STRING, TokenType.UNICODE_STRING, TokenType.HEX_STRING, TokenType.BIT_STRING,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Linted:
    """What was found in a view."""

    mistakes: tuple[Mistake, ...]  # it is not read
    warnings: tuple[Mistake, ...] = ()  # it is read, and somebody should look
    tables: tuple[str, ...] = ()  # what it reads, as the catalogue spells it; not its own CTEs
    functions: frozenset[str] = frozenset()  # signed for, and called


def lint(view: View, dialect: str) -> Linted:
    """Look at a view's SQL.

    Args:
        view: its header is right.
        dialect: the kind of its system, one of `FUNCTIONS`.
    """
    try:
        tokens = tokens_of(view, dialect)
        statement(view, dialect)
    except InvalidConfig as error:
        return Linted(error.mistakes)
    look = _Look(view, dialect, tokens)
    words = tuple(look.words())
    try:
        trees = sqlglot.parse(view.sql, read=sqlglot_dialect(dialect), error_level=ErrorLevel.RAISE)
    except _UNREADABLE as error:
        return Linted(words or (look.unreadable(error),))
    trees = [tree for tree in trees if tree is not None]
    if len(trees) != 1 or not isinstance(trees[0], exp.Query):
        return Linted(words or (look.mistake(view.name, "is not one SELECT", "one SELECT and nothing else"),))
    return look.at(trees[0], words)


def require(view: View, dialect: str) -> None:
    """Look at a view's SQL. Raises: InvalidConfig with every mistake."""
    if mistakes := lint(view, dialect).mistakes:
        raise InvalidConfig(str(view.path), mistakes)


class _Look:
    """One pass over one view."""

    def __init__(self, view: View, dialect: str, tokens: list[Token]) -> None:
        self.view = view
        self.dialect = dialect
        self.tokens = tokens
        self.signed: set[str] = set()

    def words(self) -> Iterator[Mistake]:
        """Words that must not be there, whatever sqlglot makes of them."""
        for token, following in zip(self.tokens, [*self.tokens[1:], None], strict=True):
            word = token.text.upper()
            if token.token_type is TokenType.SEMICOLON:
                yield self.mistake("';'", "stands inside the SQL", "one statement", line=token.line)
            elif token.token_type in _TEXTS:
                continue
            elif word in _WORDS and not (word in _CALLED and following is not None and following.text == "("):
                hint = f'a column of that name is written "{token.text}"'
                yield self.mistake(
                    token.text, "is no word of a SELECT that only reads", "a SELECT", hint, line=token.line
                )
            elif word == "FOR" and following is not None and following.text.upper() in _LOCKING:
                yield self.mistake(f"FOR {following.text}", "locks rows", "a SELECT without it", line=token.line)

    def at(self, tree: exp.Query, words: tuple[Mistake, ...]) -> Linted:
        """Everything in the tree of a view that is one query."""
        mistakes = [*words, *self._parts(tree), *self._calls(tree), *self._types(tree), *self._columns(tree)]
        own = {cte.alias_or_name.lower() for cte in tree.find_all(exp.CTE)}
        tables = []
        for table in tree.find_all(exp.Table):
            if not isinstance(table.this, exp.Identifier):
                continue
            if table.args.get("db") is None:
                if table.name.lower() in own:
                    continue
                if self.dialect in _SCHEMA_NEEDED:
                    expected = f"the schema before it, like sales.{table.name}"
                    mistakes.append(self.mistake(table.name, "has no schema", expected))
            tables.append(".".join(map(self._folded, table.parts)))
        return Linted(
            tuple(dict.fromkeys(mistakes)),
            tuple(self._cares(tree)),
            tuple(dict.fromkeys(tables)),
            frozenset(self.signed),
        )

    def _folded(self, part: exp.Expr) -> str:
        """A name as the catalogue spells it."""
        if part.args.get("quoted") or self.dialect not in _FOLDS:
            return part.name
        return _FOLDS[self.dialect](part.name)

    def _parts(self, tree: exp.Query) -> Iterator[Mistake]:
        for node in tree.walk():
            name = type(node).__name__
            is_known = name in _KNOWN or isinstance(node, (exp.Binary, exp.Unary, exp.Predicate, exp.Func))
            if not is_known or isinstance(node, _UNKNOWN):
                yield self.mistake(self._shown(node), f"is a {name}, which is not known to be harmless", "plain SELECT")
            if isinstance(node, exp.Select) and node.args.get("kind"):
                yield self.mistake(str(node.args["kind"]), "is not known to be harmless", "plain SELECT")

    def _calls(self, tree: exp.Query) -> Iterator[Mistake]:
        allowed = FUNCTIONS[self.dialect]
        for call in tree.find_all(exp.Func):
            name = _name_of(call)
            if NEVER.fullmatch(name):
                yield self.mistake(f"{name}()", "writes, waits, locks or reaches outside", "no call of it")
                continue
            schema, _, plain = name.rpartition(".")
            is_plain = not schema or schema in _PURE_SCHEMAS
            if is_plain and (plain in allowed or type(call).__name__ in _KNOWN):
                continue
            if isinstance(call, (exp.Connector, exp.Binary, exp.Predicate)):
                continue  # operators that sqlglot counts among the functions
            if is_plain and type(call) in _classes(self.dialect):
                continue
            if name in self.view.allowed:
                self.signed.add(name)
                continue
            hint = did_you_mean(plain, sorted(allowed)) or f"sign for it in the header: -- allow: {name}"
            yield self.mistake(f"{name}()", "is not known to be harmless", "a function that only computes", hint)

    def _types(self, tree: exp.Query) -> Iterator[Mistake]:
        """A cast to a type that somebody made may run a function of theirs."""
        for type_ in tree.find_all(exp.DataType):
            if type_.this == exp.DataType.Type.USERDEFINED:
                name = str(type_.args.get("kind") or type_.sql()).lower().replace('"', "")
                if name not in self.view.allowed:
                    hint = f"sign for it in the header: -- allow: {name}"
                    yield self.mistake(name, "is a type that is not built in", "a built-in type", hint)

    def _columns(self, tree: exp.Query) -> Iterator[Mistake]:
        names = [column.alias_or_name.lower() for column in tree.selects]
        doubled = {name for name in names if name and name != "*" and names.count(name) > 1}
        for name in sorted(doubled):
            yield self.mistake(name, "is the name of two columns", "names of their own (AS)")
        if any(column.is_star for column in tree.selects) or isinstance(tree, exp.SetOperation):
            return
        for name in dict.fromkeys((*self.view.key, *filter(None, [self.view.cursor]))):
            if name.lower() not in names:
                expected = "a column of the SELECT: the header names it"
                yield self.mistake(name, "is not among the columns", expected, did_you_mean(name, names))

    def _cares(self, tree: exp.Query) -> Iterator[Mistake]:
        if any(column.is_star for column in tree.selects):
            yield self.mistake("*", "takes in every column that the table gets later", "columns by name: drift is told")
        if tree.args.get("order") is not None:
            yield self.mistake("ORDER BY", "costs a sort and orders nothing", "no order: pages are ordered by us")
        if any(tree.args.get(part) is not None for part in ("limit", "offset")):
            yield self.mistake("LIMIT", "hides rows: they count as deleted", "all rows; pages are cut by us")
        if any(not column.alias_or_name for column in tree.selects):
            yield self.mistake("a column", "has no name of its own", "a name (AS) for each expression")
        clocks = (exp.CurrentDate, exp.CurrentTimestamp, exp.CurrentTime, exp.CurrentDatetime)
        if any(column.find(*clocks) for column in tree.selects):
            yield self.mistake("the clock", "makes every row another at each reading", "no time of reading in a column")

    def mistake(self, what: str, problem: str, expected: str, hint: str = "", *, line: int | None = None) -> Mistake:
        place = f"{self.view.path}:{line or self._line_of(what)}"
        return Mistake(place, what, problem, expected, hint)

    def unreadable(self, error: Exception) -> Mistake:
        said: dict[str, Any] = next(iter(getattr(error, "errors", None) or [{}]))
        near = str(said.get("highlight") or "").strip()
        line = said.get("line") or self._first_line()
        return self.mistake(near or "the SQL", "cannot be read here", f"SQL of {self.dialect}", line=line)

    def _shown(self, node: exp.Expr) -> str:
        text = node.sql(sqlglot_dialect(self.dialect), comments=False)
        return text if len(text) <= 40 else text[:40] + "…"  # noqa: PLR2004  a line of it

    def _line_of(self, what: str) -> int:
        word = what.removesuffix("()").rpartition(".")[2].lower()
        return next((token.line for token in self.tokens if token.text.lower() == word), self._first_line())

    def _first_line(self) -> int:
        return self.tokens[0].line if self.tokens else 1


def _name_of(call: exp.Func) -> str:
    """The name as called, with its schema, lower case."""
    name = call.name if isinstance(call, exp.Anonymous) else type(call).sql_name()
    parent = call.parent
    if isinstance(parent, exp.Dot) and parent.expression is call:
        return f"{parent.this.sql().replace(chr(34), '')}.{name}".lower()
    if isinstance(parent, exp.Table) and parent.args.get("db") is not None:
        return ".".join([*(part.name for part in parent.parts[:-1]), name]).lower()
    return name.lower()


@functools.cache
def _classes(dialect: str) -> frozenset[type[exp.Expr]]:
    """What sqlglot makes of the allowed functions: it knows many by a class of its own. Parses each, so it is slow."""
    found: set[type[exp.Expr]] = set()
    for name in FUNCTIONS[dialect]:
        for arguments in ("", "a", "a, b", "a, b, c"):
            try:
                tree = sqlglot.parse_one(f"SELECT {name}({arguments})", read=sqlglot_dialect(dialect))
            except _UNREADABLE:
                continue
            if isinstance(tree, exp.Select) and isinstance(tree.selects[0], exp.Func):
                found.add(type(tree.selects[0]))
    return frozenset(found - {exp.Anonymous, exp.AnonymousAggFunc})
