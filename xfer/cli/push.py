"""`xfer push`."""

from __future__ import annotations

from typing import Annotated

import typer

from xfer.cli.guard import guarded, print_json, quiet_stdout
from xfer.cli.options import Json


@guarded
def push(
    run: Annotated[str, typer.Argument(help="folder of a run")],
    repo: Annotated[str, typer.Argument(help="owner/name on the Hugging Face Hub; made if it is not there")],
    license: Annotated[str | None, typer.Option(help="identifier of the hub, such as apache-2.0 or other")] = None,
    private: Annotated[
        bool | None, typer.Option(help="of a new repository; default: as its owner has set it on the hub")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="branch, made if it is not there; default: main")] = None,
    message: Annotated[str | None, typer.Option(help="of the commit")] = None,
    json: Json = False,
) -> None:
    """Write a run and a model card to the Hugging Face Hub.

    The token is that of `hf auth login` or HF_TOKEN.
    """
    from xfer.report.push import push as upload

    with quiet_stdout():
        address = upload(run, repo, license=license, private=private, revision=revision, message=message)
    if json:
        print_json({"address": address})
        return
    print(f"pushed: {address}")
