"""The estimators among scikit-learn's tools: pipelines, searches, frames, pools of workers."""

import os
import subprocess
import sys

import pytest
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fonio import kernels
from fonio.kernels import team
from tests.test_estimators import X, Y, classifier

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_pipelines_and_searches(backend):
    import joblib

    steps = make_pipeline(StandardScaler(), classifier(max_iter=20))
    grid = {"mlpclassifier__alpha": [1e-4, 1.0], "mlpclassifier__dropout": [0.0, 0.2]}
    with joblib.parallel_backend(backend, n_jobs=2):
        search = GridSearchCV(steps, grid, cv=2).fit(X, Y)
        assert (cross_val_score(steps, X, Y, cv=2) > 0.7).all()
    assert search.best_score_ > 0.8


def test_pandas_in_and_out():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcde"))
    scaled = make_pipeline(StandardScaler().set_output(transform="pandas"), classifier())
    assert scaled.fit(frame, pandas.Series(Y)).score(frame, Y) > 0.9
    assert list(scaled[-1].feature_names_in_) == list("abcde")
    with pytest.raises(ValueError, match="feature names"):
        scaled[-1].predict(frame.rename(columns={"a": "z"}))


def test_workers_of_a_pool_take_one_core_each(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert team._usable_cores() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "not a number")
    assert team._usable_cores() == team._cores()
    before = kernels.get_num_threads()
    kernels.set_num_threads(3)
    with team.at_most_threads(2):
        assert kernels.get_num_threads() == 2
        with team.at_most_threads(1):
            assert kernels.get_num_threads() == 1
        assert kernels.get_num_threads() == 2
    assert kernels.get_num_threads() == 3
    kernels.set_num_threads(before)


def test_without_scikit_learn_the_extra_is_named(tmp_path):
    (tmp_path / "sklearn.py").write_text("raise ModuleNotFoundError('no', name='sklearn')")
    code = "from fonio import nn; nn.Linear; nn.MLPClassifier"
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert "ImportError: MLPClassifier and MLPRegressor need scikit-learn" in done.stderr
    assert "fonio[sklearn]" in done.stderr
