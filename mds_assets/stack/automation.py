"""Declarative automation: what runs because something else has run.

What does not belong here: what runs at a certain time (`schedules.py`), and what is told of a run (`sensors.py`).

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

from mds_assets.stack.jobs import TRIGGER

_changed = AutomationCondition.any_deps_match(AutomationCondition.newly_updated())
_blocked = AutomationCondition.any_deps_match(
    AutomationCondition.any_checks_match(AutomationCondition.check_failed(), blocking_only=True)
)

# Dagster's own `any_deps_updated` leaves out updates by a run that also has the mart, whichever of its days that run
# makes: when all tables of one day are repaired, the later days that look back on it would be forgotten. It also looks
# at the newest day of a run only. Here each day's times are compared: both conditions of a `since` have to stand alone
# for that, as Dagster drops the times where it joins conditions.
FOLLOWS_STAGING = (
    _changed.since(AutomationCondition.newly_updated()).with_label("what it reads is newer")
    # Once for each change: a mart that fails is not asked for again and again.
    & _changed.since(AutomationCondition.newly_requested()).with_label("not asked for since")
    # A day that never was there is nobody's mistake to repair: backfills make it.
    & ~AutomationCondition.missing()
    # A table that a check blocked is there all the same: what it would spread to waits until it is repaired.
    & ~_blocked
    & ~AutomationCondition.any_deps_in_progress()
    & ~AutomationCondition.in_progress()
).with_label("follows staging")


def followers(assets: Iterable[AssetsDefinition]) -> set[AssetKey]:
    """The tables that are made from other derived tables, not straight from raw: marts, reports, current tables."""
    return {
        spec.key
        for definition in assets
        for spec in definition.specs
        if spec.deps
        and spec.group_name != "warehouse"
        and not any(dep.asset_key.has_prefix(["raw"]) for dep in spec.deps)
    }


def automated(definition: AssetsDefinition, following: set[AssetKey]) -> AssetsDefinition:
    """The same assets; the followers run again when what they read was repaired, unless they say otherwise."""
    return definition.map_asset_specs(
        lambda spec: (
            spec.replace_attributes(automation_condition=FOLLOWS_STAGING)
            if spec.key in following and spec.automation_condition is None
            else spec
        )
    )


def follow_staging(following: set[AssetKey]) -> AutomationConditionSensorDefinition:
    """The sensor that starts them.

    On wherever a daemon runs, as the daily schedule is: it asks no source, it touches only days that somebody has made
    before, and without it a mart would go on to say what staging no longer says.
    """
    return AutomationConditionSensorDefinition(
        "follow_staging",
        target=AssetSelection.assets(*sorted(following)),
        description="When a day of staging is repaired, the marts and reports that look back on it run again, if they "
        "were there before.",
        default_status=DefaultSensorStatus.RUNNING,
        run_tags={TRIGGER: "automation"},
    )
