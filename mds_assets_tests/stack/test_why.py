"""Promises of `mds why`: a figure leads to exactly the answers it came from, and to nothing that must not be shown."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import polars as pl
import pytest
from dagster import DagsterInstance
from typer.testing import CliRunner

from mds_assets.stack.blocks import mart, raw_table, staging_table
from mds_assets.stack.cli.app import app
from mds_assets.stack.lake import Lake
from mds_assets.stack.lake.layout import load_of
from mds_assets.stack.landing.days import Days
from mds_assets.stack.partitions import days_between
from mds_assets.stack.table import column, table
from mds_assets.stack.why import trace
from mds_assets.stack.why.answer import Answer, explain
from mds_assets.stack.why.show import show, to_json
from mds_assets.stack.why.trace import Level
from mds_assets_tests.runs import Runs
from mds_assets_tests.stack import toy
from mds_assets_tests.stack.toy_lakes import LAYERS, built_lake, copy_of

YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)
DAYS = days_between(YESTERDAY - timedelta(days=8), YESTERDAY)
TODAY = str(YESTERDAY)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine days of the toy."""
    return built_lake(tmp_path_factory.mktemp("built"), DAYS[0], DAYS[-1])


@pytest.fixture
def runs(built: Path, tmp_path: Path) -> Runs:
    return copy_of(built, tmp_path)


def why(runs: Runs, *words: str) -> Answer:
    return explain(runs.definitions, Lake(str(runs.lake)), words[0], words[1:])


def levels(level: Level) -> list[Level]:
    """It, and all that it came from."""
    return [level, *(each for one in level.inputs for each in levels(one))]


def files_of(runs: Runs, table: str, day: int) -> list[Path]:
    return sorted((runs.lake / table / f"day={DAYS[day]}").glob("*.parquet"))


def test_a_figure_leads_to_the_rows_it_counts_and_to_the_load_they_came_with(runs: Runs):
    before = runs.contents()
    answer = why(runs, "marts/revenue", TODAY, "country=A")
    mart, staging, raw = levels(answer.level)
    ((_, orders, _, _),) = [row for row in runs.rows("marts/revenue", YESTERDAY) if row[0] == "A"]
    assert mart.sample[0]["orders"] == orders
    assert [(each.table, each.rows) for each in (mart, staging, raw)] == [
        ("marts/revenue", 1), ("staging/orders", orders), ("raw/orders", orders)
    ]  # fmt: skip
    assert (staging.same, raw.same) == ({"country": "country"}, {"order_id": "id"})
    assert staging.days == raw.days == [(DAYS[-7], DAYS[-1])]
    assert {row["country"] for row in staging.sample} == {"A"}
    (load,) = raw.loads
    assert load["days"] == [str(DAYS[0]), str(DAYS[-1])]
    assert load["began"] < load["published"]
    assert load["files"] == [str(files_of(runs, "raw/orders", day)[0]) for day in range(2, 9)]
    (file,) = answer.files
    assert file["run"] == load["run"]
    assert file["settings"] == {"lookback_days": 7}
    assert (answer.state, answer.reason, answer.missing) == ("there", "", {})
    assert (answer.is_valid, answer.checked_rows) == (True, 2)
    assert runs.contents() == before


def test_of_a_key_that_changed_every_day_only_the_newest_row_counts(runs: Runs):
    _, staging, raw = levels(why(runs, "marts/revenue", TODAY, "country=B").level)
    assert staging.newest_only
    assert staging.rows == raw.rows == 12
    assert not raw.newest_only
    of_changing = [row for row in staging.sample if row["order_id"] == -1]
    assert [row["day"] for row in of_changing] == [TODAY]
    days = {day for day, n in ((row[-1], row[0]) for row in runs.rows("staging/orders")) if n == -1}
    assert days == set(DAYS)


def test_each_day_of_a_mart_that_another_mart_reads_has_newest_rows_of_its_own(tmp_path: Path):
    @mart(
        columns=table(
            [column("country", "VARCHAR", "Where."), column("most", "BIGINT", "Orders on the best day.")],
            key=["country"],
            lineage={"country": "marts/revenue.country", "most": "marts/revenue.orders"},
        ),
        window={"revenue": "marts/revenue"},
    )
    def best(revenue: pl.LazyFrame) -> pl.LazyFrame:
        return revenue.group_by("country").agg(most=pl.col("orders").max())

    runs = Runs.of(tmp_path, toy.orders, toy.staged, toy.revenue, best, shop=toy.sales())
    assert runs.materialise(DAYS[0], DAYS[-1], LAYERS).success
    _, revenue, staging, raw = levels(why(runs, "marts/best", TODAY, "country=B").level)
    assert (revenue.rows, revenue.days) == (7, [(DAYS[2], DAYS[8])])
    # The 14 orders that never changed, and the changing one as it was on each of the 7 days.
    assert staging.rows == raw.rows == 21
    assert staging.days == [(DAYS[0], DAYS[8])]


def test_without_keys_it_is_about_the_whole_day(runs: Runs):
    mart, staging, raw = levels(why(runs, "marts/revenue", TODAY).level)
    assert mart.rows == 2
    assert staging.rows == raw.rows == 22  # three new orders a day, and the one that changes
    assert len(staging.sample) == 5
    assert levels(why(runs, "raw/orders", TODAY).level)[0].rows == 4


def test_of_no_rows_it_names_the_loads_that_had_none(tmp_path: Path):
    runs = Runs.of(tmp_path, toy.orders, toy.staged, toy.current, toy.revenue, shop=toy.sales()[:1])
    assert runs.materialise(DAYS[0], DAYS[1], LAYERS).success
    staging, raw = levels(why(runs, "staging/orders", str(DAYS[1])).level)
    assert (staging.rows, raw.rows, raw.of_rows, raw.days) == (0, 0, 0, [])
    assert [load["files"] for load in raw.loads] == [[str(file) for file in files_of(runs, "raw/orders", 1)]]


def test_a_day_with_two_loads_names_both_and_says_that_the_mart_knows_only_one(runs: Runs):
    assert runs.materialise(DAYS[-1], layers=["raw"]).success
    _, staging, raw = levels(why(runs, "marts/revenue", TODAY, "country=A").level)
    assert len(raw.loads) == 2
    assert raw.loads[0]["load"] > raw.loads[1]["load"]
    assert raw.rows > staging.rows
    assert raw.changed == [DAYS[-1]]
    answer = why(runs, "staging/orders", TODAY)
    assert (answer.state, answer.reason) == ("stale", f"raw/orders of {TODAY} changed")
    assert runs.materialise(DAYS[-1], layers=["staging"]).success
    answer = why(runs, "staging/orders", TODAY)
    assert (answer.state, answer.level.inputs[0].changed) == ("there", [])


def test_merged_loads_are_named_one_by_one(runs: Runs):
    for _ in range(2):
        assert runs.materialise(DAYS[0], layers=["raw"]).success
    loads = {load_of(file.name) for file in files_of(runs, "raw/orders", 0)}
    with DagsterInstance.ephemeral() as instance:
        config = {"ops": {"compact_loads": {"config": {"older_than_days": 2, "more_than_loads": 2}}}}
        assert runs.definitions.resolve_job_def("compact").execute_in_process(config, instance=instance).success
    (merged,) = files_of(runs, "raw/orders", 0)
    raw = why(runs, "raw/orders", str(DAYS[0])).level
    assert {load["load"] for load in raw.loads} == loads
    assert len(loads) == 3
    assert {file for load in raw.loads for file in load["files"]} == {str(merged)}


def test_days_that_the_window_lacks_are_named_as_ranges(runs: Runs):
    assert why(runs, "marts/revenue", str(DAYS[1]), "country=A").missing == {
        "staging/orders": [(DAYS[0] - timedelta(days=5), DAYS[0] - timedelta(days=1))]
    }
    shutil.rmtree(runs.lake / f"staging/orders/day={DAYS[5]}")
    answer = why(runs, "marts/revenue", TODAY, "country=A")
    assert answer.missing == {"staging/orders": [(DAYS[5], DAYS[5])]}
    assert (answer.state, answer.reason) == ("stale", f"staging/orders of {DAYS[5]} is gone")
    assert answer.level.inputs[0].changed == [DAYS[5]]


def test_a_table_without_partitions_leads_to_the_day_of_its_row(runs: Runs):
    answer = why(runs, "staging/orders_now", "order_id=-1")
    now, staging, raw = levels(answer.level)
    assert (answer.day, answer.state, now.rows) == (None, "there", 1)
    assert (staging.rows, staging.days) == (1, [(DAYS[-1], DAYS[-1])])
    assert (raw.rows, raw.days) == (1, [(DAYS[-1], DAYS[-1])])
    assert levels(why(runs, "staging/orders_now").level)[1].rows == 28


@pytest.mark.parametrize("damage", ["truncated", "pages"])
def test_a_file_that_cannot_be_read_is_named_and_left_out(runs: Runs, damage: str):
    (file,) = files_of(runs, "raw/orders", 4)
    content = file.read_bytes()
    file.write_bytes(content[:-10] if damage == "truncated" else content[:4] + bytes(400) + content[404:])
    _, staging, raw = levels(why(runs, "marts/revenue", TODAY, "country=A").level)
    assert list(raw.unreadable) == [str(file)]
    assert 0 < raw.rows < staging.rows
    (own,) = files_of(runs, "marts/revenue", -1)
    own.write_bytes(b"PAR1")
    with pytest.raises(click.ClickException, match=r"cannot be read: .*mds doctor"):
        why(runs, "marts/revenue", TODAY)


def test_a_file_that_breaks_its_declaration_by_now_is_reported(runs: Runs):
    (file,) = files_of(runs, "marts/revenue", -1)
    rows = pl.read_parquet(file, glob=False, hive_partitioning=False)
    rows.with_columns(orders=pl.lit(0, pl.Int64)).write_parquet(file)
    answer = why(runs, "marts/revenue", TODAY, "country=A")
    assert not answer.is_valid
    assert "orders > 0" in answer.violations
    assert "does not say what it was made from" in answer.reason
    assert answer.level.inputs[0].rows > 0  # the declaration says where to look


def test_json_has_what_is_printed(runs: Runs, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mds_assets.stack.terminal.console._width", 300)
    shutil.rmtree(runs.lake / f"staging/orders/day={DAYS[5]}")
    answer = why(runs, "marts/revenue", TODAY, "country=A")
    show(answer)
    printed = capsys.readouterr().out
    found: dict[str, Any] = json.loads(to_json(answer))
    assert f"state: {found['state']}: {found['reason']}" in printed
    assert f"is_valid: passed now, {found['checked_rows']} rows" in printed
    (missing,) = found["missing"]["staging/orders"]
    assert f"staging/orders has no file of {missing[0]}" in printed
    for name in ("file", "run", "code", "declaration"):
        assert found["files"][0][name] in printed
    level = found["level"]
    while level["inputs"]:
        (level,) = level["inputs"]
        assert f"from {level['table']}: {level['rows']} of {level['of_rows']} rows" in printed
        for row in level["sample"]:
            assert any(all(str(value) in line for value in row.values()) for line in printed.splitlines())
    assert level["loads"][0]["load"] in printed
    assert level["loads"][0]["run"] in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["marts/revenu", TODAY], "there is no table 'marts/revenu': did you mean marts/revenue?"),
        (["nothing"], "`mds show` lists the tables"),
        (["marts/revenue"], "has a file per day: name one"),
        (["marts/revenue", "country=A"], "'country=A' is not a day"),
        (["marts/revenue", "2026-02-30"], "'2026-02-30' is not a day"),
        (["marts/revenue", TODAY, "A"], "'A' is not a `column=value` pair"),
        (["marts/revenue", TODAY, "county=A"], "has no column 'county': did you mean country?"),
        (["marts/revenue", TODAY, "orders=many"], "orders=many: marts/revenue.orders is BIGINT"),
        (["marts/revenue", TODAY, "orders=3.7"], "orders=3.7: marts/revenue.orders is BIGINT"),
        (["marts/revenue", TODAY, "country=C"], f"none of the 2 rows of marts/revenue of {TODAY} has country=C"),
        (["marts/revenue", "2020-01-01"], "of 2020-01-01 has no file: `mds plan` shows"),
        (["staging/orders_now", TODAY], "staging/orders_now has no days"),
    ],
)
def test_errors_are_one_line_with_the_way_out(runs: Runs, words: Sequence[str], message: str):
    with pytest.raises(click.ClickException) as raised:
        why(runs, *words)
    assert message in raised.value.message
    assert "\n" not in raised.value.message


def test_the_command_explains_tables_of_the_project():
    failed = CliRunner().invoke(app, ["why", "no/such/table", TODAY, "a=b", "--json"])
    assert isinstance(failed.exception, click.ClickException)
    assert "there is no table 'no/such/table'" in failed.exception.message


# --- Private values: a token sees what a terminal must not show

SECRET, KNOWN = "codename-heron", "known-to-all"
PEOPLE = table(
    [
        column("person", "VARCHAR", "Who.", private=True),
        column("team", "VARCHAR", "Where."),
        column("age", "BIGINT", "How old.", private=True),
        column("is_open", "BOOLEAN", "Whether everyone may know."),
    ],
    key=["person"],
    lineage={"person": "raw/people.name", "team": "raw/people.team", "age": "raw/people.age",
             "is_open": "raw/people.profile"},
)  # fmt: skip
TEAMS = table(
    [column("team", "VARCHAR", "The team."), column("people", "BIGINT", "How many.")],
    key=["team"],
    lineage={"team": "staging/people.team", "people": ["staging/people.person", "staging/people.age"]},
)


def private_runs(folder: Path, public: str | None) -> Runs:
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)

    @raw_table(
        columns=table(
            [column(name, kind, "-") for name, kind in (("name", "VARCHAR"), ("team", "VARCHAR"), ("age", "BIGINT"),
             ("profile", "VARCHAR"), ("at", "TIMESTAMPTZ"))], key=["name"],
            public=public and "profile LIKE '%open%'",
        ),
        day="at",
    )  # fmt: skip
    def people(days: Days) -> list[dict[str, Any]]:
        return [
            {"name": name, "team": "T", "age": age, "profile": f"{name} {kind}", "at": noon}
            for name, age, kind in ((SECRET, 4711, "shut"), (KNOWN, 1234, "open"))
        ]

    (folder / "people.sql").write_text(
        "SELECT name AS person, team, age, profile LIKE '%open%' AS is_open, day FROM people"
    )
    declared = replace(PEOPLE, public=public)
    staged = staging_table("people", reads=["raw/people"], columns=declared, sql=str(folder / "people.sql"))

    @mart(columns=TEAMS, window={"people": "staging/people"})
    def teams(people: pl.LazyFrame) -> pl.LazyFrame:
        return people.group_by("team").agg(people=pl.len().cast(pl.Int64))

    runs = Runs.of(folder, people, staged, teams)
    assert runs.materialise(YESTERDAY).success
    return runs


@pytest.mark.slow(1)
@pytest.mark.parametrize("public", [None, "is_open"])
@pytest.mark.parametrize("words", [["marts/teams", TODAY], ["staging/people", TODAY], ["raw/people", TODAY]])
def test_private_values_are_not_shown_not_even_of_the_raw_columns_behind_them(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    public: str | None,
):
    runs = private_runs(tmp_path, public)
    monkeypatch.setattr(trace, "previews_allowed", lambda: False)
    answer = why(runs, *words)
    show(answer)
    for text in (capsys.readouterr().out, to_json(answer)):
        assert SECRET not in text
        assert "4711" not in text
        assert (KNOWN in text) == (public is not None)
    raw = levels(answer.level)[-1]
    assert raw.table == "raw/people"
    assert {row["team"] for row in raw.sample} == {"T"}
    assert bool(raw.private) == (public is None)
    monkeypatch.setattr(trace, "previews_allowed", lambda: True)
    assert SECRET in to_json(why(runs, *words))
