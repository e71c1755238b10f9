"""The version of the code that makes a table, from its meaning: formatting, comments and docstrings don't count.

Nothing is imported or evaluated: a function's version is read from source files. When in doubt, code counts: a version
may change where the table doesn't. What it can't see, and so doesn't change for:

- what is only reached by a string or a side effect: `globals()["f"]`, `importlib.import_module`, a quoted annotation,
<<<<<<< HEAD
  a registry that other functions fill, a constant changed through another name or from another module;
=======
  a registry that other functions fill, a constant changed through another name, from another module, or by an
  expression (`first = NAMES.pop()`);
- the state of an object that a closure holds, other than simple values, containers of these, and functions;
>>>>>>> w-b
- files and environment variables that the code reads;
- modules outside the root function's top-level package, and the stack: their names count, their code doesn't.
"""

import ast
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, timedelta
from functools import cache, partial
from hashlib import sha256
from inspect import getattr_static
from pathlib import Path
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
<<<<<<< HEAD
from typing import TypeAlias
=======
from typing import Any, TypeAlias
>>>>>>> w-b

import duckdb

STACK = __name__.rpartition(".")[0]  # its blocks pass those of its own functions that make the rows

# Reserved, so never a column's name unless after AS: the case of any other word may be that of a result's column.
_SQL_WORDS = frozenset(
<<<<<<< HEAD
    [
        "all",
        "and",
        "anti",
        "any",
        "array",
        "as",
        "asc",
        "asof",
        "between",
        "both",
        "by",
        "case",
        "cast",
        "cross",
        "desc",
        "describe",
        "distinct",
        "else",
        "end",
        "except",
        "false",
        "for",
        "from",
        "full",
        "group",
        "having",
        "ilike",
        "in",
        "inner",
        "intersect",
        "is",
        "join",
        "lateral",
        "left",
        "like",
        "limit",
        "natural",
        "not",
        "null",
        "offset",
        "on",
        "or",
        "order",
        "outer",
        "over",
        "partition",
        "pivot",
        "positional",
        "qualify",
        "right",
        "select",
        "semi",
        "similar",
        "some",
        "table",
        "tablesample",
        "then",
        "true",
        "union",
        "unpivot",
        "using",
        "when",
        "where",
        "window",
        "with",
    ]
)

Target: TypeAlias = tuple[str, tuple[str, ...]]  # a module, and the path to a name in it
_Definition: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_SCOPES = (*_DEFINITIONS, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_IMPORTS = (ast.Import, ast.ImportFrom)
_IGNORED = {"ctx", "kind", "type_comment", "type_ignores"}
_SIMPLE = (str, bytes, int, float, bool, type(None), type(...), date, datetime, timedelta)
=======
    """
    all and anti any array as asc asof between both by case cast cross desc describe distinct else end except false for
    from full group having ilike in inner intersect is join lateral left like limit natural not null offset on or order
    outer over partition pivot positional qualify right select semi similar some table tablesample then true union
    unpivot using when where window with
    """.split()  # noqa: SIM905  # readable
)

_Target: TypeAlias = tuple[str, tuple[str, ...]]  # a module, and the path to a name in it
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_SCOPES = (*_FUNCTIONS, ast.ClassDef, *_COMPREHENSIONS)
_IMPORTS = (ast.Import, ast.ImportFrom)
_IGNORED = {"ctx", "kind", "type_comment", "type_ignores"}
_OPAQUE = "object"  # a value that is not known from its code
_SIMPLE = (str, bytes, int, float, complex, bool, type(None), type(...), date, datetime, timedelta)
_CONTAINERS = (tuple, list, dict, set, frozenset)
>>>>>>> w-b


def sql_version(query: str) -> str:
    """The version of a query: 12 hex digits, the same whatever its whitespace, comments and case of keywords.

    Names, functions and types keep their case: a column's name may come from any of them.
    """
    source = query.encode()  # DuckDB counts in bytes
    found = duckdb.tokenize(query)
    ends = [start for start, _ in found[1:]] + [len(source)]
<<<<<<< HEAD
    tokens: list[str] = []
    before, is_number = "", False
    for (start, kind), end in zip(found, ends, strict=True):
        text = source[start:end].decode(errors="surrogateescape")
        if kind == duckdb.token_type.comment:
            is_number = False
            continue
        token = text.strip(" \t\n\r\f\v")
        if kind == duckdb.token_type.keyword and before not in {"as", "."} and token.lower() in _SQL_WORDS:
            token = token.lower()
        if is_number and kind != duckdb.token_type.operator:
            tokens[-1] += token  # `1e` is not `1 e`, but DuckDB returns the same tokens
        else:
            tokens.append(token)
        before, is_number = token, kind == duckdb.token_type.numeric_const and text == token and token != "."
    return _hash(tokens)
=======
    words: list[str] = []
    is_glued = False
    for (start, kind), end in zip(found, ends, strict=True):
        text = source[start:end].decode(errors="surrogateescape")
        word = text.strip(" \t\n\r\f\v")
        if kind == duckdb.token_type.keyword and words[-1:] not in (["as"], ["."]) and word.lower() in _SQL_WORDS:
            word = word.lower()
        if is_glued and kind in {duckdb.token_type.identifier, duckdb.token_type.keyword}:
            words[-1] += word  # `1e` is not `1 e`, but DuckDB splits both
        elif kind != duckdb.token_type.comment:
            words.append(word)
        is_glued = kind == duckdb.token_type.numeric_const and text == word != "."
    return _hash(words)
>>>>>>> w-b


def function_version(*functions: Callable[..., object]) -> str:
    """The version of functions and of all code of their project that they refer to: 12 hex digits.

    Counted are the functions without their own decorators, and the functions, classes and module-level statements of
    the same top-level package behind each name, transitively. Of a function of the stack, only what is in its module.
    Of a closure, simple values and functions count as they are; for any other value, the code around the closure does.
<<<<<<< HEAD
=======
    If the function was wrapped before (`functools.wraps`), all decorators in its source count, with the wrapper.
>>>>>>> w-b

    A function without source (a REPL's, `exec`) counts by its bytecode, which differs between versions of Python, and
    by the functions and simple values among the globals that it names.
    """
    return _hash([_hash(_Walk(each).parts()) for each in functions])


def _hash(parts: list[str]) -> str:
    return sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()[:12]


class _Statement:
<<<<<<< HEAD
    """What counts of a piece of source, and what it refers to."""

    def __init__(self, node: ast.AST, module: "_Module", is_root: bool) -> None:
        self.names: set[tuple[str, ...]] = set()  # `a.b.c` as a path
        self.imports: dict[str, list[Target]] = {}  # by imports inside
        self._module, self._parts = module, list[str]()
        self._local: frozenset[str] = frozenset()
        self._skipped = getattr(node, "decorator_list", None) if is_root else None
        self._visit(node)
        self.text = " ".join(self._parts)

    def _visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.Constant):
            self._parts.append(f"{type(node.value).__name__}:{node.value!a}")
        elif isinstance(node, ast.Name | ast.Attribute):
            self._visit_name(node)
        else:
            if isinstance(node, _IMPORTS):
                for name, target in self._module.targets(node):
                    self.imports.setdefault(name, []).append(target)
            self._parts.append(f"{type(node).__name__}(")
            outer = self._local
            for field in node._fields:
                value = getattr(node, field, None)
                # A field that a newer Python adds is None or empty in code that older ones understand.
                if value is None or value == [] or value is self._skipped or field in _IGNORED:
                    continue
                if field == "body" and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                    self._local = _locals(node, outer)
                self._parts.append(field)
                self._visit_field(value)
                self._local = outer
            self._parts.append(")")

    def _visit_name(self, node: ast.expr) -> None:
=======
    """What counts of a piece of source, and what it refers to: `a.b.c` as a path."""

    def __init__(self, node: ast.AST, module: "_Module", is_root: bool) -> None:
        self.paths: set[tuple[str, ...]] = set()
        self.imports: dict[str, list[_Target]] = {}  # of the imports inside
        self._module, self._parts = module, list[str]()
        self._bound, self._shared = set[str](), set[str]()
        self._shared_paths: set[tuple[str, ...]] = set()
        self._skipped = getattr(node, "decorator_list", None) if is_root else None
        self._visit(node)
        self.paths |= self._shared_paths
        self.text = " ".join(self._parts)

    def _visit(self, node: object) -> None:
        if isinstance(node, list):
            self._parts.append("[")
            for each in node:
                if not _is_docstring(each):
                    self._visit(each)
            self._parts.append("]")
        elif isinstance(node, ast.Name | ast.Attribute):
            self._visit_path(node)
        elif isinstance(node, ast.Constant):
            self._parts.append(f"{type(node.value).__name__}:{node.value!a}")
        elif isinstance(node, ast.AST):
            self._visit_fields(node)
        else:
            self._parts.append(ascii(node))

    def _visit_fields(self, node: ast.AST) -> None:
        if isinstance(node, _IMPORTS):
            for name, target in self._module.targets(node):
                self.imports.setdefault(name, []).append(target)
                self._shared.add(name)
        elif isinstance(node, ast.Global):
            self._shared.update(node.names)
        self._parts.append(f"{type(node).__name__}(")
        for field in node._fields:
            value = getattr(node, field, None)
            # A field that a newer Python adds is None or empty in code that older ones understand.
            if value is None or value == [] or value is self._skipped or field in _IGNORED:
                continue
            self._parts.append(field)
            # The first iterable of a comprehension is outside of it: all its names count.
            if isinstance(node, _SCOPES) and (field == "body" or isinstance(node, _COMPREHENSIONS)):
                self._visit_scope(node, value)
            else:
                self._visit(value)
        self._parts.append(")")

    def _visit_scope(self, node: ast.AST, inside: object) -> None:
        outer = self.paths, self._bound, self._shared
        self.paths, self._bound, self._shared = set(), set(), set()
        self._visit(inside)
        if isinstance(node, _FUNCTIONS):  # a class or comprehension hides nothing from the functions around or in it
            given = (
                each
                for _, field in ast.iter_fields(node.args)
                for each in (field if isinstance(field, list) else [field])
            )
            self._bound |= {each.arg for each in given if isinstance(each, ast.arg)}
            self._shared_paths |= {path for path in self.paths if path[0] in self._shared}
            self.paths = {path for path in self.paths if path[0] not in self._bound}
        elif self._shared:
            self._shared_paths |= self.paths
        inner, (self.paths, self._bound, self._shared) = self.paths, outer
        self.paths |= inner

    def _visit_path(self, node: ast.expr) -> None:
>>>>>>> w-b
        path: list[str] = []
        while isinstance(node, ast.Attribute):
            path.append(node.attr)
            node = node.value
        if isinstance(node, ast.Name):
            path.append(node.id)
<<<<<<< HEAD
            if node.id not in self._local:
                self.names.add(tuple(reversed(path)))
=======
            self.paths.add(tuple(reversed(path)))
            if isinstance(node.ctx, ast.Store):
                self._bound.add(node.id)
>>>>>>> w-b
        else:
            self._visit(node)
        self._parts.append("." + ".".join(path))

<<<<<<< HEAD
    def _visit_field(self, value: object) -> None:
        if isinstance(value, ast.AST):
            self._visit(value)
        elif isinstance(value, list):
            self._parts.append("[")
            for each in value:
                if not (isinstance(each, ast.Expr) and _is_string(each.value)):  # a docstring
                    self._visit_field(each)
            self._parts.append("]")
        else:
            self._parts.append(ascii(value))


def _is_string(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _locals(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, outer: frozenset[str]) -> frozenset[str]:
    """The names that hide those of the module: at least these; one left out only makes more code count."""
    own, shared = {each.arg for each in ast.walk(node.args) if isinstance(each, ast.arg)}, set[str]()
    for each in _own_scope(node.body if isinstance(node.body, list) else [node.body]):
        if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
            own.add(each.id)
        elif isinstance(each, ast.Global):
            shared.update(each.names)
        elif isinstance(each, _IMPORTS):
            shared.update((alias.asname or alias.name).partition(".")[0] for alias in each.names)
    return (outer | own) - shared


def _own_scope(nodes: list[ast.AST] | list[ast.stmt] | list[ast.expr]) -> Iterator[ast.AST]:
    waiting = list[ast.AST](nodes)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, _SCOPES):
            waiting.extend(ast.iter_child_nodes(node))
=======

def _is_docstring(node: object) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
>>>>>>> w-b


class _Module:
    """A source file, by name: the statements that bind or change it, and the targets of its imports."""

    def __init__(self, name: str, file: Path) -> None:
        self.name, self.is_package = name, file.name == "__init__.py"
        # A folder without `__init__.py` is a package without code.
        self.tree = ast.parse(file.read_bytes() if file.is_file() else b"")
        self.statements: dict[str, list[ast.stmt]] = {}
<<<<<<< HEAD
        self.imports: dict[str, list[Target]] = {}
        for node in self.tree.body:
            # An import for type checkers stands for itself; under another condition, the condition counts, too.
            is_typing = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
            for inner in node.body if isinstance(node, ast.If) and is_typing else [node]:
                self._index(inner)

    def _index(self, statement: ast.stmt) -> None:
        if isinstance(statement, _IMPORTS):
            for name, target in self.targets(statement):
                self.imports.setdefault(name, []).append(target)
            return
        for name in dict.fromkeys(self._changed(statement)):
            self.statements.setdefault(name, []).append(statement)

    def _changed(self, statement: ast.stmt) -> Iterator[str]:
        for node in _own_scope([statement]):
            if isinstance(node, _DEFINITIONS):
                yield node.name
                # `@total.register` changes `total`.
                yield from (name.id for each in node.decorator_list if (name := _base(each)))
            elif isinstance(node, _IMPORTS):
                yield from (name for name, _ in self.targets(node))
            elif isinstance(node, ast.Expr):  # `RATES.update(more)`
                yield from (each.id for each in ast.walk(node) if isinstance(each, ast.Name))
            elif not isinstance(getattr(node, "ctx", ast.Load()), ast.Load) and (name := _base(node)):
                yield name.id
            elif type(node).__name__ == "TypeAlias":  # from Python 3.12
                yield from (each.id for each in ast.walk(node) if isinstance(each, ast.Name))

    def targets(self, node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, Target]]:
=======
        self.imports: dict[str, list[_Target]] = {}
        for node in self.tree.body:
            if isinstance(node, _IMPORTS):
                for name, target in self.targets(node):
                    self.imports.setdefault(name, []).append(target)
            else:
                for name in dict.fromkeys(_changed(node)):
                    self.statements.setdefault(name, []).append(node)

    def targets(self, node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, _Target]]:
>>>>>>> w-b
        """The names that an import binds, and what they stand for; `*` for all names."""
        for alias in node.names:
            if isinstance(node, ast.Import):
                top = alias.name.partition(".")[0]
                yield (alias.asname, (alias.name, ())) if alias.asname else (top, (top, ()))
                continue
            parts = self.name.split(".")
            parts = parts[: len(parts) + self.is_package - node.level] if node.level else []
            module = ".".join([*parts, *([node.module] if node.module else [])])
            yield alias.asname or alias.name, (module, () if alias.name == "*" else (alias.name,))

    @cache  # noqa: B019  # modules live as long as the process, like Python's own
    def function(self, code: CodeType) -> list[ast.AST]:
        """The function that was compiled to `code`; several if a line has several lambdas, none if the file changed."""
        line = code.co_firstlineno
        return [
            node
            for statement in self.tree.body
            if _first_line(statement) <= line <= (statement.end_lineno or line)
            for node in ast.walk(statement)
<<<<<<< HEAD
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
=======
            if isinstance(node, _FUNCTIONS)
>>>>>>> w-b
            and (getattr(node, "name", "<lambda>"), _first_line(node)) == (code.co_name, line)
        ]

    @cache  # noqa: B019
    def read(self, node: ast.AST, is_root: bool) -> _Statement:
        """The facts of a statement of this file."""
        return _Statement(node, self, is_root)


<<<<<<< HEAD
=======
def _changed(node: ast.AST) -> Iterator[str]:
    """The names that a statement of a module binds or changes."""
    if isinstance(node, _DEFINITIONS):
        yield node.name
        yield from (name.id for each in node.decorator_list if (name := _base(each)))  # `@total.register`
    elif isinstance(node, _IMPORTS):  # under a condition, which counts
        yield from ((each.asname or each.name).partition(".")[0] for each in node.names)
    elif isinstance(node, ast.Expr):  # `RATES.update(more)`
        yield from (each.id for each in ast.walk(node) if isinstance(each, ast.Name))
    elif not isinstance(node, _SCOPES):
        if isinstance(getattr(node, "ctx", None), ast.Store | ast.Del) and (name := _base(node)):
            yield name.id
        for each in ast.iter_child_nodes(node):
            yield from _changed(each)


>>>>>>> w-b
def _first_line(node: ast.stmt | ast.Lambda) -> int:
    return min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", ()))])


def _base(node: ast.AST) -> ast.Name | None:
    """The `a` of `a.b[c](d)`."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Starred | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node if isinstance(node, ast.Name) else None


@cache
def _module(name: str, file: Path) -> _Module | None:
    try:
        return _Module(name, file)
    except (OSError, SyntaxError, ValueError):
        return None


@cache
def _find(folders: tuple[str, ...], parts: tuple[str, ...]) -> Path | None:
    """The file of a module of a package, or its folder if it has no file."""
    for base in (Path(folder, *parts) for folder in folders):
        for file in (base / "__init__.py", base.parent / f"{base.name}.py", base):
            if file.is_file() or (file is base and file.is_dir()):
                return file
    return None


class _Walk:
    """Everything that a function refers to."""

    def __init__(self, function: Callable[..., object]) -> None:
        self._texts: set[tuple[str, int, int, str]] = set()  # in the order of a file: a later statement may change it
        self._named: set[str] = set()
        self._roots: set[ast.AST] = set()
        self._files: dict[str, Path] = {}
        self._seen: set[object] = set()
        self._waiting: list[tuple[_Module, ast.AST]] = []
<<<<<<< HEAD
        origin = _innermost(function)
        self._origin = _module_of(origin)
=======
        self._origin = _module_of(_innermost(function))
        self._given = function
        self._open: list[int] = []
>>>>>>> w-b
        self._values: list[str] = []
        self._values.append(self._value(function))

    def parts(self) -> list[str]:
        """The text of each, after the values and names of what is not followed."""
        while self._waiting:
            module, node = self._waiting.pop()
            facts = module.read(node, node in self._roots)
            self._texts.add((module.name, getattr(node, "lineno", 0), getattr(node, "col_offset", 0), facts.text))
<<<<<<< HEAD
            for base, *path in facts.names:
=======
            for base, *path in facts.paths:
>>>>>>> w-b
                for target, inner in facts.imports.get(base, []):
                    self._follow(target, (*inner, *path))
                self._follow(module.name, (base, *path))
        return [*self._values, *sorted(self._named), *(text for *_, text in sorted(self._texts))]

    def _follow(self, name: str, path: tuple[str, ...]) -> None:
        """Count what a path in a module stands for; the whole module if the path is empty."""
        if (name, path) in self._seen:
            return
        self._seen.add((name, path))
        module = self._load(name)
        if module is None:
            self._named.add(".".join([name, *path]))
        elif not path:
            self._add(module, module.tree.body)
        else:
            first, rest = path[0], path[1:]
            self._add(module, module.statements.get(first, []))
            for target, inner in module.imports.get(first, []):
                self._follow(target, (*inner, *rest))
            if module.is_package and (_is_stack(f"{name}.{first}") or self._file(f"{name}.{first}")):
                self._follow(f"{name}.{first}", rest)
            elif first not in module.statements and first not in module.imports:
                self._add(module, module.statements.get("__getattr__", []))
                for target, _ in module.imports.get("*", []):
                    self._follow(target, path)

    def _add(self, module: _Module, nodes: Iterable[ast.AST]) -> None:
        new = [node for node in nodes if node not in self._seen]
        self._seen.update(new)
        self._waiting.extend((module, node) for node in new)

    def _is_followed(self, name: str) -> bool:
        if _is_stack(self._origin):
            return name == self._origin
        return name.partition(".")[0] == self._origin.partition(".")[0] and not _is_stack(name)

    def _load(self, name: str) -> _Module | None:
        file = self._file(name) if self._is_followed(name) else None
        return _module(name, file) if file else None

    def _file(self, name: str) -> Path | None:
        if name in self._files:
            return self._files[name]
        top, *parts = name.split(".")
        return _find(tuple(getattr(sys.modules.get(top), "__path__", ())), tuple(parts))

    def _value(self, value: object) -> str:
        """A value as text, if it is simple; the code of functions and classes counts apart."""
        if type(value) in _SIMPLE:
            return f"{type(value).__name__}:{value!a}"
<<<<<<< HEAD
        if isinstance(value, tuple | frozenset):
            parts = [self._value(each) for each in value]
            return f"({', '.join(parts if isinstance(value, tuple) else sorted(parts))})"
=======
        if type(value) in _CONTAINERS:
            return self._container(value)
>>>>>>> w-b
        if isinstance(value, FunctionType):
            if value not in self._seen:
                self._seen.add(value)
                self._function(value)
            return f"function:{value.__code__.co_qualname}"
        if isinstance(value, CodeType):
<<<<<<< HEAD
            consts = self._value(value.co_consts)
            return f"{value.co_code.hex()} {value.co_names} {value.co_varnames[: value.co_argcount]} {consts}"
=======
            arguments = value.co_argcount, value.co_kwonlyargcount, value.co_varnames
            return f"{value.co_code.hex()} {value.co_names} {arguments} {self._value(value.co_consts)}"
>>>>>>> w-b
        if isinstance(value, partial):
            return f"partial:{self._value((value.func, value.args, *sorted(value.keywords.items())))}"
        if (inner := _inner(value)) is not None:
            return f"wrapped:{self._value(inner)}"
        if isinstance(value, ModuleType):
            self._follow(value.__name__, ())
            return f"module:{value.__name__}"
        known = value if isinstance(value, type) else type(value)
        self._follow(known.__module__, tuple(known.__qualname__.split(".")))
        return f"{'class' if known is value else _OPAQUE}:{known.__qualname__}"

<<<<<<< HEAD
=======
    def _container(self, value: Any) -> str:
        if id(value) in self._open:  # it contains itself
            return "..."
        self._open.append(id(value))
        parts = [self._value(each) for each in (value.items() if isinstance(value, dict) else value)]
        self._open.pop()
        return f"{type(value).__name__}({', '.join(sorted(parts) if isinstance(value, set | frozenset) else parts)})"

>>>>>>> w-b
    def _function(self, function: FunctionType) -> None:
        code, name = function.__code__, _module_of(function)
        outer, *inner = code.co_qualname.split(".")
        given = dict(zip(code.co_freevars, (_content(each) for each in function.__closure__ or ()), strict=True))
<<<<<<< HEAD
        if "<locals>" in inner:  # others have their defaults in their source
            given |= {"__defaults__": function.__defaults__}
            given |= {f"{key}=": value for key, value in (function.__kwdefaults__ or {}).items()}
        if self._is_followed(name):
            file = Path(code.co_filename)
            module = _module(name, file) if file.is_file() else None
            nodes = module.function(code) if module else []
            if module and nodes:
                self._files[name] = file
                self._roots.update(nodes)
                self._add(module, nodes)
            else:
                given |= {"code": code} | {key: function.__globals__.get(key) for key in code.co_names}
        else:
            module = None
            self._named.add(f"{name}.{code.co_qualname}")
        values = [f"{key}={self._value(value)}" for key, value in given.items()]
        self._values += values
        if module and inner and ("<locals>" not in inner or any(_OPAQUE in each for each in values)):
=======
        file, nodes = Path(code.co_filename), list[ast.AST]()
        if not self._is_followed(name):
            self._named.add(f"{name}.{code.co_qualname}")
        elif (module := _module(name, file) if file.is_file() else None) and (nodes := module.function(code)):
            self._files[name] = file
            self._roots.update(nodes if function is self._given else ())
            self._add(module, nodes)
        else:
            given |= {"code": code} | {key: function.__globals__.get(key) for key in sorted(_names(code))}
        if "<locals>" in inner or not nodes:  # others have their defaults in their source
            given |= {"defaults": function.__defaults__, "keyword defaults": function.__kwdefaults__}
        values = [f"{key}={self._value(value)}" for key, value in given.items()]
        self._values += values
        if nodes and inner and ("<locals>" not in inner or any(_OPAQUE in each for each in values)):
>>>>>>> w-b
            self._follow(name, (outer,))
        if wrapped := function.__dict__.get("__wrapped__"):
            self._value(wrapped)


<<<<<<< HEAD
_OPAQUE = "object"


=======
>>>>>>> w-b
def _is_stack(name: str) -> bool:
    return f"{name}.".startswith(f"{STACK}.")


def _module_of(value: object) -> str:
    if isinstance(value, FunctionType):
        return value.__globals__.get("__name__") or ""  # `functools.wraps` sets another `__module__`
    return value.__module__ if isinstance(value, type) else type(value).__module__


def _inner(value: object) -> object:
<<<<<<< HEAD
    return value.__func__ if isinstance(value, MethodType) else getattr_static(value, "__wrapped__", None)
=======
    is_method = isinstance(value, MethodType | staticmethod | classmethod)
    return value.__func__ if is_method else getattr_static(value, "__wrapped__", None)
>>>>>>> w-b


def _innermost(value: object) -> object:
    while (inner := value.func if isinstance(value, partial) else _inner(value)) is not None:
        value = inner
    return value


<<<<<<< HEAD
=======
def _names(code: CodeType) -> set[str]:
    return {*code.co_names}.union(*(_names(each) for each in code.co_consts if isinstance(each, CodeType)))


>>>>>>> w-b
def _content(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not set yet
        return None
