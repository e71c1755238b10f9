"""Declarative automation: what runs because something else has run.

https://docs.dagster.io/guides/automate/declarative-automation
"""

from collections.abc import Iterable

from dagster import (
    AssetKey,
    AssetsDefinition,
    AssetSelection,
    AutomationCondition,
    AutomationConditionSensorDefinition,
    DefaultSensorStatus,
)

from mds_assets.stack.jobs import TRIGGER, WHY

_changed = AutomationCondition.any_deps_match(AutomationCondition.newly_updated())
_blocked = AutomationCondition.any_deps_match(
    AutomationCondition.any_checks_match(AutomationCondition.check_failed(), blocking_only=True)
)

# Dagster's own `any_deps_updated` ignores updates from a run that also includes the mart, whichever days that run
# makes: after all tables of one day are repaired, the later days that look back on it would be missed. It also
# considers only the newest day of a run. Here, each day's timestamps are compared. For that, both conditions of a
# `since` must stand alone, because Dagster drops the timestamps when it combines conditions.
FOLLOWS_STAGING = (
    _changed.since(AutomationCondition.newly_updated()).with_label("an input is newer")
    # Once per change: a mart that fails is not requested over and over.
    & _changed.since(AutomationCondition.newly_requested()).with_label("not requested since")
    # Missing partitions are left to backfills.
    & ~AutomationCondition.missing()
    # A table blocked by a check still exists: everything downstream waits until it is repaired.
    & ~_blocked
    & ~AutomationCondition.any_deps_in_progress()
    & ~AutomationCondition.in_progress()
).with_label("follows staging")


def followers(assets: Iterable[AssetsDefinition]) -> set[AssetKey]:
    """The tables derived from other derived tables, not directly from raw: marts, reports, current tables."""
    return {
        spec.key
        for definition in assets
        for spec in definition.specs
        if spec.deps
        and spec.group_name != "warehouse"
        and not any(dep.asset_key.has_prefix(["raw"]) for dep in spec.deps)
    }


def automated(definition: AssetsDefinition, following: set[AssetKey]) -> AssetsDefinition:
    """The same assets; followers without their own condition rerun when a table they read was repaired."""
    return definition.map_asset_specs(
        lambda spec: (
            spec.replace_attributes(automation_condition=FOLLOWS_STAGING)
            if spec.key in following and spec.automation_condition is None
            else spec
        )
    )


def follow_staging(following: set[AssetKey]) -> AutomationConditionSensorDefinition:
    """The sensor that starts them.

    Like the daily schedule, it is on wherever a daemon runs: it queries no source, it only touches days that already
    exist, and without it a mart would keep serving stale data.
    """
    return AutomationConditionSensorDefinition(
        "follow_staging",
        target=AssetSelection.assets(*sorted(following)),
        description="When a day of staging is materialized again, the marts and reports that look back on it are "
        "outdated: those of that day, and of the next days as far as their window reaches. This runs them again, if "
        "they exist.",
        default_status=DefaultSensorStatus.RUNNING,
        run_tags={TRIGGER: "automation", WHY: "a table that these read was materialized again"},
    )
