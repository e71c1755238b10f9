"""The version of the code that makes a table. Formatting, comments and docstrings don't count.

It is read from source files: nothing is imported or evaluated. When in doubt, code counts, so a version may change
where the table doesn't. It doesn't see what is only reached by a string (`globals()["f"]`) or changed from another
module, nor the files that the code reads. Code of other packages and of the stack counts by its name alone.
"""

import ast
import sys
from collections.abc import Callable, Iterator
from copy import copy
from datetime import date
from functools import cache, partial
from hashlib import sha256
from inspect import getclosurevars, unwrap
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, TypeAlias

import duckdb

STACK = __name__.rpartition(".")[0]  # its blocks pass those of its own functions that make the rows

_Path: TypeAlias = tuple[str, ...]  # `a.b.c`
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_SIMPLE = (str, bytes, int, float, bool, type(None), tuple, list, dict, set, frozenset, date)


def sql_version(query: str) -> str:
    """The version of a query: 12 hex digits, the same whatever its whitespace, comments and case of keywords."""
    source = query.encode()  # DuckDB counts in bytes
    found = duckdb.tokenize(query)
    ends = [*(start for start, _ in found[1:]), len(source)]
    tokens: list[str] = []
    for (start, kind), end in zip(found, ends, strict=True):
        token = source[start:end].decode(errors="replace")
        if kind == duckdb.token_type.comment:
            continue
        # DuckDB takes names such as `day` for keywords; after AS, the case is that of a column.
        is_word = kind == duckdb.token_type.keyword and tokens[-1:] != ["as"]
        tokens.append(token.strip().lower() if is_word else token.strip())
    return _hash(tokens)


def function_version(*functions: Callable[..., object]) -> str:
    """The version of functions or classes and all code of their project that they refer to: 12 hex digits.

    Counted are the functions without their outermost decorator, and the functions, classes and statements behind each
    name, transitively, in the files of the same top-level package. Of the stack's own functions, only what is in their
    file. A function without source, such as a REPL's, counts by its bytecode.
    """
    return _hash([_hash(_parts(each)) for each in functions])


def _hash(parts: list[str]) -> str:
    return sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()[:12]


def _parts(function: Any) -> list[str]:
    if isinstance(function, partial):
        return [*_parts(function.func), repr((function.args, function.keywords))]
    is_wrapped, function = hasattr(function, "__wrapped__"), unwrap(function)
    walk = _Walk(function.__module__ or "")
    if isinstance(function, FunctionType):
        module = walk.module(function.__module__ or "")
        statement = module.statement_at(function.__code__.co_firstlineno) if module else None
        if not module or not statement:
            return [*_of_bytecode(function.__code__), _simple(function.__defaults__)]
        walk.add(module, statement if is_wrapped else _undecorated(statement))
        if "<locals>" in function.__qualname__:  # otherwise the source has all values
            walk.parts.append(_simple(function.__defaults__))
        values = getclosurevars(function).nonlocals
        for name, value in sorted(values.items()):
            if isinstance(value, FunctionType):
                walk.parts += [name, *(_parts(value) if value is not function else [])]
            elif isinstance(value, _SIMPLE):
                walk.parts += [name, _simple(value)]
    else:
        walk.resolve(function.__module__, (function.__qualname__.partition(".")[0],))
    return walk.parts


def _undecorated(statement: ast.stmt) -> ast.stmt:
    """Without the outermost decorator: what it gets, the building block versions itself."""
    if not isinstance(statement, _DEFINITIONS):
        return statement
    same = copy(statement)
    same.decorator_list = statement.decorator_list[1:]
    return same


def _of_bytecode(code: CodeType) -> list[str]:
    nested = [each for each in code.co_consts if isinstance(each, CodeType)]
    constants = [_simple(each) for each in code.co_consts if isinstance(each, _SIMPLE)]
    parts = [code.co_code.hex(), repr(code.co_names), *constants]
    return [*parts, *(part for each in nested for part in _of_bytecode(each))]


def _simple(value: object) -> str:
    """The same in every process: a set has no order."""
    return repr(sorted(map(repr, value))) if isinstance(value, set | frozenset) else repr(value)


class _Module:
    """The top-level statements of a file, by the names that they define or change."""

    def __init__(self, name: str, file: Path) -> None:
        self.name, self.package = name, name if file.name == "__init__.py" else name.rpartition(".")[0]
        self.statements = ast.parse(file.read_text(encoding="utf-8")).body
        self.by_name: dict[str, list[ast.stmt]] = {}
        for statement in self.statements:
            for bound in set(_bound(statement)):
                self.by_name.setdefault(bound, []).append(statement)

    def statement_at(self, line: int) -> ast.stmt | None:
        for each in self.statements:
            decorators = each.decorator_list if isinstance(each, _DEFINITIONS) else []
            first = min([each.lineno, *(decorator.lineno for decorator in decorators)])
            if first <= line <= (each.end_lineno or first):
                return each
        return None

    def target(self, node: ast.ImportFrom) -> str:
        """The module that an import names."""
        above = self.package.split(".")[: len(self.package.split(".")) - node.level + 1] if node.level else []
        return ".".join([*above, *([node.module] if node.module else [])])


def _bound(statement: ast.AST) -> Iterator[str]:
    """The names that a top-level statement defines, or may change: `X.update(...)`, `@total.register`."""
    if isinstance(statement, _DEFINITIONS):
        yield statement.name
        for mark in statement.decorator_list:
            changed = mark.func if isinstance(mark, ast.Call) else mark
            if isinstance(changed, ast.Attribute):
                yield from (each.id for each in ast.walk(changed) if isinstance(each, ast.Name))
    elif isinstance(statement, ast.Import | ast.ImportFrom):
        yield from (each.asname or each.name.partition(".")[0] for each in statement.names)
    elif isinstance(statement, ast.Expr):
        yield from (each.id for each in ast.walk(statement) if isinstance(each, ast.Name))
    elif isinstance(statement, ast.Name):
        if isinstance(statement.ctx, ast.Store | ast.Del):
            yield statement.id
    else:
        for each in ast.iter_child_nodes(statement):
            yield from _bound(each)
        if isinstance(statement, ast.Subscript | ast.Attribute) and isinstance(statement.ctx, ast.Store | ast.Del):
            yield from (each.id for each in ast.walk(statement) if isinstance(each, ast.Name))


class _Walk:
    """Collects the code behind names, each statement once."""

    def __init__(self, root: str) -> None:
        self.parts: list[str] = []
        self._top = root.partition(".")[0]
        self._is_stack = _is_below(root, STACK)
        self._root = root
        self._seen: set[object] = set()

    def module(self, name: str) -> _Module | None:
        """A file of the project; None for anything else."""
        is_followed = name == self._root if self._is_stack else not _is_below(name, STACK)
        if not is_followed or not _is_below(name, self._top):
            return None
        top, loaded = (getattr(sys.modules.get(each), "__file__", None) for each in (self._top, name))
        return _module(name, top, loaded)

    def add(self, module: _Module, statement: ast.stmt) -> None:
        """The statement's code, and what it refers to."""
        if statement in self._seen:
            return
        self._seen.add(statement)
        code = _read(statement)
        self.parts.append(code.text)
        for path in code.names:
            self.resolve(module.name, path)
        for each in code.imports:
            self._add_import(module, each)

    def _add_import(self, module: _Module, node: ast.Import | ast.ImportFrom) -> None:
        for each in node.names:
            if isinstance(node, ast.Import):
                self.resolve(each.name, ())
            else:
                self.resolve(module.target(node), () if each.name == "*" else (each.name,))

    def resolve(self, name: str, path: _Path) -> None:
        """What a path means in a module; without a path, the whole module."""
        if (name, path) in self._seen:
            return
        self._seen.add((name, path))
        module = self.module(name)
        if not module:
            self.parts.append(".".join([name, *path]))
        elif not path:
            for statement in module.statements:
                self.add(module, statement)
        elif statements := module.by_name.get(path[0]):
            for statement in statements:
                if isinstance(statement, ast.Import):
                    self._resolve_import(statement, path)
                elif isinstance(statement, ast.ImportFrom):
                    for each in statement.names:
                        if (each.asname or each.name) == path[0]:
                            self.resolve(module.target(statement), (each.name, *path[1:]))
                else:
                    self.add(module, statement)
        elif module.package == name and self.module(f"{name}.{path[0]}"):
            self.resolve(f"{name}.{path[0]}", path[1:])
        else:  # a builtin, or from `import *`, or whatever the module makes of it
            self.parts.append(path[0])
            for statement in [*module.by_name.get("*", []), *module.by_name.get("__getattr__", [])]:
                if isinstance(statement, ast.ImportFrom):
                    self.resolve(module.target(statement), path)
                else:
                    self.add(module, statement)

    def _resolve_import(self, statement: ast.Import, path: _Path) -> None:
        for each in statement.names:
            given = (each.asname,) if each.asname else tuple(each.name.split("."))
            if path[0] == given[0]:
                rest = path[len(given) :] if path[: len(given)] == given else ()
                self.resolve(each.name, rest)


def _is_below(name: str, package: str) -> bool:
    return f"{name}.".startswith(f"{package}.")


@cache
def _module(name: str, top: str | None, loaded: str | None) -> _Module | None:
    """The module's file, found without importing it.

    Args:
        name: The module.
        top: The file of the top-level package.
        loaded: The file of the module, if it is imported.
    """
    file = Path(top or "").parent.joinpath(*name.split(".")[1:])
    places = [Path(loaded)] if loaded else [file / "__init__.py", file.with_suffix(".py")] if top else []
    return next((_Module(name, each) for each in places if each.suffix == ".py" and each.is_file()), None)


class _Code:
    """What counts of a statement.

    Attributes:
        text: All of it, the same in all versions of Python: `ast.dump` and `ast.unparse` differ between them.
        names: The names in it, with the attributes behind them; local ones too.
        imports: The imports in it, such as those inside functions.
    """

    def __init__(self, statement: ast.stmt) -> None:
        self._parts: list[str] = []
        self.names: dict[_Path, None] = {}
        self.imports: list[ast.Import | ast.ImportFrom] = []
        self._visit(statement)
        self.text = " ".join(self._parts)

    def _visit(self, node: object) -> None:
        if isinstance(node, ast.AST):
            if isinstance(node, ast.Name | ast.Attribute):
                self._visit_name(node)
                return
            if isinstance(node, ast.Import | ast.ImportFrom):
                self.imports.append(node)
            self._parts.append(type(node).__name__)
            for name in node._fields:
                value = getattr(node, name, None)
                # A field that a newer Python adds is empty in code that older ones understand.
                if value is not None and value != [] and name not in {"kind", "type_comment"}:
                    self._parts.append(name)
                    self._visit(
                        [each for each in value if not _is_docstring(each)] if isinstance(value, list) else value
                    )
        elif isinstance(node, list):
            for each in node:
                self._visit(each)
            self._parts.append("]")
        else:
            self._parts.append(ascii(node))

    def _visit_name(self, node: ast.expr) -> None:
        path: list[str] = []
        while isinstance(node, ast.Attribute):
            path.append(node.attr)
            node = node.value
        if isinstance(node, ast.Name):
            path.append(node.id)
            self.names[tuple(reversed(path))] = None
        else:
            self._visit(node)
        self._parts.append(".".join(path))


_read = cache(_Code)


def _is_docstring(node: object) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
