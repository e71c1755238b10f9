"""The setting of Dagster's webserver, apart from `settings`: the webserver gets no source's settings, nor secrets."""

import re

from pydantic import Field, field_validator

from mds_assets.stack.environment import EnvironmentSettings, load

_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\]")


class UISettings(EnvironmentSettings):
    """Who may reach Dagster's UI."""

    hosts: tuple[str, ...] = Field(
        default=(),
        validation_alias="MDS_UI_HOSTS",
        title="Names by which browsers reach the UI, apart from those of this machine: that of your proxy.",
        description="host names without scheme and port, comma-separated, such as dagster.example.org",
    )

    @field_validator("hosts", mode="before")
    @classmethod
    def _hosts_are_names(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        names = [name.strip().lower() for name in value.split(",") if name.strip()]
        if wrong := [name for name in names if not _HOST.fullmatch(name)]:
            raise ValueError(f"'{wrong[0]}' is not a host name")
        return names


def ui_hosts() -> tuple[str, ...]:
    """The names that MDS_UI_HOSTS allows, in lower case.

    Raises:
        SettingsError: One is no host name.
    """
    return load(UISettings).hosts
