"""The whole project on a lake of its own, in this process or through the real `dagster` command."""

import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from mds_assets.definitions import build_definitions
from mds_assets.defs.github.resources import sessions
from mds_assets.defs.github.settings import settings as github_settings
from mds_assets.stack.settings import settings
from mds_assets_tests.runs import Rows, Runs, evaluations, failure, metadata

# The list of changed repositories and what follows from it alone; `tables=frozenset()` runs everything.
OF_REPOS = frozenset(
    {
        "raw/github_repos",
        "staging/repos",
        "marts/daily_activity",
        "marts/language_trend",
        "marts/repo_growth",
        "marts/repos_per_language",
        "reports/activity",
        "warehouse",
    }
)

__all__ = ["Project", "Rows", "evaluations", "failure", "metadata"]


class Project(Runs):
    """The project with a lake below `folder`, asking `organisations` of the GitHub at `api_url`; else the sample."""

    def __init__(
        self,
        folder: Path,
        api_url: str = "",
        organisations: Iterable[str] = (),
        token: str = "",
        tables: frozenset[str] = OF_REPOS,
        *,
        previews: int | None = 0,
        **options: Any,
    ):
        """Make nothing in `folder` but a Dagster home without runs.

        Args:
            folder: Where the lake and the Dagster home go.
            api_url: GitHub's API.
            organisations: Whose repositories to read.
            token: GITHUB_TOKEN.
            tables: The only tables that `materialise` runs; if empty, all.
            previews: With a token, MDS_PREVIEW_ROWS.
            options: Other settings of GitHub, such as `api_version`.
        """
        super().__init__(folder)
        self.tables = tables
        self.environment |= {"GITHUB_ORG": ",".join(organisations), "GITHUB_API_URL": api_url, "GITHUB_TOKEN": token}
        github = {
            "api_url": api_url,
            "organisations": tuple(organisations),
            "token": SecretStr(token) if token else None,
            **options,
        }
        self.definitions = build_definitions(
            {"github": sessions(github_settings.model_copy(update=github))},
            settings.model_copy(update={"data_dir": str(self.lake), "preview_rows": previews if token else None}),
        )

    def command(self, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """The command as given; `mds run` runs only the project's `tables`."""
        return super().command(*words, *(self.selecting if words[:2] == ("mds", "run") else ()), cwd=cwd)

    @property
    def selecting(self) -> tuple[str, ...]:
        """The option of `mds run` and `dagster asset materialize` for its `tables`; none if that is all."""
        return ("--select", " or ".join(f'key:"{table}"' for table in sorted(self.tables))) if self.tables else ()
