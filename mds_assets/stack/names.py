"""Names in the lake and tags of Dagster's runs, for commands that don't import Dagster."""

WAREHOUSE = "warehouse.duckdb"
PRIVATE = ".private"  # a file at the root: a source that was given a secret has landed rows
LATEST_REPORT = "reports/activity/latest.html"

SCOPE = "mds_scope"  # the key of a raw file's footer that holds what its load covers, as a JSON list
LEFT_OUT = "mds_left_out"  # the same for what it should cover and lacks: a JSON object of parts and reasons
LOADS = "mds_loads"  # the same, for a file into which `compact` merged several: the names of the loads' files
MERGED = "mds_merged"  # the same for a current table: a JSON object of the merged days and the versions of their files
LOAD = "mds_load"  # the same, for a raw file: its load's run, days, requests and times, as a JSON object
PROVENANCE = "mds_provenance"  # the same for a derived file: what it was made from, see `provenance`
SETTINGS = "mds/settings"  # the metadata of an asset that holds the settings its rows depend on
NEWEST_ACTIVITY = "newest_activity"  # metadata of a raw table: the newest day with activity in its source, as text
SKIPPED = "skipped"  # the metadata of a raw table's observation that holds why a run landed nothing

ACTIONABLE = "actionable"  # the metadata of a warning that holds whether running something would end it

IS_VALID = "is_valid"  # the check that a table's files are as declared

# The op tag of a step that starts once all others of its run have ended or were skipped: steps share one process.
RUNS_LAST = {"dagster/priority": "-1"}

# The tags of a run's day, or of its first and last one.
DAY_TAG = "dagster/partition"
FIRST_DAY_TAG, LAST_DAY_TAG = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
