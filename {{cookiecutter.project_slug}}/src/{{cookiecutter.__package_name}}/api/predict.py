"""`POST /predict`: the service's own protocol. A route of your own looks like this one."""

from fastapi import APIRouter

from ..dependencies import ModelDep, RowsDep
from ..schema.answers import Predictions
from .route import LeanRoute

router = APIRouter(tags=["prediction"], route_class=LeanRoute)


@router.post("/predict", response_model=None, summary="Predict rows")
async def predict(rows: RowsDep, model: ModelDep) -> Predictions:
    """One prediction for each row, in order. A row is an object by column name or an array."""
    return await model.predict(rows)
