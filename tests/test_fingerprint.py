"""Fingerprints of code: what changes them and what does not, on copies and on small files."""

import ast
import gc
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from textwrap import dedent
from threading import Event, Thread
from types import ModuleType

import pytest

from cyclical import fingerprint
from cyclical.fingerprint import PACKAGE, of_modules, of_task, versions

CONSTANT = '"""A task."""\n\nSHARE = 0.5\n\n\ndef work(value):\n    return SHARE * value\n'
OfTask = Callable[[str], dict[str, str]]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package that may be edited."""
    ignored = shutil.ignore_patterns("__pycache__")
    return Path(shutil.copytree(PACKAGE, tmp_path / "cyclical", ignore=ignored))


@pytest.fixture
def fingerprint_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OfTask:
    """Write a module named `chores`, import it and fingerprint its function `work`."""
    written: list[Path] = []

    def of(source: str) -> dict[str, str]:
        folder = tmp_path / str(len(written))
        folder.mkdir()
        written.append(folder / "chores.py")
        written[-1].write_text(dedent(source))
        spec = importlib.util.spec_from_file_location("chores", written[-1])
        assert spec is not None
        assert spec.loader is not None
        module: ModuleType = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "chores", module)
        spec.loader.exec_module(module)
        return of_task(module.work)

    return of


def edited(package: Path, module: str, old: str, new: str) -> None:
    """Replace a piece of a module's source that is there exactly once."""
    file = package / f"{module}.py"
    source = file.read_text()
    assert source.count(old) == 1, f"{old!r} stands {source.count(old)} times in {file.name}"
    file.write_text(source.replace(old, new))


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    """Name what was added, removed, or has another hash."""
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


# Modules


def test_a_module_is_fingerprinted_with_all_that_it_imports_inside_the_package() -> None:
    assert set(of_modules(["cyclical.schedules"])) == {
        "cyclical.schedules",
        "cyclical.errors",
        "cyclical.rounding",
    }
    assert set(of_modules(["cyclical.bounds"])) == {
        "cyclical.bounds",
        "cyclical.errors",
        "cyclical.learning",
        "cyclical.rounding",
        "cyclical.schedules",
        "cyclical.sweeps",
    }
    trained = set(of_modules(["cyclical.training"]))
    assert {"cyclical.training", "cyclical.models", "cyclical.schedules"} <= trained
    assert trained.isdisjoint({"cyclical.plots", "cyclical.bounds", "cyclical.results"})


def test_a_fingerprint_is_a_sha256_under_the_modules_name_in_order() -> None:
    hashes = of_modules(["cyclical.training", "cyclical.bounds"])
    assert list(hashes) == sorted(hashes)
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in hashes.values())
    assert len(set(hashes.values())) == len(hashes)
    assert of_modules(["cyclical.bounds", "cyclical.training"]) == hashes


def test_a_copy_elsewhere_has_the_same_fingerprints(package: Path) -> None:
    assert of_modules(["cyclical.training"], package) == of_modules(["cyclical.training"])


@pytest.mark.parametrize("module", ["schedules", "bounds", "sweeps", "comparison", "models"])
def test_reformatting_a_whole_module_changes_nothing(package: Path, module: str) -> None:
    before = of_modules([f"cyclical.{module}"], package)
    file = package / f"{module}.py"
    source = file.read_text()
    file.write_text(ast.unparse(ast.parse(source)))  # no comment and no blank line is left
    assert file.read_text() != source
    assert of_modules([f"cyclical.{module}"], package) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            "    boundaries = [0]\n",
            "    # Every epoch starts\n    boundaries = [0]  # at its start\n",
        ),
        ("    boundaries = [0]\n", "\n    boundaries = [\n        0,\n    ]\n"),
        ("    boundaries = [0]\n", "    boundaries = ([(0)])\n"),
        ('    """Keep one learning rate.', '    """Never change the learning rate.'),
        (
            '"""Learning rates and batch sizes as functions',
            '"""What rates and sizes are, as functions',
        ),
        (
            'class Schedule:\n    """A learning rate for every update',
            'class Schedule:\n    """A rate',
        ),
        (
            "Float64 = NDArray[np.float64]\n",
            'Float64 = NDArray[np.float64]\n"""What rates are."""\n',
        ),
    ],
    ids=["comment", "layout", "parentheses", "function", "module", "class", "attribute"],
)
def test_a_comment_a_docstring_or_the_layout_changes_nothing(
    package: Path, old: str, new: str
) -> None:
    before = of_modules(["cyclical.training"], package)
    edited(package, "schedules", old, new)
    assert of_modules(["cyclical.training"], package) == before


def test_removing_a_docstring_changes_nothing(package: Path) -> None:
    told = '"""It."""\nclass It(Exception):\n    """It."""\n    def it(self):\n        """It."""\n'
    bare = "class It(Exception):\n    def it(self):\n        pass\n"
    (package / "it.py").write_text(told)
    before = of_modules(["cyclical.it"], package)
    (package / "it.py").write_text(bare)
    assert of_modules(["cyclical.it"], package) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("power(0.5, number - 1)", "power(0.25, number - 1)"),
        ("power(0.5, number - 1)", "power(0.5, number + 1)"),
        ("if base_lr >= max_lr:", "if base_lr > max_lr:"),
        ("def triangular2(", "def triangular3("),
        ("step_size must be at least 1 update", "step_size must be at least one update"),
        ("    boundaries = [0]\n", "    boundaries = [0]\n    boundaries = [0]\n"),
        ("dtype=np.int32)", "dtype=np.int64)"),
        ('    _positive("max_lr", max_lr)\n', ""),
    ],
    ids=["constant", "operator", "comparison", "name", "message", "added", "attribute", "removed"],
)
def test_a_change_of_meaning_changes_the_module_and_no_other(
    package: Path, old: str, new: str
) -> None:
    before = of_modules(["cyclical.training"], package)
    edited(package, "schedules", old, new)
    after = of_modules(["cyclical.training"], package)
    assert changed(before, after) == {"cyclical.schedules"}


def test_a_string_that_is_no_docstring_counts(package: Path) -> None:
    before = of_modules(["cyclical.sweeps"], package)
    edited(package, "sweeps", '"learned", "not_learned"', '"learnt", "not_learned"')
    assert changed(before, of_modules(["cyclical.sweeps"], package)) == {"cyclical.sweeps"}


@pytest.mark.parametrize("module", ["config", "store", "fingerprint", "__init__"])
def test_modules_that_make_no_result_do_not_count(package: Path, module: str) -> None:
    everything = ["cyclical.training", "cyclical.results", "cyclical.config", "cyclical.store"]
    before = of_modules(everything, package)
    assert f"cyclical.{module}" not in before
    with (package / f"{module}.py").open("a") as file:
        file.write("\nADDED = 1\n")
    assert of_modules(everything, package) == before


def test_a_change_of_the_errors_counts_for_all_who_raise_them(package: Path) -> None:
    before = of_modules(["cyclical.bounds"], package)
    edited(package, "errors", "class InputError(ValueError)", "class InputError(TypeError)")
    assert changed(before, of_modules(["cyclical.bounds"], package)) == {"cyclical.errors"}


@pytest.mark.parametrize(
    "line",
    [
        "from cyclical import learning",
        "from cyclical import learning as hope",
        "from cyclical.learning import hopeless",
        "from cyclical.learning import hopeless as lost, least_learned",
        "import cyclical.learning",
        "import cyclical.learning as hope",
        "def late():\n    from cyclical import learning",
        "if True:\n    from cyclical.learning import hopeless",
    ],
)
def test_an_import_in_any_form_is_followed(package: Path, line: str) -> None:
    assert set(of_modules(["cyclical.errors"], package)) == {"cyclical.errors"}
    with (package / "errors.py").open("a") as file:
        file.write(f"\n\n{line}\n")
    assert set(of_modules(["cyclical.errors"], package)) == {"cyclical.errors", "cyclical.learning"}


def test_imports_are_followed_through_several_modules_and_in_a_circle(package: Path) -> None:
    for name, other in [("first", "second"), ("second", "third"), ("third", "first")]:
        (package / f"{name}.py").write_text(f"from cyclical import {other}\n")
    before = of_modules(["cyclical.first"], package)
    assert set(before) == {"cyclical.first", "cyclical.second", "cyclical.third"}
    with (package / "third.py").open("a") as file:
        file.write("ADDED = 1\n")
    assert changed(before, of_modules(["cyclical.first"], package)) == {"cyclical.third"}


def test_names_of_other_packages_and_of_no_module_are_not_followed(package: Path) -> None:
    with (package / "errors.py").open("a") as file:
        file.write("\nimport json\nfrom cyclical import __doc__\nfrom tasks import bounds\n")
    assert set(of_modules(["cyclical.errors"], package)) == {"cyclical.errors"}


# Versions


def test_versions_are_those_of_the_packages_that_the_code_imports() -> None:
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert versions([]) == {"python": python}
    assert versions(of_modules(["cyclical.errors"])) == {"python": python}
    numpy = {"python": python, "numpy": version("numpy")}
    assert versions(of_modules(["cyclical.schedules"])) == numpy
    trained = {"keras": version("keras"), "tensorflow": version("tensorflow")}
    assert versions(of_modules(["cyclical.training"])) == numpy | trained
    assert versions(["cyclical.plots"]) == numpy | {"matplotlib": version("matplotlib")}


def test_names_that_are_no_module_of_the_package_have_no_versions() -> None:
    assert set(versions(["tasks.pictures.draw_samples", "chores.work"])) == {"python"}


@pytest.mark.parametrize(
    "line",
    [
        "import keras",
        "from keras import layers",
        "import keras.layers as k",
        "def f(): import keras",
    ],
)
def test_a_package_counts_however_it_is_imported(package: Path, line: str) -> None:
    with (package / "errors.py").open("a") as file:
        file.write(f"\n\n{line}\n")
    assert set(versions(["cyclical.errors"], package)) == {"python", "keras"}


def test_fingerprints_and_versions_are_taken_without_importing_what_they_are_of() -> None:
    code = dedent("""
        import json, sys
        from cyclical import fingerprint
        code = fingerprint.of_modules(["cyclical.training", "cyclical.plots"])
        print(json.dumps([code, fingerprint.versions(code), sorted(sys.modules)]))
    """)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    hashes, used, loaded = json.loads(ran.stdout)
    assert hashes == of_modules(["cyclical.training", "cyclical.plots"])
    assert set(used) == {"python", "keras", "matplotlib", "numpy", "pillow", "tensorflow"}
    assert not {"tensorflow", "keras", "matplotlib", "cyclical.training"} & set(loaded)


# Tasks


def test_a_task_is_its_function_and_what_that_names_in_its_file(fingerprint_of: OfTask) -> None:
    hashes = fingerprint_of("""
        LIMIT = 3
        UNUSED = 4

        def work(value):
            return inner(value)

        def inner(value):
            return min(value, LIMIT)

        def beside(value):
            return UNUSED
    """)
    assert set(hashes) == {"chores.work", "chores.inner", "chores.LIMIT"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""A task."""', '"""The task."""'),
        ("    return", '    """Do it."""\n\n    # by half\n    return'),
        ("SHARE = 0.5", "SHARE = (\n    0.50  # a half\n)"),
        ("SHARE = 0.5", "OTHER = 1\nSHARE = 0.5"),
        ("SHARE = 0.5", "SHARE = 0.5\nOTHER = 2 * SHARE"),
    ],
    ids=["module docstring", "docstring and comment", "layout", "unused name", "use elsewhere"],
)
def test_what_means_the_same_leaves_a_task_as_it_is(
    fingerprint_of: OfTask, old: str, new: str
) -> None:
    assert fingerprint_of(CONSTANT.replace(old, new)) == fingerprint_of(CONSTANT)


def test_a_change_of_the_function_changes_it_alone(fingerprint_of: OfTask) -> None:
    after = fingerprint_of(CONSTANT.replace("SHARE * value", "SHARE + value"))
    assert changed(fingerprint_of(CONSTANT), after) == {"chores.work"}


@pytest.mark.parametrize(
    "form",
    [
        "SHARE = {}",
        "SHARE: float = {}",
        "OTHER = SHARE = {}",
        "OTHER, SHARE = 1, {}",
        "(OTHER, [SHARE, *REST]) = (1, [{}, 2])",
        "SHARE = 0\nSHARE = {}",
        "SHARE = 1\nSHARE += {}",
        "SHARE = {}\nSHARE *= 2",
        "if True:\n    SHARE = {}",
        "try:\n    SHARE = {}\nexcept ValueError:\n    SHARE = 0",
        "HALF = {}\nSHARE = 2 * HALF",
        "class SHARE:\n    value = {}",
    ],
    ids=lambda form: form.splitlines()[0],
)
def test_a_change_of_a_constant_changes_the_task_however_it_is_assigned(
    fingerprint_of: OfTask, form: str
) -> None:
    before, same, after = (
        fingerprint_of(CONSTANT.replace("SHARE = 0.5", form.format(value)))
        for value in ("0.5", "0.5", "0.75")
    )
    assert before == same
    assert changed(before, after)
    assert "chores.work" not in changed(before, after)


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_change_of_a_helper_changes_the_task(fingerprint_of: OfTask, kind: str) -> None:
    source = f"""
        {kind} helper(value):
            return value + 1

        def work(value):
            return [helper(each) for each in value]
    """
    after = fingerprint_of(source.replace("+ 1", "+ 2"))
    assert changed(fingerprint_of(source), after) == {"chores.helper"}


def test_a_change_of_a_helper_under_a_condition_changes_the_task(fingerprint_of: OfTask) -> None:
    source = """
        import sys

        if sys.version_info:
            def helper(value):
                return value + 1

        def work(value):
            return helper(value)
    """
    after = fingerprint_of(source.replace("+ 1", "+ 2"))
    assert changed(fingerprint_of(source), after) == {"chores.helper"}


def test_a_task_that_calls_itself_is_followed_to_its_end(fingerprint_of: OfTask) -> None:
    source = """
        def work(value):
            return other(value - 1) if value else 0

        def other(value):
            return work(value - 1)
    """
    assert set(fingerprint_of(source)) == {"chores.work", "chores.other"}


def test_a_decorator_of_the_tasks_own_file_counts(fingerprint_of: OfTask) -> None:
    source = """
        def twice(function):
            function.times = 2
            return function

        @twice
        def work(value):
            return value
    """
    assert set(fingerprint_of(source)) == {"chores.work", "chores.twice"}


@pytest.mark.parametrize(
    ("line", "use"),
    [
        ("from cyclical import learning", "learning.hopeless"),
        ("from cyclical import learning as hope", "hope.hopeless"),
        ("from cyclical import errors, learning as hope", "hope.hopeless"),
        ("from cyclical.learning import hopeless", "hopeless"),
        ("from cyclical.learning import hopeless as lost", "lost"),
        ("import cyclical.learning", "cyclical.learning.hopeless"),
        ("import cyclical.learning as hope", "hope.hopeless"),
        ("if True:\n    from cyclical import learning", "learning.hopeless"),
    ],
)
def test_a_module_that_a_task_uses_counts_however_it_is_imported(
    fingerprint_of: OfTask, line: str, use: str
) -> None:
    hashes = fingerprint_of(f"{line}\n\n\ndef work():\n    return {use}\n")
    assert set(hashes) == {"chores.work", "cyclical.learning"}
    assert hashes["cyclical.learning"] == of_modules(["cyclical.learning"])["cyclical.learning"]


def test_a_module_that_a_task_imports_in_its_body_counts(fingerprint_of: OfTask) -> None:
    hashes = fingerprint_of("""
        def work():
            from cyclical import schedules as curves

            return curves.constant(0.1)
    """)
    assert set(hashes) == {
        "chores.work",
        "cyclical.schedules",
        "cyclical.errors",
        "cyclical.rounding",
    }


def test_a_module_that_only_a_helper_or_a_constant_uses_counts(fingerprint_of: OfTask) -> None:
    hashes = fingerprint_of("""
        from cyclical import learning, schedules

        LOST = learning.hopeless

        def helper():
            return schedules.constant(0.1), LOST

        def work():
            return helper()
    """)
    assert {"cyclical.schedules", "cyclical.errors", "cyclical.learning"} <= set(hashes)


def test_modules_that_a_task_does_not_use_do_not_count(fingerprint_of: OfTask) -> None:
    hashes = fingerprint_of("""
        import json
        from cyclical import bounds, learning
        from cyclical.config import QUICK
        from cyclical.store import Store

        def work():
            return learning.hopeless, QUICK, Store, json

        def beside():
            from cyclical import arms as learning

            return bounds.lr_bounds, learning
    """)
    assert set(hashes) == {"chores.work", "cyclical.learning"}


def test_a_name_of_the_package_that_is_no_module_is_passed_over(fingerprint_of: OfTask) -> None:
    source = "from cyclical import __doc__ as told\n\n\ndef work():\n    return told\n"
    assert set(fingerprint_of(source)) == {"chores.work"}


def test_the_fingerprint_of_a_real_task_is_stable_and_complete() -> None:
    from tasks.bounds import fix_lr_bounds

    hashes = of_task(fix_lr_bounds.fn)
    assert set(hashes) == {
        "tasks.bounds.fix_lr_bounds",
        "cyclical.bounds",
        "cyclical.errors",
        "cyclical.learning",
        "cyclical.rounding",
        "cyclical.schedules",
        "cyclical.sweeps",
    }
    assert of_task(fix_lr_bounds.fn) == hashes
    assert fingerprint.versions(hashes).keys() == {"python", "numpy"}


def test_the_fingerprint_of_a_training_has_its_loop_and_layout_but_not_the_choice_of_arms() -> None:
    from tasks.training import train

    hashes = set(of_task(train.fn))
    loop = {"cyclical.training", "cyclical.models", "cyclical.networks", "cyclical.examples"}
    layout = {"cyclical.plans", "cyclical.schedules", "cyclical.user_code"}
    assert loop | layout <= hashes
    assert hashes.isdisjoint({"cyclical.arms", "cyclical.config", "cyclical.comparison"})


def test_sources_are_read_while_another_thread_parses() -> None:
    """Collections, and what runs in them, let threads take turns where nobody expects it."""
    modules = [f"cyclical.{file.stem}" for file in sorted(PACKAGE.glob("*.py"))]
    alone = of_modules(modules)
    threshold, read = gc.get_threshold(), Event()

    def parse() -> None:
        while not read.is_set():
            with suppress(SystemError):  # the other's fault may well be ours, up to Python 3.11.7
                ast.parse("[" * 50 + "]" * 50)

    def pause(*_: object) -> None:
        time.sleep(0)

    gc.callbacks.append(pause)
    gc.set_threshold(100)
    other = Thread(target=parse)
    other.start()
    try:
        for _ in range(3):
            fingerprint._read.cache_clear()
            assert of_modules(modules) == alone
    finally:
        read.set()
        other.join()
        gc.callbacks.remove(pause)
        gc.set_threshold(*threshold)


def test_sources_are_read_without_collections_which_go_on_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    collecting = []
    parse = ast.parse

    def noted(source: bytes) -> ast.Module:
        collecting.append(gc.isenabled())
        return parse(source)

    monkeypatch.setattr(ast, "parse", noted)
    for enabled in (True, False):
        (gc.enable if enabled else gc.disable)()
        try:
            with pytest.raises(SyntaxError):
                fingerprint._parsed(b"def")
            assert gc.isenabled() == enabled
        finally:
            gc.enable()
    assert collecting == [False, False]
