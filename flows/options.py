"""The options that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

ARTIFACTS = "artifacts"
File = Annotated[
    Path | None, typer.Argument(metavar="[FILE]", help="An experiment, as init writes it.")
]
Profile = Annotated[
    str | None, typer.Option(help="quick or notebook.", show_default="the file's, or quick")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Change a field; may be repeated."),
]
Seeds = Annotated[int | None, typer.Option(help="Run for the seeds 0 to N - 1.")]
Refresh = Annotated[
    list[str] | None,
    typer.Option(metavar="STEP", help="Compute a step again; may be repeated."),
]
FromStep = Annotated[
    str | None, typer.Option(metavar="STEP", help="This step and what follows from it.")
]
UntilStep = Annotated[str | None, typer.Option(metavar="STEP", help="This step and what it needs.")]
Artifacts = Annotated[
    str | None,
    typer.Option(metavar="FOLDER", help="Folder or s3://... for results: --set artifacts=FOLDER."),
]
Folder = Annotated[
    str, typer.Option(metavar="FOLDER", help="The artifacts folder, or s3://BUCKET/....")
]
PageFile = Annotated[
    Path | None,
    typer.Argument(
        metavar="[FILE]", help="Where it goes; else report.html in the artifacts folder."
    ),
]
