"""Walk a contract document, noting every mistake with its line instead of stopping at the first."""

from collections.abc import Mapping
from typing import Any

from sqlglot import exp

from bridge import yamlfile
from bridge.contract import expression
from bridge.errors import ConfigError


class Reader:
    """A document and the mistakes found in it so far."""

    def __init__(self, document: yamlfile.Document) -> None:
        self.document = document
        self.mistakes: list[str] = []

    def mistake(self, path: yamlfile.DataPath, what: str) -> None:
        """Note a mistake at a path."""
        self.mistakes.append(f"{self.document.at(path)}: {what}")

    def get(self, path: yamlfile.DataPath) -> Any:  # noqa: ANN401 - any YAML value
        """The value at a path; None where there is none."""
        value = self.document.data
        for step in path:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def text(self, path: yamlfile.DataPath, lack: str) -> str:
        """The text at a path; a mistake and the empty text where it is missing or blank."""
        value = self.get(path)
        if not isinstance(value, str) or not value.strip():
            self.mistake(path, lack)
            return ""
        return value.strip()

    def custom(self, path: yamlfile.DataPath) -> Mapping[str, Any]:
        """The `bridge.` settings among the customProperties below a path, without the prefix."""
        entries = self.get((*path, "customProperties")) or []
        return {
            str(entry["property"]).removeprefix("bridge."): entry.get("value")
            for entry in entries
            if str(entry.get("property", "")).startswith("bridge.")
        }

    def sql(self, path: yamlfile.DataPath, text: str) -> exp.Expression:
        """The expression at a path; a mistake and the null literal where it is none."""
        try:
            return expression.parse(text, place=self.document.at(path))
        except ConfigError as error:
            self.mistakes.append(f"{error.detail}. {error.hint}" if "Available" in error.hint else error.detail)
            return exp.Null()
