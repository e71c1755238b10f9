"""Shared by the building blocks: tables from columns, links to the user's code, parameters of an asset."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from dagster import (
    AssetExecutionContext,
    AssetsDefinition,
    AssetSpec,
    CodeReferencesMetadataValue,
    LocalFileCodeReference,
    ResourceParam,
    asset,
)

from mds_assets.stack.partitions import SINGLE_RUN
from mds_assets.stack.session import Session
from mds_assets.stack.table import Column, Table, table

CODE = "dagster/code_references"  # the UI's link from a table to the user's own function or query

Columns: TypeAlias = Sequence[Column] | Table

_KIND = inspect.Parameter.POSITIONAL_OR_KEYWORD  # Dagster looks for inputs among these alone


def as_table(columns: Columns, key: Sequence[str]) -> Table:
    """The declaration, with the separately given key, if any."""
    if not isinstance(columns, Table):
        return table(columns, key=key)
    return replace(columns, key=tuple(key)) if key else columns


def make_asset(
    function: Callable[..., Any],
    declared: Table,
    options: dict[str, Any],
    metadata: Mapping[str, Any],
    **defaults: Any,
) -> AssetsDefinition:
    """The asset of a function, with its declaration in the metadata; the user's options override the defaults."""
    own: dict[str, Any] = {"backfill_policy": SINGLE_RUN, "io_manager_key": "duckdb_io_manager", **defaults}
    if "config" not in inspect.signature(function).parameters:
        own["config_schema"] = {}  # Dagster takes any run config where none is declared
    own |= options
    own["metadata"] = {**declared.metadata, **metadata, **options.get("metadata", {})}
    return asset(**own)(function)


def code_of(function: Callable[..., object]) -> CodeReferencesMetadataValue:
    """The link to a function."""
    made = inspect.unwrap(function).__code__  # unlike `inspect.getsourcelines`, reads no file
    return code(Path(made.co_filename), made.co_firstlineno)


def code(file: Path, line: int) -> CodeReferencesMetadataValue:
    """The link to a line of a file."""
    return CodeReferencesMetadataValue(
        code_references=[LocalFileCodeReference(file_path=str(file.absolute()), line_number=line)]
    )


def file_of(spec: AssetSpec) -> str | None:
    """The file of an asset's function or query; None for a plain asset, which has no link yet."""
    given = spec.metadata.get(CODE)
    references = given.code_references if isinstance(given, CodeReferencesMetadataValue) else ()
    return next((each.file_path for each in references if isinstance(each, LocalFileCodeReference)), None)


def parameter(name: str, annotation: Any) -> inspect.Parameter:
    """A parameter of an asset's function."""
    return inspect.Parameter(name, _KIND, annotation=annotation)


def set_parameters(
    function: Callable[..., Any], parameters: Iterable[inspect.Parameter], returns: Any = inspect.Signature.empty
) -> None:
    """Set the signature of a function that takes keyword arguments: Dagster reads the inputs from it."""
    given = [parameter("context", AssetExecutionContext), parameter("session", ResourceParam[Session])]
    signature = inspect.Signature([*given, *parameters], return_annotation=returns)
    function.__signature__ = signature  # pyright: ignore[reportFunctionMemberAccess]


def take_parameters_of(function: Callable[..., Any], asset_function: Callable[..., Any]) -> None:
    """Request from Dagster everything the user's function takes, except what the stack itself passes."""
    taken = [
        each.replace(kind=_KIND)
        for name, each in inspect.signature(function).parameters.items()
        if name not in {"days", "context", "session"}
    ]
    set_parameters(asset_function, taken, returns=None)
