"""The built-in sample: a clearly labelled SYNTHETIC organisation that answers like GitHub's REST API.

It stands in for GitHub while `GITHUB_ORG` is unset. Here belong its data (`organisation`) and its HTTP side
(`transport`); the client that asks it is the same one that asks GitHub and lives in `mds_assets.github`.
"""

from mds_assets.github.sample.organisation import SAMPLE_API_URL, SAMPLE_ORG
from mds_assets.github.sample.transport import SampleTransport

__all__ = ["SAMPLE_API_URL", "SAMPLE_ORG", "SampleTransport"]
