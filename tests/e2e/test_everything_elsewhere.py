"""All at once elsewhere: results in S3, trainings on a Dask cluster, the server on PostgreSQL."""

import hashlib
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
import s3fs

from tests import buckets, running
from tests.e2e.team import GIVEN, Team
from tests.running import ROOT
from tests.test_remote import SECONDS, Cluster
from tests.waiting import until

ADDRESS = "s3://bucket/team"
OPTIONS = ("--until-step", "lr_bounds")


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[dict[str, str]]:
    folder = tmp_path / "s3"
    folder.mkdir()
    with buckets.serving(folder) as environment:
        yield environment


def tables(files: s3fs.S3FileSystem) -> dict[str, str]:
    """Return the SHA-256 of every Parquet file of the store, as `running.hashes` does."""
    root = f"{ADDRESS.removeprefix('s3://')}/"
    return {
        path.removeprefix(root): hashlib.sha256(files.cat_file(path)).hexdigest()
        for path in files.find(root)
        if path.endswith(".parquet")
    }


def test_results_are_those_of_one_machine_though_a_worker_dies_and_another_checkout_has_them_all(
    s3: dict[str, str], team: Team, fashion_mnist: Path, tmp_path: Path
) -> None:
    def machine(name: str) -> dict[str, str]:
        """Give the environment of another machine: what it keeps, it keeps to itself."""
        home = tmp_path / name
        home.mkdir()
        return {**s3, **team.of_client(), "HOME": str(home), "CYCLICAL_CACHE": str(home / "cache")}

    files = buckets.files(s3)
    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        folder = tmp_path / "cluster"
        folder.mkdir()
        cluster = Cluster(folder, stack)
        victim = cluster.worker(**machine("first"))
        cluster.worker(**machine("second"))
        there = {"cluster__address": cluster.address, "workers": None, "gpus": None}
        asked = running.settings(ADDRESS, **there)  # type: ignore[arg-type]
        ran = pool.submit(
            running.command,
            *("run", *asked, *OPTIONS),
            report=tmp_path / "audit",
            **machine("here"),
        )
        until(
            lambda: files.glob("bucket/team/lr_sweep/lr=*/manifest.json"),
            SECONDS,
            "nothing was trained",
        )
        victim.kill()
        assert ran.result().status == 0, ran.result().error

    alone = running.run(tmp_path / "alone", *OPTIONS)
    assert alone.status == 0, alone.error
    assert tables(files) == running.hashes(tmp_path / "alone")

    checkout = tmp_path / "checkout"
    for name in ("cyclical", "flows", "tasks"):
        shutil.copytree(ROOT / name, checkout / name)
    before = {path: files.info(path)["ETag"] for path in files.find("bucket/team/lr_sweep")}
    again = running.command(
        *("run", *running.settings(ADDRESS), *OPTIONS),  # type: ignore[arg-type]
        report=tmp_path / "audit",
        source=checkout,
        **machine("another"),
    )
    assert again.status == 0, again.error
    assert "training on" not in again.out
    assert {path: files.info(path)["ETag"] for path in files.find("bucket/team/lr_sweep")} == before

    kept = [files.cat_file(path) for path in files.find("bucket")]
    kept += [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    told = "".join((alone.out, again.out, again.error, ran.result().out, ran.result().error))
    for secret in (buckets.SECRET, *GIVEN.values()):
        assert not [content for content in (*kept, told.encode()) if secret.encode() in content]
