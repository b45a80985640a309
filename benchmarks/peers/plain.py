"""The service that everybody writes first: lifespan, app.state, Depends, a sync handler."""

import os
from contextlib import asynccontextmanager
from typing import Annotated, Any

import joblib
import numpy as np
from fastapi import Depends, FastAPI, Request
from pydantic import BaseModel


class Question(BaseModel):
    instances: list[list[float]]


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
    scores = model.predict_proba(np.asarray(question.instances))
    return Answer(predictions=scores.tolist())
