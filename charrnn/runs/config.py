"""config.json: the options of a run, which of them the user chose, and its data."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.datasets.dataset import Data
from charrnn.options import ResolvedOptions, TrainingOptions
from charrnn_runtime.core.files import (
    json_bytes,
    read_json,
)
from charrnn_runtime.errors import InputError, ModelFileError

CONFIG = "config.json"


@dataclass(frozen=True)
class RunConfig:
    """The configuration of a run; runs with equal options on equal data are the same run."""

    options: ResolvedOptions
    """All options."""

    requested: TrainingOptions
    """The options that the user chose; None where the recipe chose."""

    data: Data
    """Where the data came from."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of config.json."""
        default = TrainingOptions().to_json()
        set_by_user = {name: value for name, value in self.requested.to_json().items() if value != default[name]}
        return {"options": self.options.to_json(), "set_by_user": set_by_user, "data": self.data.to_json()}

    @property
    def digest(self) -> str:
        """SHA-256 of the options and the data, hexadecimal; names of files do not count."""
        held_out = {split: file["sha256"] for split, file in self.data.held_out.items()}
        value = {"options": self.options.to_json(), "data": self.data.sha256, "held_out": held_out}
        return hashlib.sha256(json_bytes(value)).hexdigest()

    @classmethod
    def from_json(cls, value: Mapping[str, Any], name: str) -> "RunConfig":
        """Parse the content of config.json; errors call it `name`.

        Raises:
            ModelFileError: The content is damaged.
        """
        try:
            options = ResolvedOptions.from_json(value["options"])
            return cls(options, TrainingOptions.from_json(value["set_by_user"]), Data(**value["data"]))
        except (KeyError, TypeError, AttributeError, InputError) as error:
            raise ModelFileError(f"{name} is damaged: expected the options and data of a run ({error})") from error


def read_config(path: Path) -> RunConfig:
    """Read the configuration of a run directory.

    Raises:
        ModelFileError: config.json is missing or damaged.
    """
    return RunConfig.from_json(read_json(path / CONFIG), str(path / CONFIG))
