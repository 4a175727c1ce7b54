"""Run the command as a user would, and write down what its process did.

python audited.py REPORT ARGUMENT...
"""

import json
import sys
from pathlib import Path
from typing import Any

report = {"imported_tensorflow": False, "listened": 0}


def audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "import" and arguments[0] == "tensorflow":
        report["imported_tensorflow"] = True
    if event == "socket.bind":  # a Dask cluster's scheduler and nannies do
        report["listened"] += 1


if __name__ == "__main__":
    sys.addaudithook(audit)
    from flows.cli import app

    try:
        app(sys.argv[2:])
    finally:
        Path(sys.argv[1]).write_text(json.dumps(report))
