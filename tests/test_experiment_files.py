"""Experiments as files: what `init` writes is read back, and what is wrong is named."""

import json
from pathlib import Path

import pytest

from cyclical import experiment_files, naming
from cyclical.config import PROFILES, Experiment
from cyclical.errors import InputError
from cyclical.settings import fields, resolve
from tests import running


def read(folder: Path, text: str) -> Experiment:
    (folder / "x.toml").write_text(text)
    profile, settings = experiment_files.read(folder / "x.toml")
    return resolve(profile or "quick", settings)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_file_as_it_is_written_is_the_profile(tmp_path: Path, profile: str) -> None:
    assert read(tmp_path, experiment_files.commented(profile)) == PROFILES[profile]


@pytest.mark.parametrize("profile", PROFILES)
def test_all_fields_stand_in_it_with_the_values_of_the_profile(
    tmp_path: Path, profile: str
) -> None:
    lines = experiment_files.commented(profile).splitlines()
    all_taken = "\n".join(
        line[1:] if line.startswith("#") and not line.startswith("# ") else line for line in lines
    )
    (tmp_path / "x.toml").write_text(all_taken)
    name, settings = experiment_files.read(tmp_path / "x.toml")
    assert (name, sorted(settings)) == (profile, sorted(fields()))
    other = next(each for each in PROFILES if each != profile)
    assert resolve(other, settings) == PROFILES[profile]


def test_the_values_of_a_choice_stand_beside_it() -> None:
    lines = experiment_files.commented("quick").splitlines()
    assert '#budget = "epochs"  # epochs | updates' in lines
    assert "#threshold = 3.5" in lines


def test_tables_arguments_and_none_are_read(tmp_path: Path) -> None:
    text = """
    profile = "notebook"
    metrics = ["mean_squared_error", { name = "sparse_top_k_categorical_accuracy", k = 3 }]
    [data]
    train_images = 500
    path = "null"
    [clr]
    optimizer = { name = "adam", beta_1 = 0.8 }
    [fixed.optimizer]
    name = "sgd"
    nesterov = true
    """
    chosen = read(tmp_path, text)
    assert chosen.data.train_images == 500
    assert chosen.data.path is None
    assert chosen.clr.optimizer.arguments == {"beta_1": 0.8}
    assert chosen.fixed.optimizer.arguments == {"nesterov": True}
    assert [naming.column(metric) for metric in chosen.metrics] == [
        "mean_squared_error",
        "sparse_top_k_categorical_accuracy_k_3",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[clr]\ngama = 0.9", "unknown field 'clr.gama': did you mean 'clr.gamma'?"),
        ("[ckr]\ngamma = 0.9", "unknown field 'ckr.gamma': did you mean 'clr.gamma'?"),
        ("profil = 'quick'", "unknown field 'profil'"),
        ("profile = 3", "profile must be one of quick, notebook"),
        ("profile = 'slow'", "unknown profile 'slow'"),
        ("seeds = 3", "seeds: "),
        ("seeds = [", "is no TOML"),
        ("[clr.optimizer]\nname = 'adam'\nlearning_rate = 0.1", "learning_rate can't be set"),
        ("[clr]\noptimizer = 'adm'", "clr.optimizer.name: "),
        ("seeds = 2020-01-01", "seeds: "),
    ],
)
def test_what_is_wrong_in_a_file_gets_a_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError) as refused:
        read(tmp_path, text)
    assert said in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_a_file_that_is_not_there_is_told_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`cyclical init` writes one"):
        experiment_files.read(tmp_path / "typo.toml")


def test_the_command_writes_reads_and_prints_experiments(tmp_path: Path) -> None:
    def cyclical(*words: str) -> running.Ran:
        return running.command(*words, report=tmp_path / "audit", cwd=tmp_path)

    assert cyclical("init", "mine.toml", "--profile", "notebook").status == 0
    before = (tmp_path / "mine.toml").read_text()
    again = cyclical("init", "mine.toml")
    assert again.status == 2
    assert again.error == (
        "cyclical: mine.toml can't be written (File exists): name another file, or remove that "
        "one\n"
    )
    (tmp_path / "mine.toml").write_text(before.replace("#epochs = 20", "epochs = 3"))
    printed = json.loads(cyclical("config", "mine.toml", "--set", "fixed.batch_size=32").out)
    assert printed == json.loads(
        resolve("notebook", {"training.epochs": 3, "fixed.batch_size": 32}).model_dump_json()
    )
    quick = json.loads(cyclical("config", "mine.toml", "--profile", "quick").out)
    assert quick["training"]["epochs"] == 3
    schema = json.loads(cyclical("config", "--schema").out)
    assert schema["properties"].keys() == Experiment.model_fields.keys()
