"""The building blocks of a pipeline: `@raw_table`, `staging_table`, `current_table`, `@mart`.

Each creates an ordinary Dagster asset with the stack's partitions, IO manager and declaration. Other arguments of
`@asset` (`owners`, `tags`, `group_name`, `automation_condition`, ...) pass through. Plain assets work beside them.

Read `raw`, `staging`, `current` and `mart`, then `mart_step`, which calls the marts' functions, and `as_of`, which
builds their input frames. `definition` holds what the blocks share. Landing a load is in `landing/`, writing a table in
`io_managers/`.

https://docs.dagster.io/guides/build/assets
"""

from mds_assets.stack.blocks.as_of import AsOf, mart_of, newest_rows
from mds_assets.stack.blocks.current import current_table
from mds_assets.stack.blocks.mart import mart
from mds_assets.stack.blocks.raw import raw_table
from mds_assets.stack.blocks.staging import staging_table

__all__ = ["AsOf", "current_table", "mart", "mart_of", "newest_rows", "raw_table", "staging_table"]
