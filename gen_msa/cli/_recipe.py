"""What the two commands that train by a recipe are asked alike. Knows nothing of training."""

from typing import Annotated

import typer

SettingsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Settings on top of the recipe, e.g. data.0.source=posts.jsonl.",
        show_default=False,
    ),
]
Resume = Annotated[
    bool | None,
    typer.Option(
        "--resume/--fresh",
        help="Go on from the last whole checkpoint, or begin anew. Default: as the recipe says.",
        show_default=False,
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Plan, print, try the longest batch; write nothing.")
]
