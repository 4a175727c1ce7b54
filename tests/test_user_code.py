"""Functions of the user's own: how they are found, used, fingerprinted, and what is computed again.

Every test has its own folder as the current directory, into which it writes the user's modules.
"""

import importlib
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import dedent

import pandas as pd
import pytest

from cyclical import arms, user_code
from cyclical.errors import InputError
from cyclical.fingerprint import of_user_code
from cyclical.plans import Training, lay_out
from cyclical.results import latest
from cyclical.settings import resolve
from cyclical.store import Store
from tasks import training as training_tasks
from tasks.caching import refuse_edited_code, slot_for
from tests import running

Write = Callable[..., Path]
FADE = "def fade(cycle):\n    return 1 / 2 ** (cycle - 1)\n"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write modules into the current directory; forget afterwards what was imported of them."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    before = set(sys.modules)

    def to(name: str, source: str | bytes) -> Path:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        content = source if isinstance(source, bytes) else dedent(source).encode()
        file.write_bytes(content)
        importlib.invalidate_caches()
        return file

    yield to
    for name in set(sys.modules) - before:
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def one_line(function: Callable[[str], object], reference: str) -> str:
    """Return the error that a reference gives, which names it and is one line."""
    with pytest.raises(InputError) as caught:
        function(reference)
    message = str(caught.value)
    assert message.startswith(f"{reference}: ")
    assert len(message.splitlines()) == 1
    return message


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    """Name what was added, removed, or has another hash."""
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def clr(policy: str, scale_of: str = "cycle", **changes: object) -> Training:
    """Return the derived arm between 0.001 and 0.005, with a half-cycle of 4 updates."""
    mine = {"clr.policy": policy, "clr.scale_of": scale_of, "clr.step_size": 4}
    return next(arms.clr(resolve("quick", {**mine, **changes}), 0.001, 0.005))


def rates(training: Training, examples: int = 600) -> list[float]:
    """Return the rate of every update of a training: seven epochs of ten."""
    return [rate for epoch in lay_out(training, examples) for rate in epoch.learning_rates]


# Found


def test_a_function_is_found_in_a_module_of_the_current_directory(write: Write) -> None:
    write("mine.py", FADE)
    assert user_code.load("mine:fade")(3) == 0.25


def test_a_function_is_found_in_a_module_of_a_package(write: Write) -> None:
    write("curves/__init__.py", "")
    write("curves/slow/__init__.py", "def steep(cycle):\n    return 1 / cycle\n")
    write("curves/slow/fades.py", "from curves.slow import steep\n\n\n" + FADE)
    assert user_code.load("curves.slow.fades:fade")(2) == 0.5
    assert user_code.load("curves.slow.fades:steep")(4) == 0.25
    assert user_code.load("curves.slow:steep")(4) == 0.25


def test_anything_that_can_be_called_is_a_function(write: Write) -> None:
    write(
        "mine.py",
        "class Fade:\n    def __call__(self, cycle):\n        return 7\n\nfade = Fade()\n",
    )
    assert user_code.load("mine:fade")(1) == 7


def test_an_installed_module_comes_before_one_of_the_current_directory(write: Write) -> None:
    write("colorsys.py", "def rgb_to_hsv(*_):\n    return 'mine'\n")
    assert user_code.load("colorsys:rgb_to_hsv")(1, 1, 1) == (0.0, 0.0, 1)


def test_the_current_directory_is_added_once(write: Write) -> None:
    write("mine.py", FADE)
    for _ in range(3):
        user_code.load("mine:fade")
    assert sys.path.count(str(Path.cwd())) == 1
    assert sys.path[-1] == str(Path.cwd())


# Refused


def test_a_module_that_is_missing_is_refused_with_where_it_was_looked_for(write: Write) -> None:
    told = one_line(user_code.load, "nosuch:fade")
    assert "nosuch can't be imported (ModuleNotFoundError: No module named 'nosuch')" in told
    assert str(Path.cwd()) in told


def test_a_module_that_is_missing_in_its_package_is_refused(write: Write) -> None:
    write("curves/__init__.py", "")
    assert "No module named 'curves.nosuch'" in one_line(user_code.load, "curves.nosuch:fade")
    write("mine.py", FADE)
    assert "'mine' is not a package" in one_line(user_code.load, "mine.fade:fade")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nosuch", "nothing of that name"),
        ("Fade", "nothing of that name"),
        ("LIMIT", "LIMIT, which is no function"),
    ],
)
def test_a_function_that_is_missing_or_can_not_be_called_is_refused(
    write: Write, name: str, told: str
) -> None:
    write("mine.py", FADE + "\n\nLIMIT = 3\n")
    assert one_line(user_code.load, f"mine:{name}") == f"mine:{name}: mine holds {told}"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("def (\n", "SyntaxError: invalid syntax (mine.py, line 1)"),
        ("import nosuch\n", "ModuleNotFoundError: No module named 'nosuch'"),
        ("from math import nosuch\n", "ImportError: cannot import name 'nosuch' from 'math'"),
        ("raise RuntimeError('not today')\n", "RuntimeError: not today"),
        ("1 / 0\n", "ZeroDivisionError: division by zero"),
        ("raise ValueError('2 errors:\\n  one\\n  two')\n", "ValueError: 2 errors:"),
        ("x = 1\0\n", "SyntaxError: source code string cannot contain null bytes"),
        ("import sys\n\nsys.exit('usage: mine')\n", "SystemExit: usage: mine"),
    ],
    ids=["syntax", "import", "name", "error", "division", "lines", "null byte", "script"],
)
def test_a_module_that_fails_on_import_is_refused_with_its_own_error(
    write: Write, source: str, told: str
) -> None:
    write("mine.py", source)
    assert f"mine can't be imported ({told}" in one_line(user_code.load, "mine:fade")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("float('nan')", "gives nan at cycle 1: it must give a finite number, at least 0"),
        ("float('inf')", "gives inf at cycle 1: it must give a finite number, at least 0"),
        ("3.0 - cycle", "gives -1.0 at cycle 4: it must give a finite number, at least 0"),
        ("'half'", "fails at cycle 1 (ValueError: could not convert string to float: 'half')"),
        ("None", "fails at cycle 1 (TypeError: "),
        ("1 / (2 - cycle)", "fails at cycle 2 (ZeroDivisionError: "),
        ("nosuch(cycle)", "fails at cycle 1 (NameError: name 'nosuch' is not defined)"),
    ],
    ids=["nan", "infinite", "negative", "text", "nothing", "error", "unknown name"],
)
def test_a_scale_that_gives_no_factor_is_refused_before_anything_is_trained(
    write: Write, body: str, told: str
) -> None:
    write("mine.py", f"def fade(cycle):\n    return {body}\n")
    with pytest.raises(InputError) as caught:
        lay_out(clr("mine:fade"), 600)
    [line] = str(caught.value).splitlines()
    assert line.startswith(f"mine:fade {told}")


# Used


def test_ones_own_halving_by_the_cycle_trains_at_the_rates_of_triangular2(write: Write) -> None:
    write("mine.py", FADE)
    mine = rates(clr("mine:fade"))
    assert len(mine) == 70
    assert mine == pytest.approx(rates(clr("triangular2")), rel=1e-15)
    # by hand: peaks at the updates 4, 12 and 20, with half the amplitude each
    assert [mine[i] for i in (0, 2, 4, 8, 12, 20)] == pytest.approx(
        [0.001, 0.003, 0.005, 0.001, 0.003, 0.002]
    )


def test_ones_own_power_of_the_iteration_trains_at_the_rates_of_exp_range(write: Write) -> None:
    write("mine.py", "GAMMA = 0.9\n\n\ndef fade(iteration):\n    return GAMMA**iteration\n")
    mine = rates(clr("mine:fade", "iteration"))
    assert mine == pytest.approx(rates(clr("exp_range", **{"clr.gamma": 0.9})), rel=1e-13)
    assert mine[4] == pytest.approx(0.001 + 0.004 * 0.6561)


def test_one_function_scales_by_the_cycle_or_by_the_iteration_as_asked(write: Write) -> None:
    write("mine.py", "def fade(value):\n    return 1 / (1 + value)\n")
    by_cycle, by_update = (rates(clr("mine:fade", of)) for of in ("cycle", "iteration"))
    # the peak of the second cycle is at update 12
    assert by_cycle[12] == pytest.approx(0.001 + 0.004 / 3)
    assert by_update[12] == pytest.approx(0.001 + 0.004 / 13)


# Fingerprinted


@pytest.mark.parametrize(
    "same",
    [
        "# by half\n" + FADE,
        '"""My own curves."""\n\n' + FADE,
        FADE.replace("    return", '    """Halve it."""\n    return'),
        "def fade(\n    cycle,\n):\n    return (1 / 2 ** (cycle - 1))  # half\n",
    ],
    ids=["comment", "module docstring", "docstring", "layout"],
)
def test_a_comment_a_docstring_or_the_layout_of_a_users_file_changes_nothing(
    write: Write, same: str
) -> None:
    write("mine.py", FADE)
    before = of_user_code("mine:fade")
    assert set(before) == {"mine"}
    write("mine.py", same)
    assert of_user_code("mine:fade") == before


@pytest.mark.parametrize(
    "other",
    [
        FADE.replace("1 / 2", "1 / 3"),
        FADE.replace("- 1", "+ 1"),
        FADE.replace("return", "return 0 *"),
        FADE + "\n\nLIMIT = 3\n",
        FADE.replace("    return", "    print('now')\n    return"),
    ],
)
def test_an_edit_of_the_code_of_a_users_file_changes_its_fingerprint(
    write: Write, other: str
) -> None:
    write("mine.py", FADE)
    before = of_user_code("mine:fade")
    write("mine.py", other)
    assert changed(before, of_user_code("mine:fade")) == {"mine"}


def test_a_fingerprint_is_taken_without_importing_the_module(write: Write) -> None:
    write("mine.py", "raise RuntimeError\ndef fade(): ...\n")
    assert set(of_user_code("mine:fade")) == {"mine"}
    assert "mine" not in sys.modules


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("import first", {"first"}),
        ("import first as one", {"first"}),
        ("import first, math, second", {"first", "second"}),
        ("from first import FIRST", {"first"}),
        ("from first import *", {"first"}),
        ("import curves.slow", {"curves", "curves.slow"}),
        ("import curves.slow as slow", {"curves", "curves.slow"}),
        ("from curves import slow", {"curves", "curves.slow"}),
        ("from curves import slow as s, LIMIT", {"curves", "curves.slow"}),
        ("from curves.slow import SLOW", {"curves", "curves.slow"}),
        ("from curves import LIMIT", {"curves"}),
        ("from curves.deep import below", {"curves", "curves.deep", "curves.deep.below"}),
        ("from loose import inner", {"loose.inner"}),
        ("def later():\n    import first", {"first"}),
        ("try:\n    import first\nexcept ImportError:\n    import second", {"first", "second"}),
    ],
)
def test_imports_from_the_same_folder_are_followed_in_any_form(
    write: Write, line: str, found: set[str]
) -> None:
    write("first.py", "FIRST = 1\n")
    write("second.py", "SECOND = 1\n")
    write("curves/__init__.py", "LIMIT = 1\n")
    write("curves/slow.py", "SLOW = 1\n")
    write("curves/deep/__init__.py", "DEEP = 1\n")
    write("curves/deep/below.py", "BELOW = 1\n")
    write("loose/inner.py", "INNER = 1\n")  # a folder without __init__.py is a package too
    write("mine.py", f"{line}\n\n\n{FADE}")
    before = of_user_code("mine:fade")
    assert set(before) == {"mine", *found}
    for module in found:
        path = module.replace(".", "/")
        file = Path(f"{path}.py") if Path(f"{path}.py").exists() else Path(path, "__init__.py")
        file.write_text(file.read_text() + "ADDED = 1\n")
    assert changed(before, of_user_code("mine:fade")) == found


@pytest.mark.parametrize(
    ("module", "line", "found"),
    [
        ("curves.mine", "from . import slow", {"curves.slow"}),
        ("curves.mine", "from .slow import SLOW", {"curves.slow"}),
        ("curves.mine", "from . import LIMIT", set()),
        ("curves.mine", "from .deep import below", {"curves.deep", "curves.deep.below"}),
        ("curves.deep.mine", "from .. import slow", {"curves.slow"}),
        ("curves.deep.mine", "from ..slow import SLOW", {"curves.slow"}),
        ("curves.deep.mine", "from . import below", {"curves.deep.below"}),
        ("curves.own", "from . import inner", {"curves.own.inner"}),
        ("curves.own", "from .inner import INNER", {"curves.own.inner"}),
        ("curves.own", "from ..slow import SLOW", {"curves.slow"}),
    ],
)
def test_relative_imports_are_followed_as_python_does(
    write: Write, module: str, line: str, found: set[str]
) -> None:
    write("slow.py", "OUTSIDE = 1\n")
    write("curves/__init__.py", "LIMIT = 1\n")
    write("curves/slow.py", "SLOW = 1\n")
    write("curves/deep/__init__.py", "DEEP = 1\n")
    write("curves/deep/below.py", "BELOW = 1\n")
    write("curves/own/inner.py", "INNER = 1\n")
    place = module.replace(".", "/")
    file = f"{place}/__init__.py" if module == "curves.own" else f"{place}.py"
    write(file, f"{line}\n\n\n{FADE}")
    around = {"curves", module.rpartition(".")[0]}
    assert set(of_user_code(f"{module}:fade")) - around == {module, *found}
    assert user_code.load(f"{module}:fade")(2) == 0.5


def test_a_package_around_the_module_counts_though_nothing_names_it(write: Write) -> None:
    """Python runs it before the module."""
    init = write("curves/__init__.py", "LIMIT = 1\n")
    write("curves/mine.py", FADE)
    before = of_user_code("curves.mine:fade")
    init.write_text("LIMIT = 2\n")
    assert changed(before, of_user_code("curves.mine:fade")) == {"curves"}


def test_of_a_package_and_a_module_of_one_name_the_package_counts_as_python_takes_it(
    write: Write,
) -> None:
    write("helper.py", "HALF = 0.25\n")
    package = write("helper/__init__.py", "HALF = 0.5\n")
    write("mine.py", "from helper import HALF\n\n\ndef fade(cycle):\n    return HALF\n")
    assert user_code.load("mine:fade")(1) == 0.5
    before = of_user_code("mine:fade")
    package.write_text("HALF = 0.75\n")
    assert changed(before, of_user_code("mine:fade")) == {"helper"}


def test_imports_are_followed_through_several_modules_and_in_a_circle(write: Write) -> None:
    for name, other in [("mine", "second"), ("second", "third"), ("third", "mine")]:
        write(f"{name}.py", f"import {other}\nfade = 1\n")
    before = of_user_code("mine:fade")
    assert list(before) == ["mine", "second", "third"]
    write("third.py", "import mine\nfade = 1\nADDED = 1\n")
    assert changed(before, of_user_code("mine:fade")) == {"third"}


def test_installed_packages_are_not_followed(write: Write) -> None:
    write("mine.py", "import math\n\nimport numpy as np\nfrom pandas import DataFrame\n\n" + FADE)
    assert set(of_user_code("mine:fade")) == {"mine"}


def test_of_installed_packages_a_users_own_alone_counts() -> None:
    assert {name.partition(".")[0] for name in of_user_code("keras.ops:exp")} == {"keras"}
    assert {name.partition(".")[0] for name in of_user_code("json:dumps")} == {"json"}


def test_a_module_that_nothing_imports_does_not_count(write: Write) -> None:
    write("mine.py", FADE)
    before = of_user_code("mine:fade")
    write("beside.py", "LIMIT = 1\n")
    assert of_user_code("mine:fade") == before


@pytest.mark.parametrize("reference", ["nosuch:fade", "curves.nosuch:fade", "no.such:fade"])
def test_a_missing_module_has_no_fingerprint(write: Write, reference: str) -> None:
    write("curves/__init__.py", "")
    told = one_line(of_user_code, reference)
    assert f"no file {reference.partition(':')[0].replace('.', '/')}.py is found" in told
    assert str(Path.cwd()) in told


def test_a_module_without_python_source_has_no_fingerprint(write: Write) -> None:
    assert "no file math.py is found" in one_line(of_user_code, "math:sqrt")


def test_a_file_that_is_no_python_has_no_fingerprint(write: Write) -> None:
    write("mine.py", "def (\n")
    assert "mine.py is no Python (SyntaxError: " in one_line(of_user_code, "mine:fade")


# Computed again


def test_a_users_code_is_in_the_recipes_of_the_two_arms_that_call_it_and_in_no_other(
    write: Write, tmp_path: Path
) -> None:
    write("own_curves/__init__.py", "")
    write("own_curves/mine.py", "from .helper import HALF\n\n\n" + FADE)
    write("own_curves/helper.py", "HALF = 2\n")
    config = resolve("quick", {"clr.policy": "own_curves.mine:fade"})
    every = [
        *(*arms.clr(config, 1e-4, 1e-3), *arms.cyclic_batch(config, 16, 64)),
        *(*arms.effective_batch(config, 1e-4), *arms.combined(config, 16, 64)),
        *arms.fixed(config, 1e-3),
    ]
    recipes = {
        arm.label: slot_for(
            training_tasks.train, Store(root=tmp_path), "arms", arm.label, {"training": arm}
        ).recipe
        for arm in every
    }
    theirs = {label: recipe.get("user_code") for label, recipe in recipes.items()}
    code = of_user_code("own_curves.mine:fade")
    assert code.keys() >= {"own_curves.mine", "own_curves.helper"}
    assert theirs.pop("clr-derived") == theirs.pop("clr-paper") == {"own_curves.mine:fade": code}
    assert len(theirs) == 7
    assert set(theirs.values()) == {None}


def test_a_process_that_imported_other_code_of_a_user_refuses_to_train(
    write: Write, tmp_path: Path
) -> None:
    write("mine.py", FADE)
    arm, *_ = arms.clr(resolve("quick", {"clr.policy": "mine:fade"}), 1e-4, 1e-3)
    slot = slot_for(
        training_tasks.train, Store(root=tmp_path), "arms", arm.label, {"training": arm}
    )
    refuse_edited_code(slot)
    edited = {"mine:fade": {"mine": "another hash"}}
    later = slot.model_copy(update={"recipe": slot.recipe | {"user_code": edited}})
    with pytest.raises(InputError, match="imported other code than its results would be kept by"):
        refuse_edited_code(later)


@dataclass(frozen=True)
class Theirs:
    """A user's folder, with a module and its helper, and the store of the runs made there."""

    folder: Path
    data: Path

    @property
    def store(self) -> Store:
        return Store(root=self.folder / "artifacts")

    def edit(self, name: str, old: str, new: str) -> None:
        source = (self.folder / name).read_text()
        assert source.count(old) == 1
        (self.folder / name).write_text(source.replace(old, new))

    def run(self) -> running.Ran:
        """Run in that folder, until the arms that call the user's function are trained."""
        artifacts = self.store.root
        settings = running.settings(
            artifacts,
            data__path=str(self.data),
            data__validation_split=0.25,
            lr_bounds__fixed=[0.001, 0.009],
            clr__policy="mine:fade",
            workers=1,  # TensorFlow is imported and the model traced once
        )
        before = running.manifests(artifacts)
        arguments = ("run", *settings, "--until-step", "clr_training")
        ran = running.command(*arguments, report=self.folder / "audit.json", cwd=self.folder)
        after = running.manifests(artifacts)
        assert ran.status == 0, ran.error
        executed = {name for name, written in after.items() if written != before.get(name)}
        return replace(ran, executed=executed)

    def table(self, label: str, name: str) -> pd.DataFrame:
        """Read a table of the latest run."""
        points = {point.label: point.artifact for point in latest(self.store).points}
        return self.store.frame(points[label], name)


@pytest.fixture(scope="module")
def trained(
    fashion_mnist: Path, prefect_server: None, tmp_path_factory: pytest.TempPathFactory
) -> Theirs:
    """Train once with a user's function, in the user's folder, which is not to be changed."""
    theirs = Theirs(tmp_path_factory.mktemp("theirs") / "folder", fashion_mnist)
    theirs.folder.mkdir()
    (theirs.folder / "mine.py").write_text(
        "from helper import HALF\n\n\ndef fade(cycle):\n    return HALF ** (cycle - 1)\n"
    )
    (theirs.folder / "helper.py").write_text("HALF = 1 / 2\n")
    ran = theirs.run()
    assert {"clr_training/clr-derived-seed=0", "clr_training/clr-paper-seed=0"} <= ran.executed
    return theirs


@pytest.fixture
def copied(trained: Theirs, tmp_path: Path) -> Theirs:
    """Return a copy of that folder."""
    return replace(trained, folder=Path(shutil.copytree(trained.folder, tmp_path / "copy")))


def test_a_run_trains_with_a_function_of_the_folder_it_was_started_in(trained: Theirs) -> None:
    trace = trained.table("clr-derived-seed=0", "iterations.parquet")
    # a half-cycle of 4 updates; in the second cycle the amplitude is halved
    expected = [0.001, 0.003, 0.005, 0.007, 0.009, 0.007, 0.005, 0.003, 0.001, 0.002]
    assert trace["learning_rate"].tolist() == pytest.approx(expected, rel=1e-12)


def test_a_run_that_holds_images_out_scores_the_test_set_once_an_arm(trained: Theirs) -> None:
    counts = trained.table("data", "class_counts.parquet")
    assert counts[["train", "validation"]].sum().sum() == 400
    assert counts["test"].sum() == 100
    for label in ("clr-derived-seed=0", "clr-paper-seed=0"):
        history = trained.table(label, "history.parquet")
        assert history["examples"].tolist() == [counts["train"].sum(), 2 * counts["train"].sum()]
        [scores] = trained.table(label, "test.parquet").to_dict("records")
        assert (scores["test_accuracy"] * 100) % 1 == pytest.approx(0, abs=1e-6)
        hits = history["val_accuracy"] * counts["validation"].sum()
        assert hits.tolist() == pytest.approx(hits.round().tolist(), abs=1e-3)


def test_a_comment_in_a_users_files_computes_nothing_again(copied: Theirs) -> None:
    copied.edit("mine.py", "def fade", "# Mine.\n\n\ndef fade")
    copied.edit("helper.py", "HALF = 1 / 2", '"""Numbers."""\n\nHALF = 1 / 2  # a half')
    ran = copied.run()
    assert ran.executed == set()
    assert ran.audit == {"imported_tensorflow": False, "listened": 0}


def test_an_edit_of_what_a_users_file_imports_trains_the_arms_that_call_it_again_and_no_more(
    copied: Theirs,
) -> None:
    copied.edit("helper.py", "1 / 2", "1 / 4")
    labels = {"clr-derived-seed=0", "clr-paper-seed=0"}
    assert copied.run().executed == {
        *(f"clr_training/{label}" for label in labels),
        *(f"clr_training/{label}-pictures" for label in labels),
    }
    trace = copied.table("clr-derived-seed=0", "iterations.parquet")
    assert trace["learning_rate"].tolist()[7:] == pytest.approx([0.003, 0.001, 0.0015], rel=1e-12)


def test_a_name_that_its_module_does_not_bind_is_told_with_the_nearest(write: Write) -> None:
    write("mine.py", "from elsewhere import given\nfade = 1\n")
    for name in ("fade", "given"):
        of_user_code(f"mine:{name}")
    with pytest.raises(InputError, match=r"mine\.py defines no fate: did you mean fade\?"):
        of_user_code("mine:fate")
    write("mine.py", "from elsewhere import *\n")
    of_user_code("mine:fate")
