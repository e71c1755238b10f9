"""Compares two versions of a table: rows added, removed and changed, by key, and which columns changed.

One pass over both versions cancels all rows that are equal. Only what is left is matched by key, so the work after that
pass grows with the difference, not with the table.

Values are equal as DuckDB's `IS NOT DISTINCT FROM` says: null equals null, NaN equals NaN, numbers are equal exactly
or not at all. JSON is compared as a value: neither the order of an object's keys nor blanks count.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date
from glob import escape
from itertools import takewhile
from typing import Literal

import duckdb
from upath import UPath

from mds_assets.stack.io_managers.duckdb import scan
from mds_assets.stack.lake.layout import parse_folder
from mds_assets.stack.redaction import shown
from mds_assets.stack.table import DAY, Table, literal, quote

_SAMPLES = 5  # rows of each kind
_SAMPLE_COLUMNS = 6  # of one row
_MAX_TEXT = 80  # characters of a value
_SAME = 20  # of them, before the first difference
_MAX_COMMENT = 60_000  # GitHub refuses a comment of more than 65,536 characters, GitLab takes a million
_PRIVATE = "(private)"

# JSON that has a number longer than a DOUBLE is exact is compared as text: as values, two such numbers may be equal.
_LONG_NUMBER = "[0-9.]{16}"

# What acts in GitHub's Markdown, math and references to issues included: `_` only at the edge of a word, `.` and `:`
# only in what looks like a URL.
_ACTS = re.compile(r"[&<>|`*~\[\]\\@!#$^]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|(?<=[wW])\.|:(?=/)")

# Names that no declaration has.
_COPIES, _PUBLIC = quote("# copies"), quote("# public")


@dataclass(frozen=True)
class Sample:
    """One changed value, or an added or removed row.

    Attributes:
        change: What happened to the row.
        key: The key's values as text; all columns' if the table declares no key.
        column: The changed column; None for an added or removed row.
        before: The value as text; None for null.
        after: The same.
    """

    change: Literal["changed", "added", "removed"]
    key: Mapping[str, str | None]
    column: str | None = None
    before: str | None = None
    after: str | None = None


@dataclass(frozen=True)
class Difference:
    """What differs between two versions of a table.

    Attributes:
        name: The table.
        key: The columns that rows are matched by, `day` included; none if rows are compared whole.
        days: How many days were compared; None for a table without partitions.
        days_changed: How many of them differ.
        days_added: Those that only the new version has a file of, which may have no rows.
        days_removed: Those that only the old version has a file of.
        rows_before: Rows of the old version.
        rows_after: Rows of the new version.
        added: Rows with a key that is new. Without a key, rows that the old version doesn't have, or has less often.
        removed: The opposite.
        changed: Rows with the same key and another value.
        columns: How many of the changed rows have another value in a column, for each such column.
        columns_added: Columns that only the new version's files have; they are not compared.
        columns_removed: Columns that only the old version's files have; they are not compared.
        columns_retyped: The old and new type of columns whose type changed; their values are compared as text.
        duplicate_keys: Keys that come more than once in a version, and whose rows differ. Such rows are compared whole:
            they are added or removed, never changed.
        samples: Some of the rows, the first ones by key.
    """

    name: str
    key: Sequence[str] = ()
    days: int | None = None
    days_changed: int = 0
    days_added: Sequence[date] = ()
    days_removed: Sequence[date] = ()
    rows_before: int = 0
    rows_after: int = 0
    added: int = 0
    removed: int = 0
    changed: int = 0
    columns: Mapping[str, int] = field(default_factory=dict[str, int])
    columns_added: Sequence[str] = ()
    columns_removed: Sequence[str] = ()
    columns_retyped: Mapping[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    duplicate_keys: int = 0
    samples: Sequence[Sample] = ()

    @property
    def is_empty(self) -> bool:
        """Whether both versions are equal, in rows, columns and days."""
        rows = self.added, self.removed, self.changed
        columns = self.columns_added, self.columns_removed, self.columns_retyped
        return not any((*rows, *columns, self.days_added, self.days_removed))


def compare(
    con: duckdb.DuckDBPyConnection,
    name: str,
    table: Table,
    before: Iterable[UPath],
    after: Iterable[UPath],
    *,
    partitioned: bool = True,
    show_values: bool = False,
) -> Difference:
    """What differs between two versions of a table.

    Columns that only one version has are named, and the others compared. A key of which a column is missing in a
    version, is none: rows are compared whole then.

    Args:
        con: A connection that can read both versions (`Lake.register`). It gets neither settings nor tables.
        name: The table, such as `marts/revenue`.
        table: Its declaration, as of the new version.
        before: The files of the old version.
        after: The files of the new version.
        partitioned: Whether the files are in partitions, so that `day` comes from their path.
        show_values: Whether samples may have values of private columns: `settings.previews_allowed()`. Otherwise, they
            only have those of rows that the table declares public.

    Raises:
        duckdb.Error: A file cannot be read.
    """
    with closing(con.cursor()) as own:  # has temporary tables and settings of its own
        own.execute("SET TimeZone = 'UTC'")
        return _Comparison(own, name, table, list(before), list(after), partitioned, show_values).difference()


class _Comparison:
    """The two versions, and the SQL over them. Column number N of those that are compared is `"# N"` in all queries."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        name: str,
        table: Table,
        before: list[UPath],
        after: list[UPath],
        partitioned: bool,
        show_values: bool,
    ) -> None:
        self.con, self.name, self.table = con, name, table
        self.partitioned, self.show_values = partitioned, show_values
        self.files = before, after
        self.types = [_types(con, files) for files in self.files]
        old, new = self.types
        # A version without files has no rows, and says nothing of columns.
        known_old, known_new = old or new, new or old
        self.columns = [each for each in table.names if each in known_old and each in known_new]
        self.retyped = {each: (old[each], new[each]) for each in self.columns if old and new and old[each] != new[each]}
        self.only = [[each for each in one if each not in other] for one, other in ((known_old, new), (known_new, old))]
        if not (old and new):
            self.only = [[], []]
        self.compared = [*self.columns, *([DAY] if partitioned else [])]
        self.is_keyed = bool(table.key) and set(table.key) <= set(self.columns)
        self.key = [*table.key, *([DAY] if partitioned else [])] if self.is_keyed else []
        self.number = {each: quote(f"# {number}") for number, each in enumerate(self.compared)}
        self.json = {
            column.name: quote(f"# value of {self.number[column.name][3:-1]}")
            for column in table.columns
            if column.type == "JSON" and column.name in self.number and column.name not in self.key
        }

    def difference(self) -> Difference:
        """Run the queries."""
        before, after = (self._count(version) for version in (0, 1))
        removed_columns, added_columns = self.only
        old_days, new_days = (
            {day for file in files if (day := parse_folder(file.parent.name))} for files in self.files
        )
        days = (old_days, new_days) if self.partitioned else (set[date](), set[date]())
        added, removed, changed, duplicates, changed_days = after, before, 0, 0, set[date]()
        columns: dict[str, int] = {}
        samples: list[Sample] = []
        if self.compared:
            self._find_differing()
            duplicates = self._find_duplicates()
            self._find_pairs()
            changed, columns = self._count_changed()
            added, removed = self._count_others(changed)
            changed_days = self._changed_days()
            samples = list(self._samples())
        return Difference(
            name=self.name,
            key=self.key,
            days=len(days[0] | days[1]) if self.partitioned else None,
            days_changed=len(changed_days | (days[0] ^ days[1])),
            days_added=sorted(days[1] - days[0]),
            days_removed=sorted(days[0] - days[1]),
            rows_before=before,
            rows_after=after,
            added=added,
            removed=removed,
            changed=changed,
            columns=columns,
            columns_added=added_columns,
            columns_removed=removed_columns,
            columns_retyped=self.retyped,
            duplicate_keys=duplicates,
            samples=samples,
        )

    def _rows(self, version: int, columns: Iterable[str]) -> str:
        """A SELECT of these columns of a version, by number."""
        patterns = [escape(str(file)) for file in self.files[version]]
        selected = [
            f"{quote(each)}{'::VARCHAR' if each in self.retyped else ''} AS {self.number[each]}" for each in columns
        ]
        types = (self.types[version] or self.types[1 - version]) | ({DAY: "DATE"} if self.partitioned else {})
        known = {each: types.get(each, "VARCHAR") for each in self.compared}  # unknown if neither version has files
        return f"SELECT {', '.join(selected)} FROM ({scan(patterns, known, partitioned=self.partitioned)})"  # noqa: S608

    def _count(self, version: int) -> int:
        files = ", ".join(literal(escape(str(file))) for file in self.files[version])
        return self._one(f"SELECT count(*) FROM read_parquet([{files}], union_by_name = true)") if files else 0  # noqa: S608

    def _find_differing(self) -> None:
        """`differing`: rows that one version has more often, and how much more the new one has; never 0."""
        numbers = ", ".join(self.number.values())
        both = " UNION ALL ".join(
            f"SELECT *, {sign} AS {_COPIES} FROM ({self._rows(version, self.compared)})"  # noqa: S608
            for version, sign in ((0, -1), (1, 1))
        )
        query = (
            f"SELECT {numbers}, sum({_COPIES}) AS {_COPIES} FROM ({both}) GROUP BY {numbers} HAVING sum({_COPIES}) <> 0"  # noqa: S608
        )
        if self.json:
            # As text first, since to take JSON apart takes 10 us a value. What has the same value then cancels, too.
            taken_apart = ", ".join(
                f"{_value(self.number[each])} AS {as_value}" for each, as_value in self.json.items()
            )
            grouped = [*(self.number[each] for each in self.compared if each not in self.json), *self.json.values()]
            texts = [f"any_value({self.number[each]}) AS {self.number[each]}" for each in self.json]
            query = (
                f"SELECT {', '.join([*grouped, *texts])}, sum({_COPIES}) AS {_COPIES} "  # noqa: S608
                f"FROM (SELECT *, {taken_apart} FROM ({query})) "
                f"GROUP BY {', '.join(grouped)} HAVING sum({_COPIES}) <> 0"
            )
        self.con.execute(f"CREATE TEMP TABLE differing AS {query}")
        self._mark_public()

    def _mark_public(self) -> None:
        """Add to `differing` whether the table declares a row public."""
        self.con.execute(f"ALTER TABLE differing ADD COLUMN {_PUBLIC} BOOLEAN DEFAULT false")
        if self.show_values or not self.table.public:
            return
        named = ", ".join(f"{number} AS {quote(each)}" for each, number in self.number.items())
        condition = f"coalesce(({self.table.public}), false)"
        query = f"SELECT rowid FROM (SELECT rowid, {named} FROM differing) WHERE {condition}"  # noqa: S608
        try:
            self.con.execute(f"UPDATE differing SET {_PUBLIC} = true WHERE rowid IN ({query})")  # noqa: S608
        except duckdb.Error:  # a column of the condition is not in both versions, or has two types: nothing is public
            return

    def _find_duplicates(self) -> int:
        """`duplicates`: the keys in `differing` that a version has more than once; return their number."""
        if not self.is_keyed:
            return 0
        numbers = ", ".join(self.number[each] for each in self.key)
        twice = " UNION ".join(
            f"SELECT {numbers} FROM ({self._rows(version, self.key)}) AS version "  # noqa: S608
            f"SEMI JOIN differing ON {self._same_key('version', 'differing')} GROUP BY {numbers} HAVING count(*) > 1"
            for version in (0, 1)
        )
        self.con.execute(f"CREATE TEMP TABLE duplicates AS {twice}")
        return self._one("SELECT count(*) FROM duplicates")

    def _find_pairs(self) -> None:
        """`pairs`: both versions of each changed row; `others`: what is left of `differing`."""
        if not self.is_keyed:
            self.con.execute("CREATE TEMP VIEW others AS FROM differing")
            return
        is_pair = f"{self._same_key('old', 'new')} AND old.{_COPIES} < 0 AND new.{_COPIES} > 0"
        # Of a key that no version has twice, each version has one row at most.
        self.con.execute(
            "CREATE TEMP TABLE pairs AS SELECT old, new FROM differing AS old "  # noqa: S608
            f"JOIN differing AS new ON {is_pair} ANTI JOIN duplicates ON {self._same_key('old', 'duplicates')}"
        )
        self.con.execute(
            "CREATE TEMP VIEW others AS FROM differing "  # noqa: S608
            f"ANTI JOIN (SELECT unnest(old) FROM pairs) AS paired ON {self._same_key('differing', 'paired')}"
        )

    def _count_changed(self) -> tuple[int, dict[str, int]]:
        """How many rows changed, and in which columns."""
        if not self.is_keyed:
            return 0, {}
        counts = [f"count(*) FILTER ({self._is_changed(each)})" for each in self.columns]
        changed, *by_column = self._first(f"SELECT count(*), {', '.join(counts)} FROM pairs")  # noqa: S608
        return changed, {each: count for each, count in zip(self.columns, by_column, strict=True) if count}

    def _count_others(self, changed: int) -> tuple[int, int]:
        """How many rows were added and removed."""
        ups, downs = (f"coalesce(sum({_COPIES}) FILTER ({_COPIES} {sign} 0), 0)" for sign in "><")
        added, removed = self._first(f"SELECT {ups}, {downs} FROM differing")  # noqa: S608
        return int(added) - changed, -int(removed) - changed

    def _changed_days(self) -> set[date]:
        if not self.partitioned:
            return set()
        return {day for (day,) in self.con.execute(f"SELECT DISTINCT {self.number[DAY]} FROM differing").fetchall()}  # noqa: S608

    def _samples(self) -> Iterator[Sample]:
        """The first rows of each kind, by key."""
        identity = self.key or self.compared
        if self.is_keyed:
            yield from self._changed_samples()
        order = ", ".join(self.number[each] for each in identity)
        texts = ", ".join(self._text(each, _PUBLIC, self.number[each]) for each in identity)
        for change, sign in (("added", ">"), ("removed", "<")):
            query = f"SELECT {texts} FROM others WHERE {_COPIES} {sign} 0 ORDER BY {order} LIMIT {_SAMPLES}"  # noqa: S608
            for row in self.con.execute(query).fetchall():
                yield Sample(change, dict(zip(identity, map(_cut, row), strict=True)))  # pyright: ignore[reportArgumentType]

    def _changed_samples(self) -> Iterator[Sample]:
        is_public = f"(old.{_PUBLIC} AND new.{_PUBLIC})"
        keys = [self._text(each, is_public, f"new.{self.number[each]}") for each in self.key]
        values = [
            part
            for each in self.columns
            for part in (
                self._is_changed(each),
                *(self._text(each, f"{side}.{_PUBLIC}", f"{side}.{self.number[each]}") for side in ("old", "new")),
            )
        ]
        order = ", ".join(f"new.{self.number[each]}" for each in self.key)
        query = f"SELECT {', '.join([*keys, *values])} FROM pairs ORDER BY {order} LIMIT {_SAMPLES}"  # noqa: S608
        for row in self.con.execute(query).fetchall():
            key = dict(zip(self.key, map(_cut, row), strict=False))
            rest = iter(row[len(self.key) :])
            triples = zip(self.columns, rest, rest, rest, strict=True)
            changed = [(each, old, new) for each, is_changed, old, new in triples if is_changed]
            for each, old, new in changed[:_SAMPLE_COLUMNS]:
                yield Sample("changed", key, each, *_cut_both(old, new))

    def _text(self, column: str, is_public: str, value: str) -> str:
        """The value as text, unless it must not be shown."""
        text = f"left({value}::VARCHAR, 100000)"
        is_private = any(each.private for each in self.table.columns if each.name == column)
        if self.show_values or not is_private:
            return text
        return f"CASE WHEN {is_public} THEN {text} ELSE {literal(_PRIVATE)} END"

    def _is_changed(self, column: str) -> str:
        value = self.json.get(column, self.number[column])
        return f"old.{value} IS DISTINCT FROM new.{value}"

    def _same_key(self, one: str, other: str) -> str:
        numbers = (self.number[each] for each in self.key)
        return " AND ".join(f"{one}.{number} IS NOT DISTINCT FROM {other}.{number}" for number in numbers)

    def _one(self, query: str) -> int:
        (number,) = self._first(query)
        return number

    def _first(self, query: str) -> tuple[int, ...]:
        (row,) = self.con.execute(query).fetchall()
        return row


def to_markdown(differences: Iterable[Difference], *, title: str = "Data diff") -> str:
    """The differences as a comment for a pull request: a summary, then each table that differs.

    Text from outside can neither end its cell nor act: no links, no mentions, no images. Tables that do not fit into
    one comment are counted.
    """
    compared = list(differences)
    changed = [each for each in compared if not each.is_empty]
    lines = [f"### {_plain(title)}", ""]
    if changed:
        header = ["table", "days changed", "rows before", "rows after", "added", "removed", "changed"]
        lines += [_line(header), _line(["---", *["--:"] * 6]), *map(_summary, changed), ""]
    if same := [_plain(each.name) for each in compared if each.is_empty]:
        lines += [f"No difference: {', '.join(same)}", ""]
    if not compared:
        lines += ["Nothing was compared.", ""]
    text = "\n".join(lines)
    for number, each in enumerate(changed):
        details = "\n".join(_details(each))
        if len(text) + len(details) > _MAX_COMMENT:
            return f"{text}\nThe details of {len(changed) - number} more tables do not fit.\n"
        text += f"\n{details}\n"
    return text


def _types(con: duckdb.DuckDBPyConnection, files: Iterable[UPath]) -> dict[str, str]:
    """The columns of these files. JSON is text: which of the two a file says depends on the engine that wrote it."""
    paths = ", ".join(literal(escape(str(file))) for file in files)
    if not paths:
        return {}
    rows = con.sql(f"FROM read_parquet([{paths}], union_by_name = true, hive_partitioning = false)")
    types = (str(each).replace("JSON", "VARCHAR") for each in rows.types)
    return dict(zip(rows.columns, types, strict=True))


def _value(text: str) -> str:
    """JSON as a list of all that is in it, in a fixed order; text that is no JSON, or may lose digits, as it is."""
    is_exact = f"json_valid({text}) AND NOT regexp_matches({text}, {literal(_LONG_NUMBER)})"
    parts = "list((fullkey, type, atom) ORDER BY fullkey, type, atom)"
    tree = f"(SELECT {parts} FROM json_tree(CASE WHEN {is_exact} THEN {text} END))"  # noqa: S608
    return f"coalesce({tree}::VARCHAR, {text})"


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 1]}…"


def _cut_both(old: str | None, new: str | None) -> tuple[str | None, str | None]:
    """Two texts, cut so that their first difference is visible."""
    if old is None or new is None or max(len(old), len(new)) <= _MAX_TEXT:
        return _cut(old), _cut(new)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False)))
    start = max(0, same - _SAME)
    return tuple(_cut(f"{'…' if start else ''}{text[start:]}") for text in (old, new))  # pyright: ignore[reportReturnType]


def _summary(each: Difference) -> str:
    days = "" if each.days is None else f"{each.days_changed:,} of {each.days:,}"
    counts = (each.rows_before, each.rows_after, each.added, each.removed, each.changed)
    return _line([_plain(each.name), days, *(f"{count:,}" for count in counts)])


def _details(each: Difference) -> Iterator[str]:
    yield f"#### {_plain(each.name)}"
    yield ""
    for what, names in (("New columns", each.columns_added), ("Removed columns", each.columns_removed)):
        if names:
            yield f"- {what}, not compared: {', '.join(map(_code, names))}"
    for name, (old, new) in each.columns_retyped.items():
        yield f"- {_code(name)} was {_code(old)} and is {_code(new)}: compared as text"
    for what, days in (("before", each.days_removed), ("after", each.days_added)):
        if days:
            named = ", ".join(map(str, days[:_SAMPLES])) + (
                f" and {len(days) - _SAMPLES} more" if days[_SAMPLES:] else ""
            )
            yield f"- Days that are only there {what}: {named}"
    if each.duplicate_keys:
        whole = "their rows are compared whole, as added and removed"
        yield f"- Keys that come more than once: {each.duplicate_keys:,}; {whole}"
    if not each.key and (each.added or each.removed):
        yield "- Without a key in both versions, rows are compared whole, as added and removed"
    if each.columns:
        counts = (_line([_code(name), f"{count:,}"]) for name, count in each.columns.items())
        yield from ("", _line(["column", "rows changed"]), _line(["---", "--:"]), *counts)
    if each.samples:
        yield from ("", "<details><summary>Samples</summary>", "")
        yield from (_line(["row", "column", "before", "after"]), _line(["---"] * 4))
        yield from map(_sample, each.samples)
        yield from ("", "</details>")
    yield ""


def _sample(sample: Sample) -> str:
    row = ", ".join(f"{_plain(name)} {_cell(value)}" for name, value in sample.key.items())
    if sample.column is None:
        return _line(
            [row, "", *((f"*{sample.change}*", "") if sample.change == "removed" else ("", f"*{sample.change}*"))]
        )
    return _line([row, _code(sample.column), _cell(sample.before), _cell(sample.after)])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: str | None) -> str:
    return "NULL" if value is None else _code(value) if value else "*empty*"


def _code(text: str) -> str:
    """Text as code: in it, GitHub and GitLab make no links, and notify nobody."""
    return f"<code>{_plain(text)}</code>"


def _plain(text: str) -> str:
    """Text with an entity for each character that Markdown or HTML could act on: an entity is never syntax."""
    return _ACTS.sub(lambda found: f"&#{ord(found[0])};", shown(text))
