"""Models that Keras saved: their architecture, read without TensorFlow."""

import json
import zipfile
import zlib
from pathlib import Path

from cyclical.errors import InputError, one_line
from cyclical.manifests import Artifact
from cyclical.store import Store

CONFIG = "config.json"
MOST_BYTES = 1 << 26


def architecture(path: Path) -> str:
    """Return the architecture in a .keras file, which is a zip archive, as JSON text.

    Raises:
        InputError: There is no such file, or it is none of Keras's.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(CONFIG).file_size > MOST_BYTES:
                raise ValueError(f"{CONFIG} is too long")
            text = archive.read(CONFIG).decode()
        json.loads(text)
    except FileNotFoundError:
        raise InputError(f"model {path} is not there: name a file that model.save wrote") from None
    except (OSError, KeyError, ValueError, RecursionError, zipfile.BadZipFile, zlib.error) as error:
        told = f"is no file that Keras saved ({one_line(error)})"
        raise InputError(f"model {path} {told}: name one that model.save wrote") from error
    return text


def kept_in(store: Store, artifact: Artifact | None) -> str:
    """Read the JSON text of an architecture that a run keeps; empty where there is none."""
    if artifact is None:
        return ""
    return str(store.frame(artifact, "architecture.parquet")["config"].iloc[0])
