"""The service that everybody writes first, for mixed columns: typed rows, one DataFrame each."""

import os
from contextlib import asynccontextmanager
from typing import Annotated, Any

import joblib
import pandas as pd
from fastapi import Depends, FastAPI, Request
from pydantic import BaseModel


class Row(BaseModel):
    income: float | None
    balance: float
    height: float
    weight: float
    age: int
    visits: int
    member: bool
    mobile: bool
    plan: str
    city: str


class Question(BaseModel):
    instances: list[Row]


class Answer(BaseModel):
    predictions: list[list[float]]


@asynccontextmanager
async def lifespan(app: FastAPI):
    app.state.model = joblib.load(os.environ["MODEL_PATH"])
    yield


def get_model(request: Request) -> Any:
    return request.app.state.model


app = FastAPI(lifespan=lifespan)


@app.post("/predict")
def predict(question: Question, model: Annotated[Any, Depends(get_model)]) -> Answer:
    rows = pd.DataFrame([row.model_dump() for row in question.instances])
    rows = rows.astype({"income": float})  # a column of one null is of no type
    return Answer(predictions=model.predict_proba(rows).tolist())
