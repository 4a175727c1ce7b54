"""Stores that lie elsewhere: artifacts, records and checkpoints on a real S3 server."""

import asyncio
import http.server
import os
import pickle
import shutil
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import cloudpickle
import fsspec
import pandas as pd
import pytest
import s3fs
from prefect.results import ResultStore
from prefect.settings import PREFECT_API_URL, temporary_settings

from cyclical import upkeep
from cyclical.buckets import Bucket, checked
from cyclical.errors import InputError
from cyclical.manifests import Artifact, DamagedError
from cyclical.settings import resolve
from cyclical.store import Slot, Store
from tasks.caching import bound
from tasks.records import Records, recorded, serializer, storage
from tasks.training import train
from tests import buckets, running

ADDRESS = "s3://bucket/prefix"
TABLE = pd.DataFrame({"rate": [0.1, 0.01], "loss": [0.5, float("nan")]})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with (
        buckets.serving(tmp_path_factory.mktemp("s3")) as environment,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in environment.items():
            patch.setenv(name, value)
        yield environment


@pytest.fixture
def there(server: dict[str, str]) -> s3fs.S3FileSystem:
    """All that lies on the server: an empty bucket."""
    files = buckets.files(server)
    if files.find("bucket"):
        files.rm("bucket/", recursive=True)
        files.mkdir("bucket")
    return files


@pytest.fixture
def machines(
    there: s3fs.S3FileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Store, Store]:
    """One store, as two machines have it."""
    stores = []
    for name in ("one", "other"):
        monkeypatch.setenv("CYCLICAL_CACHE", str(tmp_path / name))
        stores.append(Store.at(ADDRESS))
        stores[-1].ensure_writable()
    return stores[0], stores[1]


def slot_in(store: Store, **recipe: object) -> Slot:
    return Slot(store=store, step="lr_sweep", label="lr=0.1-seed=0", recipe=recipe)


def written(store: Store) -> Artifact:
    return store.write(
        slot_in(store), {"table.parquet": TABLE}, {"x.png": b"png"}, duration_seconds=1
    )


def test_what_one_machine_writes_another_one_finds(machines: tuple[Store, Store]) -> None:
    one, other = machines
    assert one.root != other.root
    assert other.find(slot_in(other)) is None
    artifact = written(one)
    assert other.find(slot_in(other)) == artifact
    pd.testing.assert_frame_equal(other.frame(artifact, "table.parquet"), TABLE)
    assert [picture.read_bytes() for picture in other.pictures(artifact)] == [b"png"]
    assert other.manifest(artifact.path) == one.manifest(artifact.path)
    [(earlier, _)] = other.earlier("lr_sweep", "lr=0.1-seed=0")
    assert earlier == artifact
    assert other.earlier("lr_sweep", "lr=0.1") == []


def test_a_reader_that_never_looked_for_an_artifact_reads_it(
    machines: tuple[Store, Store],
) -> None:
    one, other = machines
    artifact = written(one)
    pd.testing.assert_frame_equal(other.frame(artifact, "table.parquet"), TABLE)
    other.check(artifact)


def test_what_is_damaged_here_is_fetched_again(machines: tuple[Store, Store]) -> None:
    one, _ = machines
    artifact = written(one)
    file = one.root / artifact.path / "table.parquet"
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    one.check(artifact)
    assert file.read_bytes() == content


def test_what_is_damaged_there_is_no_result(
    machines: tuple[Store, Store], there: s3fs.S3FileSystem, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = machines
    artifact = written(one)
    there.pipe_file(f"bucket/prefix/{artifact.path}/table.parquet", b"damaged")
    assert other.find(slot_in(other)) is None
    assert "table.parquet differs from its manifest: it is computed again" in caplog.text
    for machine in machines:  # whatever is whole here
        [finding] = upkeep.verify(machine)
        assert finding.path == artifact.path
    upkeep.discard(other, [finding])
    with pytest.raises(InputError, match="holds no results"):
        upkeep.verify(other)


def test_without_its_manifest_it_is_no_result_and_what_is_whole_here_is_put_there_again(
    machines: tuple[Store, Store], there: s3fs.S3FileSystem
) -> None:
    one, other = machines
    artifact = written(one)
    for gone in ("manifest.json", "table.parquet"):
        there.rm_file(f"bucket/prefix/{artifact.path}/{gone}")
        assert other.find(slot_in(other)) is None
        assert one.find(slot_in(one)) == artifact
        assert other.find(slot_in(other)) is None  # who only looks mends nothing
        assert one.find(slot_in(one), mend=True) == artifact
        assert other.find(slot_in(other)) == artifact
        shutil.rmtree(other.root / artifact.path)


def test_a_result_that_was_computed_again_elsewhere_is_the_one_that_counts(
    machines: tuple[Store, Store],
) -> None:
    one, other = machines
    artifact = written(one)
    assert other.find(slot_in(other)) == artifact
    again = one.write(slot_in(one), {"table.parquet": TABLE * 2}, duration_seconds=1)
    assert other.manifest_of(again) == one.manifest_of(again)
    pd.testing.assert_frame_equal(other.frame(again, "table.parquet"), TABLE * 2)
    for read in (other.check, other.pictures, other.manifest_of):
        with pytest.raises(DamagedError, match="was computed again with another content"):
            read(artifact)
    assert other.find(slot_in(other)) == again


def test_a_server_that_does_not_answer_damages_nothing(
    machines: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = machines
    written(one)
    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(OSError, match=r"the store fails \("):
        upkeep.verify(Store.at(ADDRESS))
    s3fs.S3FileSystem.clear_instance_cache()


def test_what_travels_with_a_task_has_no_secret(
    machines: tuple[Store, Store], prefect_server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(fsspec.config.conf, "s3", {"key": "tests", "secret": buckets.SECRET})
    with temporary_settings({PREFECT_API_URL: os.environ["PREFECT_API_URL"]}):
        task = bound(train, slot_in(machines[0]))
    assert isinstance(task.result_storage, Records)
    task.result_storage.write_path("record", b"content")
    assert task.result_storage.read_path("record") == b"content"
    assert buckets.SECRET.encode() not in cloudpickle.dumps(task)


def test_a_copy_that_was_damaged_since_is_not_read(machines: tuple[Store, Store]) -> None:
    one, other = machines
    artifact = written(one)
    assert other.find(slot_in(other)) == artifact
    copy = other.root / artifact.path / "table.parquet"
    content = copy.read_bytes()
    copy.write_bytes(content.replace(b"PAR1", b"PAR2"))
    pd.testing.assert_frame_equal(other.frame(artifact, "table.parquet"), TABLE)
    copy.unlink()
    pd.testing.assert_frame_equal(other.frame(artifact, "table.parquet"), TABLE)
    assert copy.read_bytes() == content


def test_prefect_itself_finds_its_records_there(
    machines: tuple[Store, Store], prefect_server: None
) -> None:
    one, other = machines
    artifact = written(one)
    with temporary_settings({PREFECT_API_URL: os.environ["PREFECT_API_URL"]}):
        assert recorded(slot_in(one))
        kept = ResultStore(result_storage=storage(other), serializer=serializer(other))
    assert kept.exists(slot_in(one).key)
    assert kept.read(slot_in(one).key).result == artifact
    assert asyncio.run(kept.aread(slot_in(one).key)).result == artifact
    shutil.rmtree(one.root)
    one.remove(f"{artifact.path}/manifest.json")
    assert not recorded(slot_in(one))
    assert not kept.exists(slot_in(one).key)


def test_files_of_the_store_itself_are_there_too(machines: tuple[Store, Store]) -> None:
    one, other = machines
    assert other.get("latest.json") is None
    one.put("latest.json", b"{}")
    assert other.get("latest.json") == b"{}"
    copy = other.copy_of("latest.json")
    assert copy == other.root / "latest.json"
    assert copy.read_bytes() == b"{}"
    assert other.copy_of("none") is None
    slot_in(one).checkpoint.write(b"state")
    assert slot_in(other).checkpoint.read() == b"state"
    slot_in(other).checkpoint.remove()
    slot_in(other).checkpoint.remove()
    assert slot_in(one).checkpoint.read() is None
    other.remove("latest.json")
    assert one.get("latest.json") is None


def test_a_process_on_another_machine_keeps_its_copies_in_its_own_folder_and_gets_no_secret(
    machines: tuple[Store, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = machines
    slot = slot_in(one)
    written(one)  # a connection is open
    sent = pickle.dumps((slot, slot.checkpoint))
    assert buckets.SECRET.encode() not in sent
    monkeypatch.setenv("CYCLICAL_CACHE", str(tmp_path / "third"))
    arrived, checkpoint = pickle.loads(sent)
    assert arrived.store.root.parent == tmp_path / "third"
    assert arrived.key == slot.key
    assert checkpoint.read() is None
    assert arrived.store.find(arrived) is not None


def test_listing_asks_once_for_all(machines: tuple[Store, Store]) -> None:
    one, other = machines
    for number in range(3):
        one.write(slot_in(one, number=number), {"table.parquet": TABLE}, duration_seconds=1)
    assert len(upkeep.results_in(other)) == 3
    assert upkeep.verify(other) == []
    assert len(other.earlier("lr_sweep", "*-seed=*")) == 3
    assert not list(other.root.rglob("*.parquet"))  # a look costs no table


def test_verify_finds_damaged_records_and_states_there_too(machines: tuple[Store, Store]) -> None:
    one, _ = machines
    written(one)
    slot_in(one).checkpoint.write(b"half a state")
    one.blob(".records/none").write(b"half a record")
    found = upkeep.verify(one)
    assert [finding.path for finding in found] == [
        f".checkpoints/{slot_in(one).key}",
        ".records/none",
    ]
    assert f"{ADDRESS}/.records/none can't be read" in found[1].what
    upkeep.discard(one, found)
    assert upkeep.verify(one) == []


def test_gc_clears_no_store_that_others_use(machines: tuple[Store, Store]) -> None:
    one, _ = machines
    artifact = written(one)
    for clear in (upkeep.unreferenced, upkeep.collect):
        with pytest.raises(InputError, match=f"nobody here knows .* of {ADDRESS}: let it expire"):
            clear(one)
    upkeep.collect(Store(root=one.root))  # the copies here
    assert not (one.root / artifact.path).exists()
    assert one.find(slot_in(one)) == artifact


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("s3://name:password@bucket/prefix", "has a name or a password in it"),
        ("s3://name:pass/password@bucket/prefix", "has a name or a password in it"),
        ("s3://name:pass?password@bucket/prefix", "has a name or a password in it"),
        ("s3://", "is no address for results: name one such as s3://bucket/prefix"),
        ("s3:///prefix", "is no address"),
        ("s3://bucket/a b", "is no address"),
        ("s3://bucket/x?versionId=1", "is no address"),
        ("file:///tmp/x", "of s3, gs or abfs"),
    ],
)
def test_an_address_that_is_none_is_refused_without_telling_its_password(
    address: str, told: str
) -> None:
    for refused in (lambda: checked(address), lambda: resolve("quick", {"artifacts": address})):
        with pytest.raises(InputError, match=told) as caught:
            refused()
        assert "password@" not in str(caught.value)


def test_what_is_wrong_with_a_store_elsewhere_is_told_in_a_line(
    server: dict[str, str], tmp_path: Path
) -> None:
    def told(address: str, **environment: str) -> tuple[int, str]:
        ran = running.command(
            "run",
            "--artifacts",
            address,
            report=tmp_path / "audit",
            CYCLICAL_CACHE=str(tmp_path / "cache"),
            **server | environment,
        )
        assert ran.error.count("\n") == 1, ran.error
        return ran.status, ran.error

    status, line = told("s3://nowhere/prefix")
    assert status == 2
    assert line.startswith("cyclical: s3://nowhere/prefix/.writable can't be used (")
    status, line = told(ADDRESS, AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert status == 1
    assert "the store fails (EndpointConnectionError: " in line
    assert ADDRESS in line


class Failing(http.server.BaseHTTPRequestHandler):
    """Answers 503 so many times, then passes on to the real server."""

    failures, answered = 0, 0
    real = ""

    def _answer(self) -> None:
        type(self).answered += 1
        if self.answered <= self.failures:
            self.send_error(503, "Slow Down")
            return
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        asked = urllib.request.Request(
            self.real + self.path, content or None, dict(self.headers), method=self.command
        )
        with urllib.request.urlopen(asked) as answer:
            body = answer.read()
            self.send_response(answer.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = _answer  # noqa: N815 (as the library names them)

    def log_message(self, *_: object) -> None: ...


@pytest.mark.parametrize(("failures", "mended"), [(2, True), (1000, False)])
def test_a_server_that_fails_is_asked_again_but_not_for_ever(
    failures: int,
    mended: bool,
    there: s3fs.S3FileSystem,
    server: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there.pipe_file("bucket/file", b"content")
    monkeypatch.setattr(Failing, "failures", failures)
    monkeypatch.setattr(Failing, "answered", 0)
    monkeypatch.setattr(Failing, "real", server["AWS_ENDPOINT_URL"])
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Failing) as between:
        thread = threading.Thread(target=between.serve_forever)
        thread.start()
        try:
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{between.server_port}")
            s3fs.S3FileSystem.clear_instance_cache()
            bucket = Bucket("s3://bucket")
            if mended:
                assert bucket.get("file") == b"content"
                assert Failing.answered > failures
            else:
                with pytest.raises(OSError, match=r"the store fails \(") as caught:
                    bucket.get("file")
                assert caught.value.filename == "s3://bucket/file"
                assert Failing.answered < 30
        finally:
            s3fs.S3FileSystem.clear_instance_cache()
            between.shutdown()
            thread.join()
