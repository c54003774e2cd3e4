"""How an adapter wants to be read, from its folder alone: for one whose server holds the weights.

Knows no model and loads none; what needs weights (base, template, probe) is checked where they are.

    trained = as_told("runs/mabsa")
    trained.prompts, trained.reading
"""

import hashlib
from pathlib import Path

from pydantic import BaseModel, JsonValue, ValidationError

from gen_msa import manifest
from gen_msa.errors import UserError
from gen_msa.jsonl import format_validation_error

ADAPTER_SETTINGS_FILE = "reading.json"


class AdapterSettings(BaseModel):
    """The part of `backends.local.adapters.AdapterFacts` that a client can hold to."""

    prompts: dict[str, str]
    inference: dict[str, JsonValue]
    revision: str = ""
    """16 hex digits over the folder's list of hashes."""


def load_adapter_settings(folder: str) -> AdapterSettings:
    """What `reading.json` says, the folder's seal checked. Raises `UserError` without one."""
    path = Path(folder).expanduser()
    try:
        settings = AdapterSettings.model_validate_json((path / ADAPTER_SETTINGS_FILE).read_bytes())
        manifest.verify(path)
        digest = hashlib.sha256((path / manifest.MANIFEST_NAME).read_bytes()).hexdigest()
    except OSError as e:
        raise UserError(
            f"backend.adapter={folder}: {e}", hint="name the folder that training left"
        ) from None
    except ValidationError as e:
        raise UserError(f"{path / ADAPTER_SETTINGS_FILE}: {format_validation_error(e)}") from None
    return settings.model_copy(update={"revision": digest[:16]})
