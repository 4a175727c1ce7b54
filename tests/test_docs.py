"""The documentation's figures are those of the results that lie beside it."""

import json
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks import docs
from cyclical import fingerprint
from cyclical.errors import InputError
from cyclical.store import Store
from flows.cli import app
from tests import running


def test_readme_and_the_results_page_are_written_from_what_lies_there() -> None:
    readme = docs.README.read_text()
    assert docs.renewed(readme) == readme, "`make docs` mends that"
    assert docs.page() == (docs.RESULTS / "README.md").read_text(), "`make docs` mends that"


def test_every_file_that_the_texts_name_is_there() -> None:
    for text in (docs.README, docs.RESULTS / "README.md"):
        named = re.findall(r"\]\((?!https?:|#)([^)#]+)", text.read_text())
        assert named
        for name in named:
            assert (text.parent / name).exists(), f"{text} names {name}"
    page = (docs.RESULTS / "README.md").read_text()
    for heading in re.findall(r"\(docs/results/README\.md#([^)]+)\)", docs.README.read_text()):
        assert f"\n## {heading}\n" in page


@pytest.fixture
def committed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the checkout be as it was committed: a test must pass before a commit as well."""
    monkeypatch.setattr(docs, "_git", lambda *words: "" if "status" in words else "1234abc")


@pytest.mark.usefixtures("committed")
def test_a_run_that_is_taken_in_can_be_shown_and_goes_on_but_for_its_images(
    finished: Path, tmp_path: Path
) -> None:
    taken = tmp_path / "results" / "mine"
    taken.parent.mkdir()
    docs.take(Store(root=finished), taken, whole=True)
    shown, there = (
        CliRunner().invoke(
            app, ["show", "--json", "--artifacts", str(each)], catch_exceptions=False
        )
        for each in (taken, finished)
    )
    answers, before = json.loads(shown.stdout), json.loads(there.stdout)
    for told in ("comparison", "arms", "findings", "lr_min", "bmax", "sums"):
        assert answers[told] == before[told]
    checked = CliRunner().invoke(app, ["verify", "--artifacts", str(taken)])
    assert (checked.exit_code, "all whole" in checked.stdout) == (0, True), checked.output
    for file in (taken / "latest.json", taken / "report.html"):
        assert str(finished.parent) not in file.read_text()

    pictures = {name for name in running.manifests(finished) if "seed=0-pictures" in name}
    ran = running.run(Path(shutil.copytree(taken, tmp_path / "copied")))
    assert ran.status == 0, ran.error
    assert ran.executed == pictures | {"load_data/data"}

    docs.take(Store(root=finished), taken, whole=False)  # once more, over what is there
    assert not list(taken.glob("*/*seed=*"))
    assert CliRunner().invoke(app, ["show", "--artifacts", str(taken)]).exit_code == 0
    assert [each.name for each in taken.parent.iterdir()] == ["mine"]


@pytest.mark.usefixtures("committed")
def test_the_results_part_of_a_readme_is_written_anew_and_nothing_else(
    finished: Path, tmp_path: Path
) -> None:
    docs.take(Store(root=finished), tmp_path / docs.TOP, whole=True)
    begin, end = "<!-- written by `make docs` -->\n", "<!-- to here -->"
    text = docs.renewed(f"before\n{begin}what was there\n{end}\nafter\n", tmp_path)
    assert text.startswith(f"before\n{begin}\n`make run` runs the quick profile, which took ")
    assert text.endswith(f"\n{end}\nafter\n")
    assert "what was there" not in text
    for words in ("clr-derived", "Batch size: cycle between", "](docs/results/quick/lr_bounds/"):
        assert words in text
    assert docs.renewed(text, tmp_path) == text
    assert "## quick\n" in docs.page(tmp_path)


@pytest.mark.usefixtures("committed")
def test_a_run_of_other_code_or_instructions_is_refused(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docs, "instruction_set", lambda: "NEON")
    with pytest.raises(InputError, match="a machine with other instructions"):
        docs.take(Store(root=store), tmp_path / "taken", whole=True)
    monkeypatch.setattr(fingerprint, "of_modules", lambda code: {})
    with pytest.raises(InputError, match="was computed by other code: run it again"):
        docs.take(Store(root=store), tmp_path / "taken", whole=True)
    monkeypatch.setattr(docs, "_git", lambda *_: " M cyclical/noise.py")
    with pytest.raises(InputError, match="not committed"):
        docs.take(Store(root=store), tmp_path / "taken", whole=True)
    assert not (tmp_path / "taken").exists()


def test_readme_begins_with_a_plain_run(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["docs", str(store)])
    with pytest.raises(SystemExit, match="is no plain run of quick: call it by another NAME"):
        docs.main()
