"""The GitHub REST API: which repositories of the configured organisations were active on which days.

A repository is active at the later of `updated_at` and `pushed_at`. One third of real pushes leave `updated_at` as it
was, so the list is read in both orders, each until it is older than the range that was asked for.

https://docs.github.com/en/rest/repos/repos#list-organization-repositories
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import Any
from urllib.parse import urlsplit

import requests

Repository = dict[str, Any]  # as GitHub sends it: some 100 fields, of which new ones appear any day

_PER_PAGE = 100  # GitHub's maximum
_TIMEOUT = (10, 30)  # seconds to connect, seconds between two bytes
_ORDERS = (("updated", "updated_at"), ("pushed", "pushed_at"))


class GitHubError(Exception):
    """GitHub refused a request or sent what is not a list of repositories. One line: what, why and the way out."""


@dataclass
class Crawl:
    """What one crawl saw.

    Attributes:
        observed_at: When it began, UTC. Every row bears it.
        days: For each day of the range the rows to land: GitHub's repository plus `org` and `observed_at`.
        requests: Requests made to GitHub.
        rate_limit_remaining: Requests left in the current hour, as GitHub last said; None when it did not.
    """

    observed_at: datetime
    days: dict[date, list[Repository]]
    requests: int = 0
    rate_limit_remaining: int | None = None


@dataclass
class GitHub:
    """A client for the repositories of some organisations or users.

    Attributes:
        organisations: Their logins.
        api_url: The API's root, `https://api.github.com` or a GitHub Enterprise Server's `https://HOST/api/v3`.
        session: Makes the requests; carries the token. See `github_session`.
    """

    organisations: Sequence[str]
    api_url: str
    session: requests.Session = field(repr=False)
    _users: set[str] = field(default_factory=set[str], init=False, repr=False)

    def crawl(self, days: Sequence[date]) -> Crawl:
        """Fetch the repositories whose newest activity lies on one of these days, in as few requests as GitHub allows.

        Args:
            days: UTC days, in order, without gaps.

        Returns:
            Each repository once, or twice where it was active again between the two orders.

        Raises:
            GitHubError: GitHub refused, or sent something else than repositories.
        """
        crawl = Crawl(observed_at=datetime.now(UTC), days={day: [] for day in days})
        for organisation in self.organisations:
            seen: set[tuple[object, datetime]] = set()
            for repository in self._listed(organisation, days[0], crawl):
                active = active_at(repository)
                observation = (repository.get("id"), active)
                if active.date() in crawl.days and observation not in seen:
                    seen.add(observation)
                    row = without_derivable_urls(repository)
                    row.pop("temp_clone_token", None)  # a credential, of a repository that the token may clone
                    row.update(org=organisation, observed_at=crawl.observed_at)
                    crawl.days[active.date()].append(row)
        return crawl

    def _listed(self, organisation: str, first: date, crawl: Crawl) -> Iterator[Repository]:
        """Everything active since the start of `first`, and a little more; in both orders where one is not enough."""
        since = datetime.combine(first, time(), UTC)
        for order, timestamp in _ORDERS:
            for page, is_last in self._pages(organisation, order, crawl):
                yield from page
                if is_last:
                    return  # everything is listed: another order has nothing to add
                moments = [_moment(repository, timestamp) for repository in page]
                if any(moment and moment < since for moment in moments):
                    break

    def _pages(self, organisation: str, order: str, crawl: Crawl) -> Iterator[tuple[list[Repository], bool]]:
        """Each page, and whether it is the last."""
        query = {"sort": order, "direction": "desc", "per_page": str(_PER_PAGE)}
        kind = "users" if organisation in self._users else "orgs"
        response = self._get(f"{self.api_url}/{kind}/{organisation}/repos", query, crawl)
        if response.status_code == requests.codes.not_found and kind == "orgs":
            # A user is not an organisation to GitHub, and has a path of its own.
            self._users.add(organisation)
            response = self._get(f"{self.api_url}/users/{organisation}/repos", query, crawl)
        while True:
            # The next page may have another path (/organizations/ID/repos): only GitHub's own link is right.
            following = response.links.get("next", {}).get("url")
            yield _repositories(response, organisation), not following
            if not following:
                return
            # The request carries the token: it goes to the configured host alone, over its scheme.
            if urlsplit(following)[:2] != urlsplit(self.api_url)[:2]:
                raise GitHubError(
                    f"GITHUB_ORG {organisation!r}: the next page, {following!r}, is on another host than "
                    f"GITHUB_API_URL={self.api_url!r} and is not asked for. Check GITHUB_API_URL and any proxy."
                )
            response = self._get(following, None, crawl)

    def _get(self, url: str, query: dict[str, str] | None, crawl: Crawl) -> requests.Response:
        try:
            response = self.session.get(url, params=query, timeout=_TIMEOUT)
        except requests.RequestException as error:
            reason: BaseException = error
            while reason.__context__:  # requests and urllib3 wrap it several times, each quoting the other
                reason = reason.__context__
            raise GitHubError(f"GET {url} failed: {reason}. Check GITHUB_API_URL and the network.") from error
        crawl.requests += 1
        remaining = response.headers.get("x-ratelimit-remaining", "")
        crawl.rate_limit_remaining = int(remaining) if remaining.isdigit() else None
        return response


def github_session(token: str | None = None) -> requests.Session:
    """A session that introduces itself as GitHub asks, with the token if there is one.

    https://docs.github.com/en/rest/using-the-rest-api/getting-started-with-the-rest-api
    """
    session = requests.Session()
    session.headers["Accept"] = "application/vnd.github+json"
    session.headers["User-Agent"] = "mds-assets"
    session.headers["X-GitHub-Api-Version"] = "2022-11-28"

    def authenticate(request: requests.PreparedRequest) -> requests.PreparedRequest:
        if token:
            request.headers["Authorization"] = f"Bearer {token}"
        return request

    # Also without a token: where a session has no `auth`, requests sends what ~/.netrc has for the host instead.
    session.auth = authenticate
    return session


def active_at(repository: Repository) -> datetime:
    """When the repository was last active: the later of `updated_at` and `pushed_at` (null when never pushed), UTC.

    Raises:
        GitHubError: It has neither, so it belongs to no day.
    """
    moments = [moment for _, key in _ORDERS if (moment := _moment(repository, key))]
    if not moments:
        name = repository.get("full_name") or repository.get("id")
        raise GitHubError(f"GitHub sent repository {name} without updated_at and pushed_at: it belongs to no day.")
    return max(moments)


def without_derivable_urls(value: Repository) -> Repository:
    """The same object without `*_url` fields that extend its own `url`, such as `keys_url`; in nested objects too.

    They make up three quarters of a repository's bytes and say nothing that `url` does not say.
    """
    own = value.get("url")
    prefix = own + "/" if isinstance(own, str) else None
    return {
        key: without_derivable_urls(item) if isinstance(item, dict) else item
        for key, item in value.items()
        if not (prefix and key.endswith("_url") and isinstance(item, str) and item.startswith((prefix, f"{own}{{")))
    }


def _moment(repository: Repository, key: str) -> datetime | None:
    value = repository.get(key)
    return datetime.fromisoformat(value).astimezone(UTC) if value else None


def _repositories(response: requests.Response, organisation: str) -> list[Repository]:
    """The repositories that a response holds, or what went wrong, in one line."""
    who = f"GITHUB_ORG {organisation!r}"
    where = f"(GET {response.url.partition('?')[0]} answered {response.status_code})"
    if response.status_code == requests.codes.not_found:
        raise GitHubError(
            f"{who}: GitHub knows no organisation or user of this name {where}. Check its spelling and whether it "
            "was renamed; a private one needs a GITHUB_TOKEN that may see it."
        )
    if response.status_code == requests.codes.unauthorized:
        raise GitHubError(
            f"{who}: GITHUB_TOKEN was refused {where}: it is mistyped, expired or revoked. "
            "Set a valid one, or unset it to read public repositories at 60 requests an hour."
        )
    if not response.ok:
        raise GitHubError(f"{who}: GitHub refused {where}: {response.text[:200]!r}")
    try:
        page = response.json()
    except requests.JSONDecodeError:
        page = None
    if not isinstance(page, list) or not all(isinstance(item, dict) for item in page):
        raise GitHubError(f"{who}: GitHub sent no list of repositories {where}. Check GITHUB_API_URL.")
    return page
