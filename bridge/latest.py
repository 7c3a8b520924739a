"""The newest row of each key of a stream, in memory that grows with the keys and not with the rows."""

from collections.abc import Sequence

import polars as pl

from bridge.model import Op

KEY = "_key"
_COMPACT_ROWS = 200_000  # rows gathered before those of one key are reduced to the last


class Latest:
    """Rows of event columns (`_key` among them) as frames, reduced to the last of each key.

    Args:
        fill: columns in which null means that the row does not say: the row before it of the same key does.
    """

    def __init__(self, fill: Sequence[str] = ()) -> None:
        self._fill = list(fill)
        self._pages: list[pl.DataFrame] = []
        self._row_count = self._key_count = 0

    def add(self, page: pl.DataFrame) -> None:
        """Newer rows; those without a key do not count."""
        self._pages.append(page.filter(pl.col(KEY).is_not_null()))
        self._row_count += page.height
        if self._row_count > 2 * self._key_count + _COMPACT_ROWS:
            self._compact()

    def clear(self) -> None:
        """Every key is gone."""
        self._pages, self._row_count, self._key_count = [page.clear() for page in self._pages[:1]], 0, 0

    def rows(self) -> pl.DataFrame | None:
        """One row a key; None when there never was a page."""
        self._compact()
        return self._pages[0] if self._pages else None

    def _compact(self) -> None:
        if not self._pages:
            return
        whole = pl.concat(self._pages, how="diagonal_relaxed")
        last = whole.unique(KEY, keep="last", maintain_order=True)
        unsaid = last.filter(pl.any_horizontal(pl.col(self._fill).is_null())) if self._fill else last.clear()
        if unsaid.height and last.height < whole.height:
            told = whole.join(unsaid.select(KEY), on=KEY, how="semi")
            told = told.with_columns(pl.col(self._fill).forward_fill().over(KEY))
            told = told.unique(KEY, keep="last", maintain_order=True)
            last = pl.concat([last.join(unsaid.select(KEY), on=KEY, how="anti"), told])
        self._pages, self._row_count, self._key_count = [last], last.height, last.height


def after_truncate(page: pl.DataFrame) -> tuple[pl.DataFrame, bool]:
    """The rows behind the last truncate of a page with `_op`, and whether there was one; it ends every key so far."""
    truncates = page["_op"] == Op.TRUNCATE
    if not truncates.any():
        return page, False
    return page.slice(int(truncates.arg_true()[-1]) + 1), True
