"""The service that everybody writes first: lifespan, app.state, Depends, a sync handler."""

from contextlib import asynccontextmanager
from typing import Annotated, Any

import numpy as np
from fastapi import Depends, FastAPI, Request
from pydantic import BaseModel
from scoring import load_scorer


class Question(BaseModel):
    instances: list[list[float]]


class Answer(BaseModel):
    predictions: list[list[float]]


@asynccontextmanager
async def lifespan(app: FastAPI):
    app.state.score = load_scorer()
    yield


def get_scorer(request: Request) -> Any:
    return request.app.state.score


app = FastAPI(lifespan=lifespan)


@app.post("/predict")
def predict(question: Question, score: Annotated[Any, Depends(get_scorer)]) -> Answer:
    scores = score(np.asarray(question.instances))
    return Answer(predictions=scores.tolist())
