"""The routes of this service.

A handler takes what was parsed, asks the model, and returns the answer. `RowsDep` is the request's
rows, checked against the model; `ModelDep` is the model behind its queue, so that every route that
asks for it is batched, bounded and has a deadline.
"""

from fastapi import APIRouter
from serving_engine import FastRoute, Predictions

from .dependencies import ModelDep, RowsDep

router = APIRouter(tags=["prediction"], route_class=FastRoute)


@router.post("/predict", response_model=None, summary="Predict rows")
async def predict(rows: RowsDep, model: ModelDep) -> Predictions:
    """One prediction for each row, in order. A row is an object by column name or an array."""
    return await model.predict(rows)
