"""MLflow's scoring server: the model saved as MLflow's own, and asked for its probabilities."""

import argparse
import os
import shutil
from pathlib import Path

import joblib
import mlflow.pyfunc
import mlflow.sklearn
import uvicorn
from mlflow.pyfunc.scoring_server import init

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    folder = given.folder / "mlflow"
    shutil.rmtree(folder, ignore_errors=True)
    mlflow.sklearn.save_model(
        joblib.load(os.environ["MODEL_PATH"]),
        folder,
        serialization_format="cloudpickle",
        pyfunc_predict_fn="predict_proba",
    )
    uvicorn.run(init(mlflow.pyfunc.load_model(str(folder))), port=given.port, access_log=False)
