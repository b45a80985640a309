"""A regression of statsmodels, from its coefficients."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from serving_engine import PythonModel


class Model(PythonModel):
    """Ordinary least squares, with both ends of the interval of each prediction."""

    outputs = ("mean", "lower", "upper")

    def load(self, directory: Path) -> None:
        with np.load(directory / "ols.npz", allow_pickle=False) as saved:
            self.coefficients = saved["params"]
            self.covariance = saved["covariance"]
            self.quantile = float(saved["quantile"])

    def predict(self, rows: Any) -> dict[str, Any]:
        design = np.column_stack([np.ones(len(rows)), rows])
        mean = design @ self.coefficients
        spread = self.quantile * np.sqrt(np.einsum("ij,jk,ik->i", design, self.covariance, design))
        return {"values": np.column_stack([mean, mean - spread, mean + spread])}


def train(out: Path) -> None:
    import pandas as pd
    import statsmodels.api as sm
    from scipy import stats

    random = np.random.default_rng(0)
    rows = pd.DataFrame(random.normal(size=(200, 2)), columns=["a", "b"])
    target = 3 + 2 * rows["a"] - rows["b"] + random.normal(size=200)
    result = sm.OLS(target, sm.add_constant(rows)).fit()
    quantile = stats.t.ppf(0.975, result.df_resid)
    np.savez(
        out / "ols.npz", params=result.params, covariance=result.cov_params(), quantile=quantile
    )
    rows[:40].to_csv(out / "rows.csv", index=False)
    asked = pd.read_csv(out / "rows.csv")[:10]
    frame = result.get_prediction(sm.add_constant(asked)).summary_frame(alpha=0.05)
    expected = frame[["mean", "mean_ci_lower", "mean_ci_upper"]].to_numpy().tolist()
    (out / "expected.json").write_text(json.dumps([asked.to_dict("records"), expected]))


FILES = ["ols.npz"]

if __name__ == "__main__":
    train(Path(sys.argv[1]))
