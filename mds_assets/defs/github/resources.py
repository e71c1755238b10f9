"""The GitHub client as a Dagster resource: one session per run."""

import logging
from collections.abc import Generator

from dagster import Definitions, InitResourceContext, ResourceDefinition, definitions

from mds_assets.defs.github.settings import GitHubSettings, settings
from mds_assets.github.client import GitHub
from mds_assets.github.session import Session


def client(settings: GitHubSettings) -> GitHub:
    """A client for the configured organisations; if there are none, for the built-in sample."""
    if not settings.organisations:
        from mds_assets.github.sample import SAMPLE_API_URL, SAMPLE_ORG, SampleTransport

        return GitHub([SAMPLE_ORG], SAMPLE_API_URL, transport=SampleTransport())
    return GitHub(
        settings.organisations,
        settings.api_url,
        settings.token.get_secret_value() if settings.token else None,
        settings.api_version,
        settings.max_wait_seconds,
    )


def sessions(settings: GitHubSettings) -> ResourceDefinition:
    """A session for each run: its tables share a connection, and the list of changed repositories is read once.

    Created when raw needs it, because the sample and its transport take time to import.
    """

    def session(context: InitResourceContext) -> Generator[Session]:
        with client(settings).session(context.log or logging.getLogger(__name__)) as opened:
            yield opened

    return ResourceDefinition(session)


@definitions
def resources() -> Definitions:
    """The resource `github`."""
    return Definitions(resources={"github": sessions(settings)})
