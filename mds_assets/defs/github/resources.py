"""The GitHub client as a Dagster resource."""

from dagster import Definitions, ResourceDefinition, definitions

from mds_assets.defs.github.settings import GitHubSettings, settings
from mds_assets.github.client import GitHub


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


@definitions
def resources() -> Definitions:
    """The resource `github`, created when raw needs it: the sample and its transport take time to import."""
    return Definitions(resources={"github": ResourceDefinition(lambda _: client(settings))})
