"""The test server's event endpoints: activities, issue search and star history.

Parameters, defaults and errors follow GitHub's documentation and OpenAPI description. Cursor links follow
api.github.com, whose `Link` header identifies a repository by its number.
"""

import re
from datetime import UTC, date, datetime, time, timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

Json = dict[str, Any]
Reply = tuple[int, Any, str]  # status, body, `Link` header

PERIODS = {"day": 1, "week": 7, "month": 28, "quarter": 89, "year": 365}  # days
MAX_SEARCH_ITEMS = 1_000

_QUALIFIERS = re.compile(r"(org|user|is|created|closed|merged):(\S+)")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def activities(events: list[Json], query: dict[str, str], url: str, now: datetime) -> Reply:
    """A page of a repository's activities, newest first, with an opaque cursor as on GitHub."""
    if "time_period" in query:
        since = f"{now - timedelta(days=PERIODS[query['time_period']]):%Y-%m-%dT%H:%M:%SZ}"
        events = [event for event in events if event["timestamp"] >= since]
    listed = sorted(events, key=lambda event: (event["timestamp"], event["id"]), reverse=True)
    size, start = min(int(query.get("per_page", "30")), 100), int(query.get("after", "c0")[1:])
    page = [{name: value for name, value in each.items() if name != "repository"} for each in listed[start:][:size]]
    following = {**query, "after": f"c{start + size}"}
    return HTTPStatus.OK, page, _next(url, following) if start + size < len(listed) else ""


def issues(items: list[Json], accounts: dict[str, str], query: dict[str, str], url: str) -> Reply:
    """A page of search results. `accounts` maps each login that exists to `org` or `user`."""
    qualifiers = _QUALIFIERS.findall(query.get("q", ""))
    values = dict(qualifiers)
    kinds = [value for name, value in qualifiers if name == "is"]
    if kinds not in (["issue"], ["pr"]):
        return _invalid("Query must include 'is:issue' or 'is:pull-request'")
    account = next(((name, value) for name, value in qualifiers if name in ("org", "user")), None)
    if not account or accounts.get(account[1].lower()) != account[0]:
        return _invalid("The listed users and repositories cannot be searched: they do not exist or are not visible.")
    event = next(name for name in ("created", "closed", "merged") if name in values)
    first, last = values[event].split("..")
    if not (_MOMENT.fullmatch(first) and _MOMENT.fullmatch(last)):
        return _invalid(f"{values[event]} is not a range of UTC timestamps")
    matching = [
        item
        for item in items
        if (item.get("pull_request") is not None) == (kinds == ["pr"])
        and item["repository_url"].split("/")[-2].lower() == account[1].lower()
        and first <= (event_time(item, event) or "") <= last
    ]
    if query.get("sort") == "created":
        matching.sort(key=lambda item: (item["created_at"], item["id"]), reverse=query.get("order", "desc") == "desc")
    size, page = min(int(query.get("per_page", "30")), 100), int(query.get("page", "1"))
    if (page - 1) * size >= MAX_SEARCH_ITEMS:
        return _invalid("Only the first 1000 search results are available")
    body = {
        "total_count": len(matching),
        "incomplete_results": False,
        "items": matching[(page - 1) * size : page * size],
        "search_type": "lexical",
    }
    is_last = page * size >= min(len(matching), MAX_SEARCH_ITEMS)
    return HTTPStatus.OK, body, "" if is_last else _next(url, {**query, "page": str(page + 1)})


def event_time(item: Json, event: str) -> str | None:
    """When an item was created, closed or merged."""
    return (item.get("pull_request") or {}).get("merged_at") if event == "merged" else item[f"{event}_at"]


def star_weeks(gained: dict[date, int], since: date, query: dict[str, str], url: str, now: datetime) -> Reply:
    """A page of a repository's weekly star counts since its creation, newest first."""
    sunday = now.date() - timedelta(days=now.isoweekday() % 7)
    sundays = [sunday - timedelta(weeks=number) for number in range((sunday - since).days // 7 + 2)]
    weeks = [_week(gained, sunday) for sunday in sundays if sunday + timedelta(days=6) >= since]
    size, page = min(int(query.get("per_page", "30")), 30), int(query.get("page", "1"))
    following = {**query, "page": str(page + 1)}
    return (
        HTTPStatus.OK,
        weeks[(page - 1) * size : page * size],
        _next(url, following) if page * size < len(weeks) else "",
    )


def _week(gained: dict[date, int], sunday: date) -> Json:
    days = [gained.get(sunday + timedelta(days=number), 0) for number in range(7)]
    return {"week": int(datetime.combine(sunday, time(), UTC).timestamp()), "total": sum(days), "days": days}


def _next(url: str, query: dict[str, str]) -> str:
    return f'<{url}?{urlencode(query)}>; rel="next"'


def _invalid(message: str) -> Reply:
    errors = [{"message": message, "resource": "Search", "field": "q", "code": "invalid"}]
    return HTTPStatus.UNPROCESSABLE_ENTITY, {"message": f"Validation Failed: {message}", "errors": errors}, ""
