"""What all tests share: settings of their own, whatever the environment and `.env` of the machine say."""

import os
import tempfile

# Before any test imports the project, as it reads its settings once. An empty value means the default.
os.environ |= {
    "GITHUB_ORG": "",
    "GITHUB_TOKEN": "",
    "GITHUB_API_URL": "http://127.0.0.1:9",  # nothing listens there: no test can reach GitHub by mistake
    "MDS_DATA_DIR": tempfile.mkdtemp(prefix="mds-tests-"),
    "MDS_LOOKBACK_DAYS": "",
    "MDS_START_DATE": "2019-01-01",
    "MDS_PREVIEW_ROWS": "",
    "MDS_ALERT_WEBHOOK": "",
    "MDS_DUCKDB_MEMORY_LIMIT": "",
    "MDS_DUCKDB_THREADS": "",
}

from hypothesis import settings

# A machine under load is no failure.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")
