"""Data sets: finding, reading and checking IDX files; tables and back."""

import gzip
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cyclical.datasets import Dataset, class_counts, hold_out, load
from cyclical.errors import InputError
from cyclical.examples import Part, from_table, normalised, to_table
from cyclical.fashion_mnist import CLASS_NAMES, find_source
from cyclical.idx import FILES, to_idx

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = FILES
MAKE_DATA = "`cyclical data`"
SET_PATH = "`--set data.path=FOLDER`"


@pytest.fixture(scope="module")
def dataset(fashion_mnist: Path) -> Dataset:
    return load("fashion_mnist", fashion_mnist, None, None)


def idx_files(train: Part, test: Part) -> dict[str, bytes]:
    """Return the raw IDX files of both parts by name."""
    values = (train.images[..., 0], train.labels, test.images[..., 0], test.labels)
    return {name: to_idx(array) for name, array in zip(FILES, values, strict=True)}


@pytest.fixture
def small(dataset: Dataset, tmp_path: Path) -> Path:
    """A folder of one's own, of IDX files with the first 3 training and 2 test images."""
    train = Part(dataset.train.images[:3], dataset.train.labels[:3])
    test = Part(dataset.test.images[:2], dataset.test.labels[:2])
    (tmp_path / "small").mkdir()
    for name, content in idx_files(train, test).items():
        (tmp_path / "small" / name).write_bytes(content)
    return tmp_path / "small"


def refusal(folder: Path) -> str:
    """Return the error of loading a folder, which is one line with both remedies."""
    message = line(folder)
    assert MAKE_DATA in message
    assert SET_PATH in message
    return message


def line(folder: Path) -> str:
    """Return the error of loading a folder, which is one line."""
    with pytest.raises(InputError) as caught:
        load("fashion_mnist", folder, None, None)
    message = str(caught.value)
    assert "\n" not in message
    return message


def linked(folder: Path, source: Path) -> Path:
    """Fill a folder with links to the four files of another."""
    folder.mkdir(parents=True)
    for file in source.glob("*-ubyte*"):
        (folder / file.name).symlink_to(file)
    return folder


def test_the_whole_data_set_has_6000_and_1000_images_of_each_class(dataset: Dataset) -> None:
    assert (dataset.is_fashion, dataset.class_names) == (True, CLASS_NAMES)
    assert dataset.train.images.shape == (60_000, 28, 28, 1)
    assert dataset.test.images.shape == (10_000, 28, 28, 1)
    assert dataset.train.images.dtype == dataset.train.labels.dtype == np.uint8
    counts = class_counts(dataset)
    assert list(counts.columns) == ["label", "name", "train", "test"]
    assert counts["label"].tolist() == list(range(10))
    assert counts["name"].tolist() == list(CLASS_NAMES)
    assert counts["train"].tolist() == [6_000] * 10
    assert counts["test"].tolist() == [1_000] * 10


def test_the_first_images_are_the_published_ones(dataset: Dataset) -> None:
    names = [dataset.class_names[label] for label in dataset.train.labels[[0, 1, 3]]]
    assert names == ["Ankle boot", "T-shirt/top", "Dress"]
    assert dataset.test.labels[:5].tolist() == [9, 2, 1, 1, 6]
    assert round(float(dataset.train.images.mean() / 255), 4) == 0.2860  # widely published


def test_a_subset_is_the_first_images_of_each_part(dataset: Dataset, fashion_mnist: Path) -> None:
    subset = load("fashion_mnist", fashion_mnist, 7, 3)
    np.testing.assert_array_equal(subset.train.images, dataset.train.images[:7])
    np.testing.assert_array_equal(subset.train.labels, dataset.train.labels[:7])
    np.testing.assert_array_equal(subset.test.images, dataset.test.images[:3])
    np.testing.assert_array_equal(subset.test.labels, dataset.test.labels[:3])


def test_classes_that_a_subset_lacks_count_zero(dataset: Dataset) -> None:
    train = Part(dataset.train.images[1:4], dataset.train.labels[1:4])  # labels 0, 0, 3
    test = Part(dataset.test.images[1:2], dataset.test.labels[1:2])  # label 2
    counts = class_counts(Dataset(train, test, dataset.class_names))
    assert counts["train"].tolist() == [2, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    assert counts["test"].tolist() == [0, 0, 1, 0, 0, 0, 0, 0, 0, 0]


def test_raw_files_read_like_gzipped_ones(dataset: Dataset, tmp_path: Path) -> None:
    for name, content in idx_files(dataset.train, dataset.test).items():
        (tmp_path / name).write_bytes(content)
    packed = gzip.compress((tmp_path / TEST_LABELS).read_bytes())
    (tmp_path / TEST_LABELS).rename(tmp_path / f"{TEST_LABELS}.gz").write_bytes(packed)
    mixed = load("fashion_mnist", tmp_path, None, 2)
    np.testing.assert_array_equal(mixed.train.images, dataset.train.images)
    np.testing.assert_array_equal(mixed.test.labels, dataset.test.labels[:2])


@pytest.mark.parametrize(
    ("train", "test", "said"),
    [
        (60_001, None, "data.train_images is 60001, but there are 60000 images"),
        (None, 10_001, "data.test_images is 10001, but there are 10000 images"),
        (0, None, "data.train_images must be at least 1, but is 0"),
        (None, -1, "data.test_images must be at least 1, but is -1"),
    ],
)
def test_a_subset_that_cannot_be_taken_is_refused(
    fashion_mnist: Path, train: int | None, test: int | None, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        load("fashion_mnist", fashion_mnist, train, test)


def test_what_lies_at_a_path_is_told_by_its_contents_and_not_by_the_name_that_is_set(
    fashion_mnist: Path, tmp_path: Path
) -> None:
    moved = linked(tmp_path / "cifar10", fashion_mnist)
    assert load("cifar10", moved, 7, 3).is_fashion


def written(folder: Path, train: Part, test: Part) -> Path:
    """Write the raw IDX files of both parts."""
    folder.mkdir()
    for name, content in idx_files(train, test).items():
        (folder / name).write_bytes(content)
    return folder


def test_a_folder_cut_from_fashion_mnist_is_data_of_ones_own(
    dataset: Dataset, tmp_path: Path
) -> None:
    train = Part(dataset.train.images[:300], dataset.train.labels[:300])
    test = Part(dataset.test.images[:40], dataset.test.labels[:40])
    own = load("fashion_mnist", written(tmp_path / "cut", train, test), None, 30)
    assert (own.is_fashion, own.class_names) == (False, tuple("0123456789"))
    assert_same(own.train, train)
    assert_same(own.test, Part(test.images[:30], test.labels[:30]))


def test_data_of_ones_own_that_lack_labels_are_refused(small: Path) -> None:
    # training images of 9, 0 and 0
    assert line(small) == (
        "no training image has the label 1 (nor 7 others): labels must count from 0 on without gaps"
    )


def test_images_of_another_size_are_taken_where_both_parts_agree(small: Path) -> None:
    (small / TRAIN_LABELS).write_bytes(to_idx(np.array([1, 0, 1], np.uint8)))
    (small / TEST_LABELS).write_bytes(to_idx(np.array([0, 1], np.uint8)))
    (small / TRAIN_IMAGES).write_bytes(to_idx(np.zeros((3, 32, 24), np.uint8)))
    assert line(small) == (
        "training images are (32, 24, 1) uint8, test images (28, 28, 1) uint8: make them equal"
    )
    (small / TEST_IMAGES).write_bytes(to_idx(np.ones((2, 32, 24), np.uint8)))
    own = load("fashion_mnist", small, None, None)
    assert (own.train.images.shape, own.test.images.shape) == ((3, 32, 24, 1), (2, 32, 24, 1))
    assert (own.train.labels.tolist(), own.test.labels.tolist()) == ([1, 0, 1], [0, 1])


def labelled(labels: list[int] | np.ndarray) -> Part:
    """Return a part whose images have a single pixel: 0, 1, 2, ... up to 255."""
    images = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
    return Part(images, np.asarray(labels, np.uint8))


def places(part: Part) -> list[int]:
    """Read the numbers that `labelled` gave the images of a part."""
    return part.images.reshape(-1).tolist()


def test_of_every_class_the_last_images_are_held_out() -> None:
    kept, held_out = hold_out(labelled([0, 1, 0, 0, 1, 0, 1, 1]), 0.5)
    # class 0 stands at 0, 2, 3 and 5, class 1 at 1, 4, 6 and 7
    assert places(kept) == [0, 1, 2, 4]
    assert kept.labels.tolist() == [0, 1, 0, 1]
    assert places(held_out) == [3, 5, 6, 7]
    assert held_out.labels.tolist() == [0, 0, 1, 1]


def test_the_share_of_a_class_is_rounded_to_whole_images() -> None:
    # 0.3 of 5, 4 and 1 images: 1.5, 1.2 and 0.3
    kept, held_out = hold_out(labelled([7] * 5 + [3] * 4 + [9]), 0.3)
    assert np.bincount(held_out.labels, minlength=10).tolist() == [0, 0, 0, 1, 0, 0, 0, 2, 0, 0]
    assert np.bincount(kept.labels, minlength=10).tolist() == [0, 0, 0, 3, 0, 0, 0, 3, 0, 1]


def test_labels_in_order_are_held_out_in_the_same_proportions() -> None:
    kept, held_out = hold_out(labelled(np.repeat(np.arange(10), 20)), 0.25)
    assert np.bincount(kept.labels).tolist() == [15] * 10
    assert np.bincount(held_out.labels).tolist() == [5] * 10


@given(labels=hnp.arrays(np.uint8, st.integers(2, 60), elements=st.integers(0, 4)), data=st.data())
def test_what_is_kept_and_what_is_held_out_are_the_part_and_each_in_its_order(
    labels: np.ndarray, data: st.DataObject
) -> None:
    share = data.draw(st.floats(0.01, 0.99))
    part = labelled(labels)
    counts = np.bincount(labels)
    held_by_class = [round(share * count) for count in counts.tolist()]
    if sum(held_by_class) in {0, len(labels)}:
        with pytest.raises(InputError):
            hold_out(part, share)
        return
    kept, held_out = hold_out(part, share)
    assert sorted(places(kept) + places(held_out)) == list(range(len(labels)))
    for some in (kept, held_out):
        assert places(some) == sorted(places(some))
        assert some.labels.tolist() == labels[places(some)].tolist()
    assert np.bincount(held_out.labels, minlength=len(counts)).tolist() == held_by_class
    for label in range(len(counts)):
        last = [place for place in places(held_out) if labels[place] == label]
        first = [place for place in places(kept) if labels[place] == label]
        assert not last or not first or max(first) < min(last)


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0.04, "data.validation_split = 0.04 of 20 training images leaves nothing to validate on"),
        (0.96, "data.validation_split = 0.96 of 20 training images leaves nothing to train on"),
    ],
)
def test_a_split_that_leaves_a_part_empty_is_refused_with_both_numbers(
    share: float, said: str
) -> None:
    with pytest.raises(InputError) as caught:
        hold_out(labelled([0, 1] * 10), share)  # 0.4 or 9.6 of each class
    assert str(caught.value) == f"{said}: take more images or another share"


def test_holding_out_leaves_the_part_that_is_split_alone() -> None:
    part = labelled([0, 1, 0, 1])
    hold_out(part, 0.5)
    assert_same(part, labelled([0, 1, 0, 1]))


def test_a_tenth_of_the_whole_data_set_is_600_images_of_each_class(dataset: Dataset) -> None:
    kept, held_out = hold_out(dataset.train, 0.1)
    assert (len(kept.labels), len(held_out.labels)) == (54_000, 6_000)
    counts = class_counts(Dataset(kept, dataset.test, dataset.class_names, held_out))
    assert list(counts.columns) == ["label", "name", "train", "test", "validation"]
    assert counts["train"].tolist() == [5_400] * 10
    assert counts["validation"].tolist() == [600] * 10
    assert counts["test"].tolist() == [1_000] * 10


def test_a_subset_is_taken_before_its_share_is_held_out(
    dataset: Dataset, fashion_mnist: Path
) -> None:
    first = Part(dataset.train.images[:200], dataset.train.labels[:200])
    kept, held_out = hold_out(first, 0.2)
    loaded = load("fashion_mnist", fashion_mnist, 200, 30, validation_split=0.2)
    assert loaded.validation is not None
    assert_same(loaded.train, kept)
    assert_same(loaded.validation, held_out)
    assert_same(loaded.test, Part(dataset.test.images[:30], dataset.test.labels[:30]))


def test_nothing_is_held_out_unless_asked_for(dataset: Dataset) -> None:
    assert dataset.validation is None
    assert len(dataset.train.labels) == 60_000


def test_a_split_that_cannot_be_taken_of_the_subset_is_refused(fashion_mnist: Path) -> None:
    with pytest.raises(InputError, match=r"^data\.validation_split = 0\.1 of 3 training images"):
        load("fashion_mnist", fashion_mnist, 3, 2, validation_split=0.1)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory and an empty Keras home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return tmp_path


def test_a_named_folder_is_the_only_one_looked_at(elsewhere: Path, small: Path) -> None:
    linked(elsewhere / "data/fashion-mnist", small)
    assert find_source(small) == small
    with pytest.raises(InputError) as caught:
        find_source(elsewhere / "typo")
    assert str(caught.value).startswith(
        f"data.path: the four files of Fashion-MNIST, .gz or raw, are not in {elsewhere}/typo: run"
    )
    assert line(elsewhere / "typo").startswith(
        f"data.path {elsewhere}/typo is not there: give an .npz file"
    )


def test_a_named_folder_that_lacks_a_file_is_refused_naming_it(small: Path) -> None:
    (small / TEST_LABELS).unlink()
    assert f"{small} (no readable {TEST_LABELS})" in refusal(small)


def test_the_projects_folder_comes_before_keras_cache(elsewhere: Path, small: Path) -> None:
    cache = linked(elsewhere / "keras/datasets/fashion-mnist", small)
    project = linked(elsewhere / "data/fashion-mnist", small)
    assert find_source(None) == project
    (project / TRAIN_LABELS).unlink()
    assert find_source(None) in {Path("/usr/share/datasets/fashion-mnist"), cache}


def test_keras_cache_is_found_in_the_home_folder(
    elsewhere: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if Path("/usr/share/datasets/fashion-mnist").exists():
        pytest.skip("Debian's package is installed here and comes first")
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("HOME", str(elsewhere / "home"))
    cache = linked(elsewhere / "home/.keras/datasets/fashion-mnist", small)
    assert find_source(None) == cache


def test_where_nothing_is_found_every_place_and_both_remedies_are_named(elsewhere: Path) -> None:
    if Path("/usr/share/datasets/fashion-mnist").exists():
        pytest.skip("Debian's package is installed here and is found")
    with pytest.raises(InputError) as caught:
        find_source(None)
    places = (elsewhere / "data", Path("/usr/share/datasets"), elsewhere / "keras/datasets")
    where = " or ".join(f"{place}/fashion-mnist" for place in places)
    assert f"not in {where}: run {MAKE_DATA}, or" in str(caught.value)
    assert SET_PATH in str(caught.value)


def flipped(content: bytes, position: int) -> bytes:
    changed = bytearray(content)
    changed[position] ^= 1
    return bytes(changed)


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        (TRAIN_IMAGES, lambda raw: raw[:9], "is truncated (its header has 9 of 16 bytes)"),
        (TRAIN_IMAGES, lambda raw: b"", "is truncated (its header has 0 of 16 bytes)"),
        (TRAIN_IMAGES, lambda raw: raw[:-1], "is truncated (its body has 2351 of 2352 bytes)"),
        (TRAIN_IMAGES, lambda raw: raw + b"\0", "is too long (its header promises a body of 2352"),
        (TRAIN_IMAGES, lambda raw: flipped(raw, 3), "magic number 0x00000802, not 0x00000803"),
        (TRAIN_LABELS, lambda raw: flipped(raw, 2), "magic number 0x00000901, not 0x00000801"),
        (
            TRAIN_LABELS,
            lambda raw: to_idx(np.zeros(4, np.uint8)),
            "holds 4 labels for the 3 images",
        ),
        (
            TRAIN_IMAGES,
            lambda raw: struct.pack(">4I", 0x803, *[2**32 - 1] * 3),
            "promises 79228162458924105385300197375 bytes",
        ),
    ],
)
@pytest.mark.parametrize("packed", [False, True], ids=["raw", "gz"])
def test_a_damaged_file_is_refused_by_its_name_and_what_is_wrong(
    small: Path, name: str, damage: Callable[[bytes], bytes], said: str, packed: bool
) -> None:
    content = damage((small / name).read_bytes())
    (small / name).unlink()
    file = small / (f"{name}.gz" if packed else name)
    file.write_bytes(gzip.compress(content) if packed else content)
    message = refusal(small)
    assert message.startswith(f"{file} ")
    assert said in message


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda packed: packed[: len(packed) // 2], "ended before the end-of-stream marker"),
        (lambda packed: flipped(packed, -8), "CRC check failed"),
        (lambda packed: packed[:-4] + b"\xff" * 4, "Incorrect length of data"),
        (lambda packed: packed[:10] + b"\xff" * 40, "Error -3 while decompressing"),
        (lambda packed: b"<html>not found</html>", "Not a gzipped file"),
    ],
)
def test_a_corrupt_gzip_stream_is_refused_by_name_and_cause(
    small: Path, damage: Callable[[bytes], bytes], said: str
) -> None:
    file = small / f"{TRAIN_IMAGES}.gz"
    file.write_bytes(damage(gzip.compress((small / TRAIN_IMAGES).read_bytes())))
    message = refusal(small)
    assert message.startswith(f"{file} can't be read (")
    assert said in message


def test_a_gzip_bomb_is_refused_without_unpacking_it(small: Path) -> None:
    bomb = struct.pack(">2I", 0x801, 3) + bytes(50_000_000)
    (small / f"{TRAIN_LABELS}.gz").write_bytes(gzip.compress(bomb))
    tracemalloc.start()
    message = refusal(small)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert f"{TRAIN_LABELS}.gz is too long (its header promises a body of 3 bytes)" in message
    assert peak_bytes < 2_000_000


def test_one_wrong_label_among_ten_thousand_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    for name, content in idx_files(dataset.train, dataset.test).items():
        damaged = flipped(content, -1) if name == TEST_LABELS else content
        (tmp_path / name).write_bytes(damaged)
    message = refusal(tmp_path)
    assert message.startswith(f"{tmp_path / TEST_LABELS} is not Fashion-MNIST's (MD5")
    assert "not 15d484375f8d13e6eb1aabb0c3f46965)" in message


@pytest.mark.parametrize("name", FILES)
def test_a_folder_with_a_single_file_of_fashion_mnist_is_refused_as_a_damaged_one(
    dataset: Dataset, tmp_path: Path, name: str
) -> None:
    whole = idx_files(dataset.train, dataset.test)
    for other, content in whole.items():
        kept = other == name
        (tmp_path / other).write_bytes(content if kept else flipped(content, -1))
    first = FILES[1] if name == FILES[0] else FILES[0]
    assert refusal(tmp_path).startswith(f"{tmp_path / first} is not Fashion-MNIST's (MD5")


def test_what_is_found_without_a_path_must_be_fashion_mnist(elsewhere: Path, small: Path) -> None:
    project = linked(elsewhere / "data/fashion-mnist", small)
    with pytest.raises(InputError) as caught:
        load("fashion_mnist", None, None, None)
    message = str(caught.value)
    assert message.startswith(f"{project / TRAIN_IMAGES} is not Fashion-MNIST's (MD5")
    assert message.endswith(
        f"run {MAKE_DATA}, or name a folder with the four IDX files: {SET_PATH}"
    )


def test_a_folder_in_the_place_of_a_file_is_refused(small: Path) -> None:
    (small / TRAIN_IMAGES).unlink()
    (small / TRAIN_IMAGES).mkdir()
    assert refusal(small).startswith(f"{small / TRAIN_IMAGES} can't be read (")


parts = st.integers(0, 5).flatmap(
    lambda n: st.builds(
        Part,
        images=hnp.arrays(
            np.uint8, st.tuples(st.just(n), st.integers(1, 6), st.integers(1, 6), st.integers(1, 3))
        ),
        labels=hnp.arrays(np.uint8, n),
    )
)


def assert_same(one: Part, other: Part) -> None:
    np.testing.assert_array_equal(one.images, other.images, strict=True)
    np.testing.assert_array_equal(one.labels, other.labels, strict=True)


def test_normalised_pixels_are_float32_from_zero_to_one() -> None:
    pixels = normalised(np.arange(256, dtype=np.uint8).reshape(2, 128))
    assert pixels.dtype == np.float32
    assert pixels.shape == (2, 128)
    assert (pixels.min(), pixels.max()) == (0.0, 1.0)
    np.testing.assert_array_equal(pixels[0, 51], np.float32(0.2))


@given(parts)
def test_a_part_survives_the_round_trip_through_a_table(part: Part) -> None:
    assert_same(from_table(to_table(part)), part)


@given(parts, st.data())
def test_a_sliced_and_chunked_table_gives_the_same_rows(part: Part, data: st.DataObject) -> None:
    rows = len(part.labels)
    start = data.draw(st.integers(0, rows))
    table = to_table(part)
    rejoined = pa.concat_tables([table.slice(start), table.slice(0, start)])
    order = np.roll(np.arange(rows), -start)
    assert_same(from_table(rejoined), Part(part.images[order], part.labels[order]))


def test_real_images_survive_a_parquet_file(dataset: Dataset, tmp_path: Path) -> None:
    part = Part(dataset.test.images[:50], dataset.test.labels[:50])
    table = to_table(part)
    assert table.column_names == ["pixels", "label"]
    assert table.schema.types == [pa.binary(784), pa.uint8()]
    assert table.num_rows == 50
    pq.write_table(table, tmp_path / "test.parquet", row_group_size=20)
    assert_same(from_table(pq.read_table(tmp_path / "test.parquet")), part)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda table: table.replace_schema_metadata(None),
        lambda table: table.replace_schema_metadata({"image_shape": "[28, 27, 1]"}),
        lambda table: table.drop_columns(["label"]),
        lambda table: table.set_column(1, "label", pa.array([1, 2], pa.int64())),
        lambda table: table.set_column(1, "label", pa.array([1, None], pa.uint8())),
    ],
)
def test_a_table_of_another_make_is_refused(spoil: Callable[[pa.Table], pa.Table]) -> None:
    table = to_table(Part(np.zeros((2, 28, 28, 1), np.uint8), np.zeros(2, np.uint8)))
    with pytest.raises(InputError, match="make it with to_table"):
        from_table(spoil(table))
