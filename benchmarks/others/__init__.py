"""The same day in dbt-duckdb and in SQLMesh: staging and both marts, with tests of keys and nulls.

Each is used as its documentation shows, with the SQL of the project's staging and the marts in SQL. Both are installed
by uv into environments of their own: they need other versions of packages than the project.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import duckdb

from benchmarks.compare import MARTS, compare
from benchmarks.lakes import LAST, Lakes
from benchmarks.process import Command
from benchmarks.report import Section
from mds_assets.defs.github import staging

_HERE = Path(__file__).parent
_ORDER = {"staging/repos": "ALL", MARTS[0]: "org, repo_count DESC, language", MARTS[1]: "org, push_date"}


def prepare(lakes: Lakes, log: Callable[[str], None]) -> dict[str, Command]:
    """Install both, build the earlier days with each, and return the commands that build the last day."""
    return {"dbt-duckdb": _dbt(lakes, log), "SQLMesh": _sqlmesh(lakes, log)}


def check(lakes: Lakes, section: Section) -> None:
    """Compare what both have made with the plain script's tables."""
    with duckdb.connect(str(lakes.folder / "SQLMesh/state.duckdb"), read_only=True) as con:
        for table, key in _ORDER.items():
            folder = lakes.folder / "SQLMesh" / table / f"day={LAST}"
            folder.mkdir(parents=True, exist_ok=True)
            rows = f"SELECT * EXCLUDE (day) FROM github.{table.split('/')[-1]} WHERE day = DATE '{LAST}' ORDER BY {key}"
            con.execute(f"COPY ({rows}) TO '{folder / 'data.parquet'}'")
    for name in ("dbt-duckdb", "SQLMesh"):
        found = compare(lakes.limit, lakes.folder / name, [LAST], tolerance=0.11)
        section.remarks.append(f"limit and {name}: {found}, means to 0.1, as engines round halves differently.")


def _dbt(lakes: Lakes, log: Callable[[str], None]) -> Command:
    program, lake, variables = _installed(lakes, "dbt-duckdb", "dbt", log)
    shutil.copytree(lakes.limit / "staging", lake / "staging")
    for table in _ORDER:  # DuckDB makes no folders
        (lake / table / f"day={LAST}").mkdir(parents=True, exist_ok=True)
    project = _project("dbt", lake)
    at = ["--project-dir", project, "--profiles-dir", project, "--log-path", str(lake / "logs")]
    return Command([program, "build", *at, "--vars", f"{{day: {LAST}}}"], variables)


def _sqlmesh(lakes: Lakes, log: Callable[[str], None]) -> Command:
    program, lake, variables = _installed(lakes, "SQLMesh", "sqlmesh", log)
    plan = [program, "--paths", _project("sqlmesh", lake), "plan", "--auto-apply", "--no-prompts", "--execution-time"]
    Command([*plan, str(LAST)], variables).run()
    last_day = ["--restate-model", "github.repos", "--start", str(LAST), "--end", str(LAST)]
    return Command([*plan, str(LAST + timedelta(days=1)), *last_day], variables)


def _project(tool: str, lake: Path) -> str:
    """A copy of the tool's project, in which it also writes, with the project's own query for staging."""
    project = shutil.copytree(_HERE / tool, lake / "project")
    model = project / "models/repos.sql"
    query = Path(staging.__file__).with_name("staging").joinpath("repos.sql").read_text(encoding="utf-8")
    model.write_text(model.read_text(encoding="utf-8").replace("-- the project's query", query), encoding="utf-8")
    return str(project)


def _installed(lakes: Lakes, name: str, program: str, log: Callable[[str], None]) -> tuple[str, Path, dict[str, str]]:
    """The program, a new folder for its lake on the same raw, and its environment."""
    lake, environment = lakes.folder / name, lakes.folder.parent / f"{program}-environment"
    if not environment.exists():
        log(f"installing {name}")
        uv = str(Path(sys.executable).with_name("uv"))
        subprocess.run([uv, "venv", "--quiet", str(environment)], check=True)
        # Wheels only: the source package of dbt's new parser downloads a binary while it is built.
        to_install = ["--only-binary=:all:", "--python", str(environment), name.lower()]
        subprocess.run([uv, "pip", "install", "--quiet", *to_install], check=True)
    shutil.rmtree(lake, ignore_errors=True)
    lake.mkdir()
    (lake / "raw").symlink_to(lakes.folder / "raw", target_is_directory=True)
    variables = {"BENCH_LAKE": str(lake), "BENCH_START": str(lakes.days[0]), "HOME": str(lake)}
    return str(environment / "bin" / program), lake, variables
