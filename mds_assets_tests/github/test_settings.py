"""Promises of GitHub's settings: errors of one line, tokens that are never shown, GitHub Actions' names that pass."""

import re
from pathlib import Path

import pytest

from mds_assets.defs.github import settings as github
from mds_assets.defs.github.settings import GitHubSettings
from mds_assets.stack import environment
from mds_assets.stack import settings as stack
from mds_assets.stack.environment import PROJECT_ROOT, SettingsError, check_names, load, source_settings, variables
from mds_assets.stack.settings import Settings
from mds_assets.stack.ui_settings import UISettings

# https://docs.github.com/en/actions/reference/workflows-and-actions/variables, and those that runners, Codespaces and
# Copilot set besides.
ACTIONS = """
    ACTION ACTION_PATH ACTION_REF ACTION_REPOSITORY ACTION_STATUS ACTIONS ACTOR ACTOR_ID API_URL BASE_REF ENV
    EVENT_NAME EVENT_PATH GRAPHQL_URL HEAD_REF JOB OUTPUT PATH REF REF_NAME REF_PROTECTED REF_TYPE REPOSITORY
    REPOSITORY_ID REPOSITORY_OWNER REPOSITORY_OWNER_ID RETENTION_DAYS RUN_ATTEMPT RUN_ID RUN_NUMBER SERVER_URL SHA
    STATE STEP_SUMMARY TRIGGERING_ACTOR WORKFLOW WORKFLOW_REF WORKFLOW_SHA WORKSPACE TOKEN CODESPACE_TOKEN
    CODESPACES_PORT_FORWARDING_DOMAIN USER COPILOT_API_TOKEN APP_ID APP_TOKEN
"""


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("GITHUB_ORG", "a/b", "letters, digits and single hyphens"),
        ("GITHUB_ORG", "dagster-io,,npm", "comma-separated"),
        ("GITHUB_ORG", "-dagster", "letters, digits and single hyphens"),
        ("GITHUB_API_URL", "api.github.com", "http(s) URL"),
        ("GITHUB_API_URL", "ftp://api.github.com", "http(s) URL"),
        ("GITHUB_API_URL", "https://api.github.com:99999", "http(s) URL"),
        ("GITHUB_API_URL", "https://a b.c", "http(s) URL"),
        ("GITHUB_API_URL", "https://api.github.com?page=1", "http(s) URL"),
        ("GITHUB_API_URL", "https://", "http(s) URL"),
        ("GITHUB_API_VERSION", "latest", "YYYY-MM-DD"),
        ("GITHUB_MAX_WAIT_SECONDS", "-1", "0 to 86400"),
        ("GITHUB_MAX_WAIT_SECONDS", "15m", "0 to 86400"),
        ("MDS_ORGS_PER_RUN", "0", "1 to 10000"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_variable_value_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, allowed: str
):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as error:
        load(GitHubSettings)
    message = error.value.format_message()
    assert message.startswith(f"{variable}={value!r} ")
    assert allowed in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/python",
        "https://github.com/python/",
        "http://www.github.com/python/cpython",
        "github.com/python?tab=repositories",
        "https://github.com/orgs/python/repositories",
        "https://github.corp/python",
    ],
)
def test_an_organisation_given_as_its_page_is_told_its_name(monkeypatch: pytest.MonkeyPatch, url: str):
    monkeypatch.setenv("GITHUB_ORG", f"npm,{url}")
    with pytest.raises(SettingsError, match=re.escape(f"{url!r} is a URL; write 'python'. Allowed: ")):
        load(GitHubSettings)


def test_a_wrong_token_is_never_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_secret\n")
    with pytest.raises(SettingsError) as error:
        load(GitHubSettings)
    assert "GITHUB_TOKEN" in error.value.format_message()
    assert "ghp_secret" not in repr(error.value) + error.value.format_message()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("GITHUB_API_URL", "https://user:hunter2@api.github.com"),
        ("GITHUB_API_URL", "https://:hunter2@api.github.com"),
        ("GITHUB_API_URL", "https://user:p@hunter2@api.github.com"),
        ("GITHUB_API_URL", "https://user:p/hunter2@api.github.com"),
        ("GITHUB_ORG", "https://github.com/hunter2@host"),
        ("GITHUB_ORG", "https://github.com/hunter2/@host"),
        ("GITHUB_ORG", "ghp_hunter2ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"),
        ("GITHUB_ORG", "github_pat_hunter2ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"),
    ],
)
def test_a_secret_in_the_wrong_place_is_not_shown(monkeypatch: pytest.MonkeyPatch, variable: str, value: str):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as error:
        load(GitHubSettings)
    assert f"{variable}=" in error.value.format_message()
    assert "hunter2" not in repr(error.value) + error.value.format_message()


@pytest.mark.parametrize("url", ["http://github.corp/api/v3", "http://10.0.0.1", "http://127.0.0.1.corp"])
def test_a_token_over_plain_http_is_refused(monkeypatch: pytest.MonkeyPatch, url: str):
    monkeypatch.setenv("GITHUB_API_URL", url)
    load(GitHubSettings)
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_secret")
    with pytest.raises(SettingsError, match=r"GITHUB_API_URL='http://.*unencrypted; use https"):
        load(GitHubSettings)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://localhost:8000", "http://[::1]:1", "https://a.corp"])
def test_a_token_over_https_or_on_this_machine_is_allowed(monkeypatch: pytest.MonkeyPatch, url: str):
    monkeypatch.setenv("GITHUB_API_URL", url)
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_secret")
    assert load(GitHubSettings).api_url == url


def test_a_right_token_is_not_shown_either(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_secret")
    settings = load(GitHubSettings)
    assert settings.token is not None
    assert settings.token.get_secret_value() == "ghp_secret"
    assert "ghp_secret" not in repr(settings) + settings.model_dump_json()


def test_organisations_are_split_and_each_taken_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GITHUB_ORG", " Dagster-io, npm ,dagster-IO")
    assert load(GitHubSettings).organisations == ("dagster-io", "npm")


def test_a_token_alone_hides_previews_and_is_redacted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GITHUB_TOKEN", "some-token")
    monkeypatch.setattr(github, "settings", load(GitHubSettings))
    assert stack.preview_rows() == 0
    assert stack.redact("GET with some-token") == "GET with ***"


def test_they_are_found():
    assert github.settings in source_settings()


def test_all_that_github_actions_sets_passes(monkeypatch: pytest.MonkeyPatch):
    for name in ACTIONS.split():
        monkeypatch.setenv(f"GITHUB_{name}", "1")
    check_names([Settings, GitHubSettings])


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("GITHUB_ORGS", "GITHUB_ORG"),
        ("GITHUB_TOKENS", "GITHUB_TOKEN"),
        ("GITHUB_TOEKN", "GITHUB_TOKEN"),
        ("GITHUB_APIURL", "GITHUB_API_URL"),
        ("MDS_ORG_PER_RUN", "MDS_ORGS_PER_RUN"),
    ],
)
def test_a_misspelt_name_is_refused_in_the_environment(monkeypatch: pytest.MonkeyPatch, name: str, nearest: str):
    monkeypatch.setenv(name, "1")
    with pytest.raises(SettingsError, match=f"{name} in the environment is not a setting; did you mean {nearest}"):
        check_names([Settings, GitHubSettings])


def test_any_unknown_name_is_refused_in_dotenv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / ".env").write_text("GITHUB_REPOSITORY=cpython\n")
    monkeypatch.setattr(environment, "ENV_FILE", tmp_path / ".env")
    with pytest.raises(SettingsError, match=r"GITHUB_REPOSITORY in \.env is not a setting"):
        check_names([Settings, GitHubSettings])


def test_the_reference_page_is_not_stale():
    page = (PROJECT_ROOT / "docs/reference/settings.md").read_text(encoding="utf-8")
    assert page.count(f"\n## github\n\n{stack.settings_table(GitHubSettings)}") == 1


def test_env_example_names_each_setting_once_with_its_default_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    lines = (PROJECT_ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    examples = [line[1:].split("=", 1) for line in lines if re.match(r"#\w+=", line)]
    known = variables(GitHubSettings)
    assert [name for name, _ in examples if name in known] == list(known)
    owners = (Settings, UISettings, GitHubSettings)
    assert {name for name, _ in examples} == {name for owner in owners for name in variables(owner)}
    for name, value in examples:
        if name in known and known[name].default:
            assert value == str(known[name].default)
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".env").write_text("\n".join(f"{name}={value}" for name, value in examples))
    monkeypatch.setattr(environment, "ENV_FILE", tmp_path / ".env")
    assert load(GitHubSettings).organisations == ("dagster-io",)
