"""What is answered, as JSON and in the OpenAPI description."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

Part = Literal["image", "text", "numbers"]

_NUMBERS = {"type": "object", "additionalProperties": {"type": ["number", "null"]}}
REQUEST_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "image": {"type": "string", "format": "binary", "description": "A picture's file."},
                        "caption": {"type": "string"},
                        "numbers": {"type": "string", "description": "A JSON object: column to number."},
                    },
                }
            },
            "application/json": {
                "schema": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {
                            "image": {"type": ["string", "null"], "contentEncoding": "base64"},
                            "caption": {"type": ["string", "null"]},
                            "numbers": _NUMBERS,
                        },
                    },
                }
            },
        },
    }
}
"""Read by hand, so that its size is known before it is parsed; OpenAPI has to be told."""


class RowAnswer(BaseModel):
    """What the run says about one row."""

    labels: list[str] = Field(description="Chosen, by the run's thresholds.")
    probabilities: dict[str, float] = Field(description="Of every label.")
    problems: dict[Part, str] = Field(description="Why an input can't be used; the rest was.")
    ignored: list[Part] = Field(description="Inputs that were given and that the run does not read.")
    without_input: bool = Field(description="True: nothing that the run reads was there; a constant is answered.")


class PredictAnswer(BaseModel):
    """Of ``POST /predict``."""

    run: str
    rows: list[RowAnswer] = Field(description="In the order of the request.")


class LabelAnswer(BaseModel):
    """A label."""

    name: str
    threshold: float = Field(description="It is chosen where its probability is at least this.")


class LimitsAnswer(BaseModel):
    """What a request may ask for."""

    body_bytes: int
    pixels: int
    caption_characters: int
    rows: int


class LabelsAnswer(BaseModel):
    """Of ``GET /labels``."""

    run: str
    labels: list[LabelAnswer]
    empty_rows: str = Field(description="What a row gets that has no label at its threshold.")
    reads: list[str] = Field(description="What the run looks at.")
    number_columns: list[str]
    limits: LimitsAnswer


class HealthAnswer(BaseModel):
    """Of ``GET /health``."""

    status: Literal["ok"] = "ok"
