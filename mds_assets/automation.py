"""Declarative automation: what runs because something else has run.

What does not belong here: what runs at a certain time (`schedules.py`), and what is told of a run (`sensors.py`).

https://docs.dagster.io/guides/automate/declarative-automation
"""

from dagster import (
    AssetsDefinition,
    AssetSelection,
    AutomationCondition,
    AutomationConditionSensorDefinition,
    DefaultSensorStatus,
)

from mds_assets.jobs import TRIGGER

_staged = AutomationCondition.any_deps_match(AutomationCondition.newly_updated())

# Dagster's own `any_deps_updated` leaves out updates by a run that also has the mart, whichever of its days that run
# makes: when all tables of one day are repaired, the later days that look back on it would be forgotten. It also looks
# at the newest day of a run only. Here each day's times are compared: both conditions of a `since` have to stand alone
# for that, as Dagster drops the times where it joins conditions.
FOLLOWS_STAGING = (
    _staged.since(AutomationCondition.newly_updated()).with_label("a day of the window is newer than the mart")
    # Once for each change: a mart that fails is not asked for again and again.
    & _staged.since(AutomationCondition.newly_requested()).with_label("not asked for since")
    # A day that never was there is nobody's mistake to repair: backfills make it.
    & ~AutomationCondition.missing()
    & ~AutomationCondition.any_deps_in_progress()
    & ~AutomationCondition.in_progress()
).with_label("follows staging")

# On wherever a daemon runs, as the daily schedule is: it asks GitHub nothing, it touches only days that somebody has
# made before, and without it a mart goes on to tell what staging no longer says.
marts_follow_staging = AutomationConditionSensorDefinition(
    "marts_follow_staging",
    target=AssetSelection.key_prefixes("marts"),
    description="When a day of staging is repaired, the marts that look back on it run again, if they ran before.",
    default_status=DefaultSensorStatus.RUNNING,
    run_tags={TRIGGER: "automation"},
)


def automated(table: AssetsDefinition) -> AssetsDefinition:
    """The same table; marts follow staging."""
    return table.map_asset_specs(
        lambda spec: (
            spec.replace_attributes(automation_condition=FOLLOWS_STAGING) if spec.key.has_prefix(["marts"]) else spec
        )
    )
