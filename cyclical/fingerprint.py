"""What a result's code is: fingerprints that change with meaning and not with comments."""

import ast
import difflib
import gc
import hashlib
import inspect
import sysconfig
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from platform import python_version_tuple
from threading import Lock
from typing import Any

from cyclical import user_code
from cyclical.errors import InputError, one_line

PACKAGE = Path(__file__).parent
NOT_MEANT = frozenset(
    f"cyclical{name}"
    for name in (
        *("", ".buckets", ".config", ".copies", ".files", ".fingerprint", ".manifests", ".memory"),
        *(".parquet", ".store", ".values"),
    )
)
"""Modules that don't make results: a configuration's values are in the key anyway."""
DEFINITION = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
VERSIONED = {name: name for name in ("keras", "matplotlib", "numpy", "scipy", "tensorflow")} | {
    "PIL": "pillow"
}
"""Packages whose version counts: the name that is imported -> the name of the distribution."""
_PARSING = Lock()


def of_modules(modules: Iterable[str], package: Path = PACKAGE) -> dict[str, str]:
    """Fingerprint modules and all that they import inside the package, without importing them.

    Args:
        modules: Dotted names, such as `cyclical.training`.
        package: The folder of the package `cyclical`.

    Returns:
        Module name -> hash of its syntax tree; comments, docstrings and layout don't count.
    """
    found: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module in found or module in NOT_MEANT:
            continue
        found[module], imported = _read(_source(module, package))
        waiting += [name for name in imported if _is_module(name, package)]
    return dict(sorted(found.items()))


def of_task(function: Callable[..., Any]) -> dict[str, str]:
    """Fingerprint a task: its function, what that names in its own file, the modules it uses.

    Args:
        function: A function at the top level of a file.

    Returns:
        Name -> hash: `file.name` for the function and the functions and constants of its own file
        that it names, directly or not; `cyclical.module` for every module of the package that
        these use, with all that those import.
    """
    tree = _parsed(inspect.getsource(inspect.getmodule(function) or function))
    defined = _definitions(tree)
    named = _followed(function.__name__, defined)
    modules = [
        module
        for node in _importing(tree)
        for bound, module in _bindings(node)
        if any(bound in _names(defined[name]) for name in named)
    ]
    modules += [module for name in named for module in _imported_names(defined[name])]
    own = {f"{function.__module__}.{name}": _hash(defined[name]) for name in sorted(named)}
    return own | of_modules(module for module in modules if _is_module(module, PACKAGE))


def of_user_code(reference: str) -> dict[str, str]:
    """Fingerprint the module that a reference names, and all it imports from the same folder.

    Args:
        reference: `package.module:function`, whose module can be imported from where we are.

    Returns:
        Module name -> hash of its syntax tree. Packages that are installed elsewhere don't count;
        of those installed beside it, none but its own.

    Raises:
        InputError: There is no such module, or it has no Python source.
    """
    module = reference.partition(":")[0]
    own = module.partition(".")[0]
    root = _root(own)
    if root is None or _source_below(root, module) is None:
        raise InputError(
            f"{reference}: no file {module.replace('.', '/')}.py is found among the installed "
            f"packages or in {Path.cwd()}"
        )
    installed = root in {
        Path(sysconfig.get_path(name)) for name in ("purelib", "platlib", "stdlib")
    }
    found: dict[str, str] = {}
    waiting = [module, *_packages(module)]
    while waiting:
        name = waiting.pop()
        foreign = installed and name.partition(".")[0] != own
        file = None if foreign else _source_below(root, name)
        if name not in found and file is not None:
            try:
                tree = _parsed(file.read_bytes())
            except (SyntaxError, ValueError) as error:  # the latter for a null byte
                raise InputError(f"{reference}: {file} is no Python ({one_line(error)})") from error
            waiting += _imported_below(tree, name, is_package=file.name == "__init__.py")
            if name == module:
                _check_defined(reference, tree, file)
            found[name] = _hash(tree)
    return dict(sorted(found.items()))


def _check_defined(reference: str, tree: ast.Module, file: Path) -> None:
    """Raise InputError where a module, as its source reads, binds no such name."""
    name = reference.partition(":")[2]
    bound = set().union(*map(_bound, tree.body))
    bound |= {each for node in _importing(tree) for each, _ in _bindings(node)}
    if not {name, "*", "__getattr__"} & bound:
        near = difflib.get_close_matches(name, bound, n=1)
        hint = f": did you mean {near[0]}?" if near else ""
        raise InputError(f"{reference}: {file} defines no {name}{hint}")


def _root(package: str) -> Path | None:
    """Return the folder in which Python finds a package or module, without importing it."""
    user_code.look_here()
    try:
        spec = find_spec(package)
    except ValueError:  # it is there, but was made by other means
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).parent
    origin = spec.origin or ""
    return Path(origin).parent if origin.endswith(".py") else None


def _source_below(root: Path, module: str) -> Path | None:
    place = root.joinpath(*module.split("."))
    files = (place / "__init__.py", place.with_suffix(".py"))  # in Python's order
    return next((file for file in files if file.is_file()), None)


def _imported_below(tree: ast.Module, module: str, *, is_package: bool) -> list[str]:
    """Name all that a module's imports may load: packages, modules, and names that are modules."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            up = module.split(".")[: -node.level + is_package or None] if node.level else []
            base = ".".join([*up, *([node.module] if node.module else [])])
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return [loaded for name in names for loaded in (name, *_packages(name)) if loaded]


def _packages(module: str) -> list[str]:
    """Name the packages around a module, which Python loads before it."""
    parts = module.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def versions(code: Iterable[str], package: Path = PACKAGE) -> dict[str, str]:
    """Name the versions that a result depends on.

    Args:
        code: Names as `of_task` and `of_modules` return them.
        package: The folder of the package `cyclical`.

    Returns:
        Python's version without its patch level, and that of each package in VERSIONED that one of
        the modules imports.
    """
    imported = {
        name.split(".")[0]
        for module in code
        if module.startswith("cyclical.")
        for name in _read(_source(module, package))[1]
    }
    major, minor, _ = python_version_tuple()
    used = sorted(VERSIONED[name] for name in imported & VERSIONED.keys())
    return {"python": f"{major}.{minor}"} | {name: version(name) for name in used}


def _followed(start: str, defined: Mapping[str, ast.Module]) -> set[str]:
    """Name the definitions that `start` reaches within its file."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [other for other in _names(defined[name]) if other in defined]
    return found


def _definitions(tree: ast.Module) -> dict[str, ast.Module]:
    """Gather for every name that the file binds all the statements that bind it."""
    found: dict[str, ast.Module] = {}
    for node in tree.body:
        for name in _bound(node):
            found.setdefault(name, ast.Module(body=[], type_ignores=[])).body.append(node)
    return found


def _bound(node: ast.stmt) -> set[str]:
    if isinstance(node, DEFINITION):
        return {node.name}
    stored = {
        inner.id
        for inner in ast.walk(node)
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store)
    }
    return stored | {inner.name for inner in ast.walk(node) if isinstance(inner, DEFINITION)}


def _importing(tree: ast.Module) -> list[ast.Import | ast.ImportFrom]:
    """List the imports outside functions and classes, those under a condition included."""
    return [
        inner
        for node in tree.body
        if not isinstance(node, DEFINITION)
        for inner in ast.walk(node)
        if isinstance(inner, ast.Import | ast.ImportFrom)
    ]


def _names(node: ast.AST) -> set[str]:
    return {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}


def _bindings(node: ast.Import | ast.ImportFrom) -> list[tuple[str, str]]:
    """Pair the names that an import binds with the module that each stands for."""
    if isinstance(node, ast.Import):
        return [(alias.asname or alias.name.split(".")[0], alias.name) for alias in node.names]
    if node.module == "cyclical":
        return [(alias.asname or alias.name, f"cyclical.{alias.name}") for alias in node.names]
    return [(alias.asname or alias.name, node.module or "") for alias in node.names]


def _imported_names(tree: ast.AST) -> list[str]:
    return [
        module
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for _, module in _bindings(node)
    ]


def _source(module: str, package: Path) -> bytes:
    return (package / f"{module.removeprefix('cyclical.')}.py").read_bytes()


@cache
def _read(source: bytes) -> tuple[str, list[str]]:
    """Return the hash of a module's syntax tree, and the names of what it imports."""
    tree = _parsed(source)
    imported = _imported_names(tree)
    return _hash(tree), imported


def _parsed(source: str | bytes) -> ast.Module:
    """Parse a source without a pause in which another thread could parse something else.

    Up to Python 3.11.7 this one would end with a SystemError (python/cpython#106905). The garbage
    collector alone makes such pauses; a thread that is paused by its own still fails.
    """
    with _PARSING:
        collecting = gc.isenabled()
        try:
            gc.disable()
            return ast.parse(source)
        finally:
            if collecting:
                gc.enable()


def _is_module(name: str, package: Path) -> bool:
    own = name.startswith("cyclical.")
    return own and (package / f"{name.removeprefix('cyclical.')}.py").is_file()


def _hash(tree: ast.AST) -> str:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | DEFINITION):
            _drop_bare_strings(node)
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _drop_bare_strings(node: ast.Module | ast.ClassDef | ast.FunctionDef | Any) -> None:
    """Drop docstrings, those of attributes included."""
    node.body = [
        statement
        for statement in node.body
        if not (
            isinstance(statement, ast.Expr)
            and isinstance(statement.value, ast.Constant)
            and isinstance(statement.value.value, str)
        )
    ] or [ast.Pass()]
