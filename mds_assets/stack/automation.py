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

from mds_assets.stack.jobs import TRIGGER

_FOLLOWING = ("marts", "reports")  # the layers that look back on staging

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

# On wherever a daemon runs, as the daily schedule is: it asks GitHub nothing, it touches only days that somebody has
# made before, and without it a mart goes on to tell what staging no longer says.
follow_staging = AutomationConditionSensorDefinition(
    "follow_staging",
    target=AssetSelection.key_prefixes(*_FOLLOWING),
    description="When a day of staging is repaired, the marts and reports that look back on it run again, if they were "
    "there before.",
    default_status=DefaultSensorStatus.RUNNING,
    run_tags={TRIGGER: "automation"},
)


def automated(made: AssetsDefinition) -> AssetsDefinition:
    """The same assets; marts and reports follow staging."""
    return made.map_asset_specs(
        lambda spec: (
            spec.replace_attributes(automation_condition=FOLLOWS_STAGING) if spec.key.path[0] in _FOLLOWING else spec
        )
    )
