"""The GitHub client as a Dagster resource."""

from dagster import Definitions, ResourceDefinition, definitions

from mds_assets.defs.github.settings import GitHubSettings, settings
from mds_assets.github.client import GitHub


def client(settings: GitHubSettings) -> GitHub:
    """The configured organisations; without any, the built-in sample behind the same client."""
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
    """`github`, made when raw asks for it: the sample and its transport take time to import."""
    return Definitions(resources={"github": ResourceDefinition(lambda _: client(settings))})
