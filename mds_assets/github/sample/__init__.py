"""The built-in sample: a clearly labelled SYNTHETIC organisation that behaves like GitHub's REST API.

It stands in for GitHub while `GITHUB_ORG` is unset. `organisation` generates its data, `transport` serves it over HTTP;
the client is the one in `mds_assets.github` that queries GitHub.
"""

from mds_assets.github.sample.repositories import SAMPLE_API_URL, SAMPLE_ORG
from mds_assets.github.sample.transport import SampleTransport

__all__ = ["SAMPLE_API_URL", "SAMPLE_ORG", "SampleTransport"]
