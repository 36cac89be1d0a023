"""A minimal FastAPI app as a baseline: one route selects a row, another runs a module.

python -m benchmarks.bare <database url> <port>
"""

import sys
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sqlalchemy import create_engine, text
from torch import nn


class Rows(BaseModel):
    """Inputs to predict for."""

    inputs: list[list[float]]


def create_app(database_url: str) -> FastAPI:
    """Create the app with its two routes."""
    app = FastAPI()
    engine = create_engine(database_url)
    model = nn.Sequential(nn.Linear(1, 13), nn.Tanh(), nn.Linear(13, 1)).eval()

    @app.get("/rows/{job_id}")
    def select_row(job_id: str) -> dict[str, Any]:
        with engine.connect() as connection:
            row = connection.execute(text("SELECT * FROM jobs WHERE id = :id"), {"id": job_id}).one()
        return dict(row._mapping)

    @app.post("/predictions")
    def predict(rows: Rows) -> dict[str, Any]:
        with torch.inference_mode():
            return {"outputs": model(torch.tensor(rows.inputs)).tolist()}

    return app


if __name__ == "__main__":
    torch.set_num_threads(1)
    uvicorn.run(create_app(sys.argv[1]), port=int(sys.argv[2]), log_level="error", access_log=False)
