"""Data of the user's own: every form is read to the same arrays, and what is wrong gets a line."""

import io
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cyclical import datasets, examples, factories, idx, memory, sources
from cyclical.errors import InputError
from cyclical.examples import Part

NAMES = ["cat", "dog", "owl"]
SHAPE = (6, 5, 3)


def images_of(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    numbers = np.random.default_rng(seed)
    pixels = numbers.integers(0, 256, (count, *SHAPE), np.uint8)
    return pixels, np.arange(count) % 3


TRAIN, TEST = images_of(9, 0), images_of(6, 1)
ARRAYS = dict(zip(factories.ARRAYS, (*TRAIN, *TEST), strict=True))


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def npz(folder: Path, **changes: Any) -> Path:
    np.savez(folder / "own.npz", **{**ARRAYS, **changes})
    return folder / "own.npz"


def as_npz(folder: Path) -> Path:
    return npz(folder)


def as_small_npz(folder: Path) -> Path:
    np.savez_compressed(folder / "small.npz", **ARRAYS)
    return folder / "small.npz"


def as_pictures(folder: Path) -> Path:
    for part, (pixels, labels) in {"train": TRAIN, "test": TEST}.items():
        for number, (image, label) in enumerate(zip(pixels, labels, strict=True)):
            place = folder / part / NAMES[label] / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(png(image))
    (folder / "train" / ".hidden").mkdir()
    (folder / "train" / "cat" / "notes.txt").write_text("no picture")
    return folder


def as_parquet(folder: Path) -> Path:
    names = {"info": {"features": {"label": {"names": NAMES}}}}
    for part, (pixels, labels) in {"train": TRAIN, "test": TEST}.items():
        table = pa.table(
            {"image": [{"bytes": png(image), "path": None} for image in pixels], "label": labels}
        ).replace_schema_metadata({"huggingface": json.dumps(names)})
        for number, half in enumerate((table.slice(0, 4), table.slice(4))):
            pq.write_table(half, folder / f"{part}-{number}.parquet")
    return folder


def as_plain_parquet(folder: Path) -> Path:
    for part, (pixels, labels) in {"train": TRAIN, "test": TEST}.items():
        names = [NAMES[label] for label in labels]
        table = pa.table({"img": [png(image) for image in pixels], "label": names})
        pq.write_table(table, folder / f"{part}.parquet")
    return folder


def as_our_tables(folder: Path) -> Path:
    for part, (pixels, labels) in {"train": TRAIN, "test": TEST}.items():
        table = examples.to_table(Part(pixels, labels.astype(np.uint8)))
        pq.write_table(table, folder / f"{part}.parquet")
    return folder


def load(path: Path, **changes: Any) -> datasets.Dataset:
    return datasets.load(
        "fashion_mnist", path, **{"train_images": None, "test_images": None} | changes
    )


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as refused:
        load(path)
    assert len(str(refused.value).splitlines()) == 1
    return str(refused.value)


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (as_npz, "012"),
        (as_small_npz, "012"),
        (as_pictures, NAMES),
        (as_parquet, NAMES),
        (as_plain_parquet, NAMES),
        (as_our_tables, "012"),
    ],
)
def test_every_form_gives_the_same_images(
    tmp_path: Path, make: Callable[[Path], Path], names: list[str]
) -> None:
    dataset = load(make(tmp_path))
    for part, (pixels, labels) in ((dataset.train, TRAIN), (dataset.test, TEST)):
        np.testing.assert_array_equal(part.images, pixels)
        np.testing.assert_array_equal(part.labels, labels)
        assert (part.images.dtype, part.labels.dtype) == (np.uint8, np.uint8)
    assert dataset.class_names == tuple(names)
    about = datasets.about(dataset)
    assert (about.height, about.width, about.channels) == SHAPE
    assert (about.train_images, about.classes, about.most_frequent) == (9, 3, 1 / 3)
    assert not about.is_fashion


def test_idx_files_of_another_size_are_ones_own_data(tmp_path: Path) -> None:
    arrays = (TRAIN[0][..., 0], TRAIN[1], TEST[0][..., 0], TEST[1])
    for name, values in zip(idx.FILES, arrays, strict=True):
        (tmp_path / name).write_bytes(idx.to_idx(values.astype(np.uint8)))
    dataset = load(tmp_path)
    np.testing.assert_array_equal(dataset.train.images, TRAIN[0][..., :1])
    assert dataset.class_names == ("0", "1", "2")


def test_pictures_come_one_of_each_class_and_round_again(tmp_path: Path) -> None:
    """So that the first n are of all classes, though the folders are read one by one."""
    for name, count in (("a", 4), ("b", 2)):
        for part in ("train", "test"):
            for number in range(count):
                place = tmp_path / part / name / f"{number}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(png(np.full((2, 2), 10 * number, np.uint8)))
    dataset = load(tmp_path)
    assert dataset.train.labels.tolist() == [0, 1, 0, 1, 0, 0]
    assert dataset.train.images[:, 0, 0, 0].tolist() == [0, 0, 10, 10, 20, 30]
    assert dataset.train.images.shape == (6, 2, 2, 1)


def test_grey_pictures_among_coloured_ones_become_coloured(tmp_path: Path) -> None:
    as_pictures(tmp_path)
    (tmp_path / "train/cat/0.png").write_bytes(png(TRAIN[0][0, ..., 0]))
    first = load(tmp_path).train.images[0]
    np.testing.assert_array_equal(first, np.repeat(TRAIN[0][0, ..., :1], 3, axis=-1))


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_floats_are_kept_as_they_are(tmp_path: Path, kind: type) -> None:
    scaled = {name: (ARRAYS[name] / 255 - 0.5).astype(kind) for name in ("x_train", "x_test")}
    dataset = load(npz(tmp_path, **scaled))
    assert dataset.train.images.dtype == np.float32
    np.testing.assert_array_equal(dataset.train.images, scaled["x_train"].astype(np.float32))
    again = examples.from_table(examples.to_table(dataset.train))
    np.testing.assert_array_equal(again.images, dataset.train.images, strict=True)


def test_labels_may_be_text_or_a_column_and_many(tmp_path: Path) -> None:
    text = {name: np.array(NAMES)[ARRAYS[name]] for name in ("y_train", "y_test")}
    assert load(npz(tmp_path, **text)).class_names == ("cat", "dog", "owl")
    column = {name: ARRAYS[name][:, np.newaxis] for name in ("y_train", "y_test")}
    assert load(npz(tmp_path, **column)).train.labels.tolist() == TRAIN[1].tolist()
    count = 300
    many = npz(
        tmp_path,
        x_train=np.zeros((count, 2, 2), np.uint8),
        y_train=np.arange(count),
        x_test=np.ones((1, 2, 2), np.uint8),
        y_test=[299],
    )
    dataset = load(many)
    assert dataset.train.labels.dtype == np.uint16
    again = examples.from_table(examples.to_table(dataset.train))
    np.testing.assert_array_equal(again.labels, dataset.train.labels, strict=True)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"x_train": TRAIN[0][0, 0]}, "must be of shape"),
        ({"x_train": np.moveaxis(TRAIN[0], -1, 1)}, "channels come last, np.moveaxis"),
        ({"x_train": TRAIN[0][:0], "y_train": TRAIN[1][:0]}, "must be of shape"),
        ({"x_train": TRAIN[0][:, :4]}, "make them equal"),
        ({"x_train": TRAIN[0] / 255}, "make them equal"),
        ({"x_train": TRAIN[0].astype(int) - 1}, "whole numbers from -1 to"),
        ({"x_train": TRAIN[0].astype(int) * 2}, "must lie between 0 and 255"),
        ({"x_train": TRAIN[0] * np.nan}, "9 train images hold NaN or infinity"),
        ({"x_train": TRAIN[0] * 2.5}, "scale them to about 0 to 1"),
        ({"x_train": TRAIN[0] > 100}, "must be numbers, but are bool: x.astype('float32')"),
        ({"class_names": np.array("abc")}, "class_names must be text, one for each class"),
        ({"y_train": np.array([b"x"] * 9)}, "must be whole numbers or names"),
        ({"y_train": TRAIN[1][:-1]}, "there are 9 train images, but labels of (8,)"),
        ({"y_train": np.eye(3)[TRAIN[1]]}, "give y.argmax(axis=1)"),
        ({"y_train": TRAIN[1] + 1}, "no training image has the label 0"),
        (
            {"y_train": TRAIN[1] * 2, "y_test": TEST[1] * 2},
            "no training image has the label 1 (nor 1",
        ),
        ({"y_train": TRAIN[1] - 1}, "must count from 0"),
        ({"y_test": TEST[1] + 3}, "test labels run from 3 to 5"),
        ({"y_train": TRAIN[1] * 0, "y_test": TEST[1] * 0}, "there are 1 classes"),
        ({"y_train": TRAIN[1] * 1.0}, "must be whole numbers or names"),
        ({"y_test": np.array(NAMES)[TEST[1]]}, "must be whole numbers or names"),
        (
            {"y_train": np.array(NAMES)[TRAIN[1]], "y_test": np.array(["emu"] * 6)},
            "'emu', a class without training images",
        ),
        ({"class_names": np.array(["a", "b", "c", "d"])}, "no training image has the label 3"),
        ({"y_train": np.array([None] * 9)}, "can't be read as an .npz file (ValueError: Object"),
    ],
)
def test_arrays_that_are_no_images_with_labels_get_a_line(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    assert said in refusal(npz(tmp_path, **changes))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda raw: raw[: len(raw) // 2], "can't be read as an .npz file"),
        (lambda raw: b"", "can't be read as an .npz file"),
        (lambda raw: b"hello", "can't be read as an .npz file"),
        (lambda raw: raw.replace(b"(9, 6, 5, 3)", b"(9, 6, 9, 9)"), "promises more than it holds"),
    ],
)
def test_a_damaged_npz_file_gets_a_line(
    tmp_path: Path, damage: Callable[[bytes], bytes], said: str
) -> None:
    file = npz(tmp_path)
    file.write_bytes(damage(file.read_bytes()))
    assert said in refusal(file) or "Bad CRC-32" in refusal(file)


def test_what_an_npz_file_lacks_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", x_train=TRAIN[0], y_train=TRAIN[1])
    assert "lacks x_test, y_test" in refusal(tmp_path / "own.npz")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda at: (at / "test").rename(at / "elsewhere"), "is none of what can be read"),
        (lambda at: (at / "train/cat/0.png").write_bytes(b"x"), "0.png can't be read as a picture"),
        (
            lambda at: (at / "train/dog/1.png").write_bytes(png(np.zeros((2, 2), np.uint8))),
            "1.png is of 2x2 pixels",
        ),
        (
            lambda at: (at / "train/dog/1.png").write_bytes(png(np.zeros(SHAPE[:2], np.uint16))),
            "convert it to 8 bits",
        ),
        (lambda at: (at / "test/owl").rename(at / "test/emu"), "'emu', a class without"),
    ],
)
def test_a_spoilt_folder_of_pictures_gets_a_line(
    tmp_path: Path, spoil: Callable[[Path], object], said: str
) -> None:
    spoil(as_pictures(tmp_path))
    assert said in refusal(tmp_path)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"label": [0, 1, 2]}, "needs the columns image (encoded pictures) and label"),
        ({"image": [1, 2, 3], "label": [0, 1, 2]}, "must hold encoded pictures, not int64"),
        ({"image": [b"x", None, b"y"], "label": [0, 1, 2]}, "without a picture or a label"),
        ({"image": [b"x", b"y", b"z"], "label": [[0], [], [1]]}, "must be a number or a text"),
        ({"image": [b"x", b"y", b"z"], "label": [0, 1, 2]}, "row 0 can't be read as a picture"),
    ],
)
def test_a_table_that_holds_no_pictures_gets_a_line(
    tmp_path: Path, table: dict[str, list[Any]], said: str
) -> None:
    for part in sources.PARTS:
        pq.write_table(pa.table(table), tmp_path / f"{part}.parquet")
    assert said in refusal(tmp_path)
    (tmp_path / "test.parquet").write_bytes(b"PAR1")
    assert "test*.parquet can't be read" in refusal(tmp_path)


def test_where_nothing_is_the_forms_are_named(tmp_path: Path) -> None:
    assert "is not there: give an .npz file" in refusal(tmp_path / "typo")
    assert "holds no files: give" in refusal(tmp_path)
    (tmp_path / "x.txt").write_text("x")
    assert "is none of what can be read: an .npz file" in refusal(tmp_path)


@pytest.mark.parametrize("make", [as_npz, as_small_npz, as_pictures])
def test_more_than_half_of_the_memory_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], Path]
) -> None:
    path = make(tmp_path)
    least = 2 * 9 * int(np.prod(SHAPE))
    monkeypatch.setattr(memory, "there_is", lambda: memory.Memory(least - 1, least - 1))
    assert "more than half of the" in refusal(path)


def test_twins_and_lacking_classes_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load(npz(tmp_path))
    assert not caplog.messages
    twins = np.concatenate([TEST[0][:4], TRAIN[0][:2]])
    load(npz(tmp_path, x_test=twins), train_images=2)
    assert caplog.messages == [
        (
            "the first 2 training images are of 2 of the 3 classes: shuffle the data, or take more "
            "of them (data.train_images)"
        ),
        "2 of the 6 test images are training images too: test accuracy flatters",
    ]


def test_the_hash_of_a_source_is_of_its_names_and_contents(tmp_path: Path) -> None:
    as_pictures(tmp_path)
    first = sources.digest(tmp_path)
    file = tmp_path / "train/cat/0.png"
    stamp = file.stat()
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    changed = sources.digest(tmp_path)
    file.rename(file.with_name("1.png"))
    assert len({first, changed, sources.digest(tmp_path)}) == 3


def function_file(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "own_data.py").write_text(f"import numpy as np\ndef load():\n    {body}\n")
    monkeypatch.chdir(folder)


def test_a_function_of_ones_own_gives_the_data_in_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npz(tmp_path)
    body = (
        "print('hello'); d = np.load('own.npz'); return (d['x_train'], d['y_train']), "
        "(d['x_test'], d['y_test']), ['a', 'b', 'c']"
    )
    function_file(tmp_path, body, monkeypatch)
    dataset = datasets.load("own_data:load", None, 6, None)
    np.testing.assert_array_equal(dataset.train.images, TRAIN[0][:6])
    assert dataset.class_names == ("a", "b", "c")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise RuntimeError('no\\nluck')", "failed (RuntimeError: no luck)"),
        ("return 3", "must return ((x_train, y_train), (x_test, y_test))"),
        ("import os; os._exit(3)", "exit status 3"),
    ],
)
def test_a_function_that_gives_no_data_gets_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, said: str
) -> None:
    function_file(tmp_path, body, monkeypatch)
    with pytest.raises(InputError) as refused:
        datasets.load("own_data:load", None, None, None)
    assert said in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_keras_names_are_those_of_its_loaders() -> None:
    code = "import keras; print([hasattr(keras.datasets, name) for name in %r])"
    names = [reference.split(".")[2].partition(":")[0] for reference in factories.KERAS.values()]
    ran = subprocess.run(
        [sys.executable, "-c", code % names], capture_output=True, text=True, check=True
    )
    assert re.findall("True|False", ran.stdout) == ["True"] * 3
    assert factories.KERAS.keys() == datasets.KNOWN.keys() - {"fashion_mnist"}


def test_a_zip_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in factories.ARRAYS:
            archive.writestr(f"{name}.npy", bytes(10_000_000))
    monkeypatch.setattr(memory, "there_is", lambda: memory.Memory(60_000_000, 60_000_000))
    assert "more than half of the 0.1 GiB" in refusal(tmp_path / "bomb.npz")


def test_what_is_read_is_what_is_hashed(tmp_path: Path) -> None:
    """Links are followed, and hidden folders are no classes."""
    as_pictures(tmp_path / "data")
    (tmp_path / "data/train/owl").rename(tmp_path / "elsewhere")
    (tmp_path / "data/train/owl").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data/train/.thumbs").mkdir()
    (tmp_path / "data/train/.thumbs/0.png").write_bytes(png(TRAIN[0][0]))
    assert load(tmp_path / "data").class_names == tuple(NAMES)
    before = sources.digest(tmp_path / "data")
    (tmp_path / "elsewhere/2.png").write_bytes(png(TRAIN[0][0]))
    assert sources.digest(tmp_path / "data") != before


def test_a_link_to_a_folder_above_is_refused(tmp_path: Path) -> None:
    as_pictures(tmp_path / "data")
    (tmp_path / "data/train/cat/loop").symlink_to(tmp_path / "data")
    assert "is there a link to a folder above?" in refusal(tmp_path / "data")


def test_names_do_not_make_data_what_they_are_not(tmp_path: Path) -> None:
    for name in ("mnist", "fashion_mnist"):
        npz(tmp_path).rename(tmp_path / f"{name}.npz")
        dataset = load(tmp_path / f"{name}.npz")
        assert (dataset.class_names, dataset.is_fashion) == (("0", "1", "2"), False)


def test_the_function_that_is_called_is_the_one_whose_code_is_in_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The current directory comes last, in both processes."""
    installed, here = tmp_path / "installed", tmp_path / "here"
    for folder, value in ((installed, 1), (here, 2)):
        folder.mkdir()
        arrays = f"np.full((3, 2, 2), {value}, np.uint8), np.arange(3)"
        (folder / "own_twice.py").write_text(
            f"import numpy as np\ndef load():\n    return ({arrays}), ({arrays})\n"
        )
    monkeypatch.chdir(here)
    monkeypatch.setenv("PYTHONPATH", f"{installed}:{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.syspath_prepend(installed)
    dataset = datasets.load("own_twice:load", None, None, None)
    (installed / "own_twice.py").write_text("def load(): pass")
    assert dataset.train.images[0, 0, 0, 0] == 1


def test_of_ones_own_data_at_most_so_many_are_taken(tmp_path: Path) -> None:
    dataset = load(npz(tmp_path), train_images=5_000, test_images=4)
    assert (len(dataset.train.labels), len(dataset.test.labels)) == (9, 4)
