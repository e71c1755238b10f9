"""A raw lake of any size, as the project lands it from GitHub: `python -m benchmarks.generate LAKE --rows 1000000`.

Columns, types and their order are those of a recorded week of jenkinsci, landed by the project, with the topics and the
seven fields that GitHub has added since. DuckDB writes the files; the project has no part in it. Every value follows
from the seed, the day's number and the row's, whatever the number of threads. What does not belong here: staging and
marts; those are what is measured.

A day has two loads. The first lists as many repositories as asked for, newest first, as GitHub does: 10 % of them are
active every day, 30 % every third, the others on one day only. The second load, an hour later, has seen 3 % of them
again, half of them active again meanwhile, each with a star more.
"""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated

import duckdb
import typer

ROW_GROUP_ROWS = 122_880  # DuckDB's default, and what landing writes
AGAIN = 33  # one repository of so many is seen again by the second load
THREADS = 2  # each writes a file of its own: DuckDB makes the rows of a range() in one thread

_WORDS = (
    "agent api app async auth aws azure backup branch build bundle cache chart cli client cloud cluster code config "
    "core credentials dashboard data deploy docker docs engine event export filter flow folder gateway git gradle "
    "graph grid helm hook http image index job json junit kafka kit kube label lambda ldap lib log mail maven "
    "metrics mock monitor node notify oauth parser pipeline plugin proxy queue release report runner scm script sdk "
    "server shell slack sonar ssh step stream sync template test theme token tool trigger ui util vault view "
    "warnings web workflow xml yaml"
).split()
_LANGUAGES = (  # GitHub's commonest, several times in proportion
    ["Python"] * 9 + ["JavaScript"] * 8 + ["TypeScript"] * 8 + ["Java"] * 7 + ["Go"] * 5 + ["C++"] * 4 + ["C#"] * 3
    + ["PHP"] * 3 + ["Ruby"] * 3 + ["Shell"] * 3 + ["C"] * 3 + ["Rust"] * 3 + ["HTML"] * 3
    + ["Kotlin", "Swift", "Groovy", "Scala", "Dockerfile", "CSS", "Lua", "Perl", "R", "Jupyter Notebook", "Haskell"]
    + ["Elixir", "Clojure", "Dart", "Makefile", "HCL", "Vue", "PowerShell", "Objective-C", "Julia", "TeX", "Nix"]
)  # fmt: skip
_LICENSES = [
    {
        "key": key,
        "name": name,
        "spdx_id": spdx,
        "url": f"https://api.github.com/licenses/{key}",
        "node_id": "MDc6TGljZW5",
    }
    for key, name, spdx, weight in (
        ("mit", "MIT License", "MIT", 5),
        ("apache-2.0", "Apache License 2.0", "Apache-2.0", 3),
        ("gpl-3.0", "GNU General Public License v3.0", "GPL-3.0", 1),
        ("bsd-3-clause", 'BSD 3-Clause "New" or "Revised" License', "BSD-3-Clause", 1),
        ("other", "Other", "NOASSERTION", 1),
    )
    for _ in range(weight)
]
_PHRASES = (
    "A Jenkins plugin for", "A small library for", "Command line tool for", "Bindings to", "Experiments with",
    "Docker images of", "Terraform modules for", "The documentation of", "A fast, typed client of",
    "Yet another implementation of", "[DEPRECATED] Helpers for", "An example application with",
)  # fmt: skip

# A draw is a hash of the repository's number and a purpose, so that no row depends on another.
_MACROS = """
    CREATE MACRO draw(number, purpose, below) AS (hash(number, purpose, {seed}) % below)::BIGINT;
    CREATE MACRO one_of(list, number, purpose) AS list[draw(number, purpose, len(list)) + 1];
"""

_ROWS = """
WITH slots AS (
    SELECT range AS slot FROM range($rows) WHERE NOT $again OR range % {again} = 7
),
repositories AS (
    SELECT
        slot,
        -- 10 % are active every day, 30 % every third day, the rest once.
        CASE
            WHEN slot % 10 = 0 THEN slot
            WHEN slot % 10 <= 3 THEN $rows + ($day_number % 3) * $rows + slot
            ELSE ($day_number + 4) * $rows + slot
        END AS repo,
        -- Newest first, evenly over the day.
        86399 - slot * 86400 // $rows AS second,
    FROM slots
),
named AS (
    SELECT
        slot,
        repo,
        second + CASE WHEN $again AND repo % 2 = 0 THEN draw(repo, 'again', 86400 - second) ELSE 0 END AS second,
        (repo * 2654435761) % 4294967296 AS id,  -- the factor is odd: no two repositories get one id
        draw(repo, 'org', $orgs) * draw(repo, 'skew', $orgs) // $orgs AS org_number,  -- some have many more
        one_of($words, repo, 'word 1') || '-' || one_of($words, repo, 'word 2') || '-' || repo AS name,
        draw(repo, 'stars', 40) * draw(repo, 'more', 40) * draw(repo, 'most', 20) // 50
            + $day_number + $again::BIGINT AS stars,
        (TIMESTAMPTZ '2009-01-01 00:00:00+00' + to_seconds(draw(repo, 'created', 500000000))) AS created_at,
    FROM repositories
),
owned AS (
    SELECT *, 'org-' || $words[org_number % len($words) + 1] || '-' || org_number AS org FROM named
)
SELECT
    org,
    id,
    name,
    org || '/' || name AS full_name,
    CASE WHEN draw(repo, 'no text', 8) > 0 THEN
        one_of($phrases, repo, 'phrase') || ' ' || one_of($words, repo, 'word 3') || ' ' ||
        one_of($words, repo, 'word 4') || ', with ' || one_of($words, repo, 'word 5') || ' and '
        || draw(repo, 'number', 1000)
    END AS description,
    stars AS stargazers_count,
    stars // 4 AS forks_count,
    draw(repo, 'issues', 12) * draw(repo, 'more issues', 12) // 8 AS open_issues_count,
    draw(repo, 'size', 300) * draw(repo, 'more size', 300) AS size,
    CASE WHEN draw(repo, 'no language', 12) > 0 THEN one_of($languages, repo, 'language') END AS language,
    CASE WHEN draw(repo, 'no license', 10) > 2 THEN one_of($licenses, repo, 'license') END AS license,
    CASE WHEN draw(repo, 'no topics', 10) > 5 THEN
        '["' || one_of($words, repo, 'topic 1') || '","' || one_of($words, repo, 'topic 2') || '","'
        || one_of($words, repo, 'topic 3') || '"]'
    ELSE '[]' END AS topics,
    draw(repo, 'fork', 6) = 0 AS fork,
    draw(repo, 'archived', 25) = 0 AS archived,
    'public' AS visibility,
    created_at,
    -- One of the two makes the repository active on the day; a third of pushes leaves updated_at as it was.
    CASE WHEN repo % 3 > 0 THEN $midnight + to_seconds(second)
        ELSE $midnight - to_seconds(draw(repo, 'updated', 20000000)) END AS updated_at,
    CASE WHEN repo % 3 = 0 THEN $midnight + to_seconds(second)
        WHEN draw(repo, 'never pushed', 50) > 0
        THEN $midnight + to_seconds(second - draw(repo, 'pushed', 900) * draw(repo, 'pushed before', 900)) END
        AS pushed_at,
    $observed_at AS observed_at,
    'R_kgDO' || left(to_base64(md5(repo::VARCHAR)::BLOB), 6) AS node_id,
    false AS private,
    '{{"login":"' || org || '","id":' || length(org) * 7919 || ',"node_id":"MDEyOk9yZ2FuaXphdGlvbjEwNzQyNA==",'
        || '"avatar_url":"https://avatars.githubusercontent.com/u/107424?v=4","gravatar_id":"",'
        || '"url":"https://api.github.com/users/' || org || '","html_url":"https://github.com/' || org || '",'
        || '"type":"Organization","user_view_type":"public","site_admin":false}}' AS owner,
    'https://github.com/' || org || '/' || name AS html_url,
    'https://api.github.com/repos/' || org || '/' || name AS url,
    'git://github.com/' || org || '/' || name || '.git' AS git_url,
    'git@github.com:' || org || '/' || name || '.git' AS ssh_url,
    'https://github.com/' || org || '/' || name || '.git' AS clone_url,
    'https://github.com/' || org || '/' || name AS svn_url,
    CASE WHEN draw(repo, 'homepage', 4) = 0 THEN 'https://' || name || '.example.org' END AS homepage,
    stars AS watchers_count,
    true AS has_issues,
    true AS has_projects,
    true AS has_downloads,
    draw(repo, 'wiki', 2) = 0 AS has_wiki,
    draw(repo, 'pages', 5) = 0 AS has_pages,
    false AS disabled,
    stars // 4 AS forks,
    draw(repo, 'issues', 12) * draw(repo, 'more issues', 12) // 8 AS open_issues,
    stars AS watchers,
    CASE WHEN draw(repo, 'branch', 3) = 0 THEN 'master' ELSE 'main' END AS default_branch,
    '{{"admin":false,"maintain":false,"push":false,"triage":false,"pull":true}}' AS permissions,
    draw(repo, 'discussions', 4) = 0 AS has_discussions,
    true AS allow_forking,
    false AS is_template,
    false AS web_commit_signoff_required,
    true AS has_pull_requests,
    'all' AS pull_request_creation_policy,
    '{{}}' AS custom_properties,
    $load AS _dlt_load_id,
FROM owned
"""


def generate(
    lake: Path, days: Sequence[date], rows: int, *, seed: int = 0, row_group_rows: int = ROW_GROUP_ROWS
) -> None:
    """Write `raw/github_repos` of these days.

    Args:
        lake: The lake's root; days that it has already get no other load.
        days: In order; the first has the number 0.
        rows: Repositories in a day's first load.
        seed: Another one gives other values.
        row_group_rows: Rows in a row group of the files.
    """
    constants = {
        "rows": rows,
        "orgs": max(8, rows // 5_000),
        "words": _WORDS,
        "phrases": list(_PHRASES),
        "languages": _LANGUAGES,
        "licenses": [json.dumps(licence, separators=(",", ":")) for licence in _LICENSES],
    }
    query = _ROWS.format(again=AGAIN)
    options = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {row_group_rows}"

    def load(con: duckdb.DuckDBPyConnection, number: int, day: date, again: bool) -> None:
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
        observed_at = midnight + timedelta(days=1, minutes=5, hours=again)
        load_id = f"{observed_at.timestamp():.7f}"
        folder = lake / "raw" / "github_repos" / f"day={day}"
        folder.mkdir(parents=True, exist_ok=True)
        file = str(folder / f"{load_id}.parquet").replace("'", "''")
        varying = {"again": again, "day_number": number, "midnight": midnight, "observed_at": observed_at}
        with con.cursor() as cursor:
            cursor.execute(f"COPY ({query}) TO '{file}' ({options})", {**constants, **varying, "load": load_id})

    with duckdb.connect() as con, ThreadPoolExecutor(THREADS) as threads:
        con.execute(f"SET GLOBAL TimeZone = 'UTC'; {_MACROS.format(seed=seed)}")
        loads = [(con, number, day, again) for number, day in enumerate(days) for again in (False, True)]
        for _ in threads.map(load, *zip(*loads, strict=True)):
            pass


def main(
    lake: Annotated[Path, typer.Argument(help="The lake's root.")],
    rows: Annotated[int, typer.Option(min=1, help="Repositories active on a day.")] = 1_000_000,
    days: Annotated[int, typer.Option(min=1, help="How many days.")] = 13,
    first: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="The first day, UTC.")] = datetime(2025, 6, 18),  # noqa: DTZ001
    seed: Annotated[int, typer.Option(help="Another seed gives other values.")] = 0,
    row_group_rows: Annotated[int, typer.Option(min=2_048, help="Rows in a row group.")] = ROW_GROUP_ROWS,
) -> None:
    """Write the raw layer of a lake."""
    generate(
        lake,
        [first.date() + timedelta(days=number) for number in range(days)],
        rows,
        seed=seed,
        row_group_rows=row_group_rows,
    )


if __name__ == "__main__":
    typer.run(main)
