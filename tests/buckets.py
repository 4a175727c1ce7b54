"""A real S3 server on the loopback interface, moto's, for tests of stores elsewhere."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import s3fs

from flows.server import free_port
from tests.waiting import until

SECRET = "secret-of-the-tests-7d1f"
SECONDS = 180


@contextmanager
def serving(folder: Path) -> Iterator[dict[str, str]]:
    """Start it with a bucket named `bucket`; give the environment in which it is found."""
    url = f"http://127.0.0.1:{free_port()}"
    environment = {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", url.rpartition(":")[2]]
    with (folder / "moto.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | environment)
    try:
        _await(url, server)
        files(environment).mkdir("bucket")
        yield environment
    finally:
        server.kill()
        server.wait()


def files(environment: dict[str, str]) -> s3fs.S3FileSystem:
    """Return the whole of it as files, by a library that none of our own settings reach."""
    return s3fs.S3FileSystem(
        key=environment["AWS_ACCESS_KEY_ID"],
        secret=environment["AWS_SECRET_ACCESS_KEY"],
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        use_listings_cache=False,
        skip_instance_cache=True,
    )


def _await(url: str, server: "subprocess.Popen[bytes]") -> None:
    def answers() -> bool:
        assert server.poll() is None, "moto's server ended"
        try:
            client.get(url)
        except httpx.TransportError:
            return False
        return True

    with httpx.Client(trust_env=False, timeout=60) as client:
        until(answers, SECONDS, "moto's server did not start")
