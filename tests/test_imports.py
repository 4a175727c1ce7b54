"""The import rule: flows -> tasks -> cyclical, heavy libraries only where they belong."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [file for layer in ("cyclical", "tasks", "flows") for file in (ROOT / layer).glob("*.py")]
LAYERS = {"cyclical": 0, "tasks": 1, "flows": 2}
NETWORKS = {
    *("keras", "measures", "models", "networks", "normalisation", "optimizers"),
    *("training", "updates"),
}
TENSORFLOW = NETWORKS | {"fetching"}
PICTURES = {"range_plots", "clock_plots", "comparison_plots", "plots", "style"}


def imported(file: Path, top_level_only: bool = False) -> Iterator[str]:
    tree = ast.parse(file.read_text())
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def heads(file: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(file)}


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_a_layer_imports_only_itself_and_those_below(file: Path) -> None:
    own = LAYERS[file.parent.name]
    assert {head for head in heads(file) if LAYERS.get(head, -1) > own} == set()


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_each_library_is_imported_only_where_it_belongs(file: Path) -> None:
    domain = file.parent.name == "cyclical"
    if domain:
        assert heads(file).isdisjoint({"prefect", "prefect_dask", "distributed", "dask"})
    if not (domain and file.stem in TENSORFLOW):
        assert heads(file).isdisjoint({"tensorflow", "keras"})
    if not (domain and file.stem in PICTURES):
        assert "matplotlib" not in heads(file)


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_only_the_training_itself_pulls_tensorflow_in_when_it_is_imported(file: Path) -> None:
    if file in {ROOT / "cyclical" / f"{name}.py" for name in NETWORKS}:
        assert {"keras", "tensorflow"} & set(imported(file, top_level_only=True))
        return
    if file == ROOT / "cyclical" / "trials.py":
        return  # it trains
    heavy = {"cyclical.models", "cyclical.training", "cyclical.trials", "tensorflow", "keras"}
    assert heavy.isdisjoint(imported(file, top_level_only=True))


def test_importing_the_whole_flow_leaves_tensorflow_alone() -> None:
    code = "import flows.experiment, flows.cli, sys; print('tensorflow' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


@pytest.mark.parametrize("folder", ["flows", "tasks"])
def test_no_file_is_named_like_a_package_that_is_used(folder: str) -> None:
    used = {"prefect", "dask", "distributed", "keras", "tensorflow", "pandas", "numpy", "typer"}
    assert used.isdisjoint(file.stem for file in (ROOT / folder).glob("*.py"))
