"""The sample organisation as GitHub lists it: the state of each repository at a given moment.

Everything is a pure function of `SEED` and the moment. Moments are seconds since 1970 in UTC, days are days since 1970
in UTC. What happens is in `pushes.py`, `issues.py` and `stars.py`.

Three properties of real GitHub, measured on the recordings in `github/README.md`, are preserved: a third of the pushes
leave `updated_at` unchanged, neither timestamp ever goes backwards, and a field only changes together with one of the
two. So `size` is derived from `pushed_at`, and everything else that changes (name, stars, forks, issues) from
`updated_at`.
"""

from functools import lru_cache
from typing import NamedTuple

from mds_assets.github.sample import issues, stars
from mds_assets.github.sample.draws import DAY, draw, integer, pick, timestamp
from mds_assets.github.sample.pushes import newest
from mds_assets.github.sample.repositories import (
    PARTS,
    SAMPLE_API_URL,
    SAMPLE_ORG,
    SAMPLE_ORG_ID,
    Repository,
    repositories,
)

__all__ = ["SAMPLE_API_URL", "SAMPLE_ORG", "SAMPLE_ORG_ID", "Snapshot", "as_github", "snapshots"]

EMOJI = ("🌊", "🚀", "🧪", "✨", "🪶", "🛠️")
LICENSES = {  # SPDX id: name
    "MIT": "MIT License",
    "Apache-2.0": "Apache License 2.0",
    "BSD-3-Clause": 'BSD 3-Clause "New" or "Revised" License',
    "GPL-3.0": "GNU General Public License v3.0",
    "MPL-2.0": "Mozilla Public License 2.0",
    "NOASSERTION": "Other",  # GitHub's value for a licence file that it does not recognise
}
LICENSE_SHARES = ("MIT",) * 6 + ("Apache-2.0",) * 4 + ("BSD-3-Clause", "GPL-3.0", "MPL-2.0", "NOASSERTION", None, None)


class Snapshot(NamedTuple):
    """A repository at a moment: its newest update and push (None: never pushed). Every field follows from the three."""

    repository: Repository
    updated: int
    pushed: int | None

    @property
    def name(self) -> str:
        """The name since the newest update: a rename is an update, as on GitHub."""
        return self.repository.name_at(self.updated)


def snapshots(moment: int) -> list[Snapshot]:
    """Every repository that exists at `moment` (seconds since 1970 UTC; 2024 or later), in order of creation."""
    return [
        Snapshot(repository, *newest(repository, moment))
        for repository in repositories()
        if repository.created <= moment
    ]


def as_github(snapshot: Snapshot) -> dict[str, object]:
    """The repository as GitHub's JSON object: size in KB, times in UTC.

    Null as on GitHub: description, homepage, language, license, mirror_url, pushed_at.
    Fields: https://docs.github.com/en/rest/repos/repos#list-organization-repositories
    """
    repository, updated, pushed = snapshot
    key, name = repository.id, snapshot.name
    theme, part = repository.name.split("-", 1)
    about, languages = PARTS[part]
    language = pick(languages, key, "language") if pushed is not None else None
    emoji = pick(("",) * 30 + EMOJI, key, "emoji")
    description = f"{emoji} {about.format(theme.title())} (synthetic)".lstrip() if draw(key, "about") > 0.06 else None
    topics = [part, *([language.lower().replace(" ", "-")] if language else []), theme, "synthetic"]
    stargazers = stars.total(repository, updated)
    forks = stars.given(repository, updated) * (8 + integer(24, key, "forks")) // 100
    open_issues = _open_issues(repository, updated)
    initial_size = 30 + integer(200, key, "size") ** 2
    size = initial_size + initial_size * (pushed - repository.created) // (3_650 * DAY) if pushed is not None else 0
    spdx_id = pick(LICENSE_SHARES, key, "license")
    url, html_url = f"{SAMPLE_API_URL}/repos/{SAMPLE_ORG}/{name}", f"{SAMPLE_API_URL}/{SAMPLE_ORG}/{name}"
    return {
        "id": repository.id,
        "node_id": f"R_synthetic_{repository.id}",
        "name": name,
        "full_name": f"{SAMPLE_ORG}/{name}",
        "private": False,
        "owner": {
            "login": SAMPLE_ORG,
            "id": SAMPLE_ORG_ID,
            "node_id": f"O_synthetic_{SAMPLE_ORG_ID}",
            "avatar_url": f"{SAMPLE_API_URL}/avatars/synthetic.png",
            "gravatar_id": "",
            "url": f"{SAMPLE_API_URL}/users/{SAMPLE_ORG}",
            "html_url": f"{SAMPLE_API_URL}/{SAMPLE_ORG}",
            "repos_url": f"{SAMPLE_API_URL}/users/{SAMPLE_ORG}/repos",
            "type": "Organization",
            "user_view_type": "public",
            "site_admin": False,
        },
        "html_url": html_url,
        "description": description,
        "fork": repository.fork,
        "url": url,
        "branches_url": f"{url}/branches{{/branch}}",
        "commits_url": f"{url}/commits{{/sha}}",
        "issues_url": f"{url}/issues{{/number}}",
        "languages_url": f"{url}/languages",
        "created_at": timestamp(repository.created),
        "updated_at": timestamp(updated),
        "pushed_at": timestamp(pushed) if pushed is not None else None,
        "git_url": f"git://sample.invalid/{SAMPLE_ORG}/{name}.git",
        "ssh_url": f"git@sample.invalid:{SAMPLE_ORG}/{name}.git",
        "clone_url": f"{html_url}.git",
        "svn_url": html_url,
        "homepage": f"https://{name}.sample.invalid" if part in ("web", "docs") else None,
        "size": size,
        "stargazers_count": stargazers,
        "watchers_count": stargazers,
        "language": language,
        "has_issues": True,
        "has_projects": True,
        "has_downloads": True,
        "has_wiki": False,
        "has_pages": part == "docs",
        "has_discussions": False,
        "forks_count": forks,
        "mirror_url": None,
        "archived": repository.period == 0 and draw(key, "archived") < 0.35,
        "disabled": False,
        "open_issues_count": open_issues,
        "license": spdx_id and _license(spdx_id),
        "allow_forking": True,
        "is_template": False,
        "web_commit_signoff_required": False,
        "topics": topics[: integer(2, key, "topics") * 4],
        "visibility": "public",
        "forks": forks,
        "open_issues": open_issues,
        "watchers": stargazers,
        "default_branch": "main",
        "permissions": {"admin": False, "maintain": False, "push": False, "triage": False, "pull": True},
        "custom_properties": {},
    }


@lru_cache(maxsize=4_096)
def _open_issues(repository: Repository, updated: int) -> int:
    """As of the newest update: all pages of a listing, and the next run's, show mostly the same."""
    return issues.open_at(repository, updated)


def _license(spdx_id: str) -> dict[str, str | None]:
    key, known = spdx_id.lower(), spdx_id != "NOASSERTION"
    return {
        "key": key if known else "other",
        "name": LICENSES[spdx_id],
        "spdx_id": spdx_id,
        "url": f"{SAMPLE_API_URL}/licenses/{key}" if known else None,
        "node_id": f"L_synthetic_{key}",
    }
