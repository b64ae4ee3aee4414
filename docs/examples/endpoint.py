"""Completions and scores over HTTP with FastAPI.

CHARRNN_MODEL=BUNDLE uvicorn --app-dir docs/examples endpoint:app
"""

import os
from typing import Any

from fastapi import FastAPI, HTTPException

from charrnn_runtime import InputError, load

app = FastAPI()
model = load(os.environ["CHARRNN_MODEL"])


@app.get("/complete")
def complete(prefix: str = "", count: int = 5) -> list[dict[str, Any]]:
    """Return the most probable lines that begin with a prefix."""
    try:
        found = model.complete(prefix, min(count, 50), budget=2000)
    except InputError as error:
        raise HTTPException(422, str(error)) from error
    return [{"text": one.text, "probability": one.probability} for one in found]


@app.get("/score")
def score(line: str) -> dict[str, Any]:
    """Return how probable a line is."""
    try:
        [found] = model.score([line])
    except InputError as error:
        raise HTTPException(422, str(error)) from error
    return {"bits_per_character": found.bits_per_character, "percentile": found.percentile}
