"""Columns of fitted transformers: an audit encodes a table as scikit-learn does."""

from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
import yaml
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)

from lipverify.audit import UnsupportedTransformer, export_columns
from lipverify.audit.file import read_audit
from lipverify.audit.table import read_records
from tests.audit.cases import weights, write_network


def frame() -> pandas.DataFrame:
    random = np.random.default_rng(0)
    return pandas.DataFrame(
        {
            "age": random.integers(18, 90, 30),
            "rate": random.normal(size=30).round(3),
            "size": random.choice(["big", "small"], 30),
            "kind": random.choice(["x", "y", "z"], 30),
        }
    )


def test_encodings_are_those_of_the_pipeline(tmp_path: Path) -> None:
    table = frame()
    transformer = ColumnTransformer(
        [
            ("scaled", Pipeline([("one", StandardScaler())]), ["rate"]),
            ("ends", MinMaxScaler(), ["age"]),
            ("codes", OrdinalEncoder(), ["size"]),
            ("groups", OneHotEncoder(sparse_output=False), ["kind"]),
        ]
    )
    expected = transformer.fit_transform(table)
    export_columns(transformer, path=tmp_path / "columns.json")
    table.to_csv(tmp_path / "table.csv", index=False)
    write_network(tmp_path / "net.onnx", weights([6, 4, 1], 0))
    document = {"lipverify": 1, "kind": "audit", "network": "net.onnx", "table": "table.csv"}
    document |= {"columns": "columns.json", "increasing": ["rate"]}
    (tmp_path / "audit.yaml").write_text(yaml.safe_dump(document))
    audit = read_audit(tmp_path / "audit.yaml")
    inputs = read_records(audit).inputs
    scaling = audit.layout.reading.preprocessing
    assert scaling is not None
    scale, offset = torch.tensor(scaling.scale), torch.tensor(scaling.offset)
    encoded = inputs * scale.double() + offset.double()
    assert np.allclose(encoded.numpy(), expected, atol=1e-6)


def test_what_has_no_form_is_refused() -> None:
    table = frame()
    with pytest.raises(UnsupportedTransformer, match="RobustScaler"):
        export_columns(RobustScaler().fit(table[["rate"]]))
    with pytest.raises(UnsupportedTransformer, match="drop"):
        export_columns(OneHotEncoder(drop="first").fit(table[["kind"]]))
    with pytest.raises(UnsupportedTransformer, match="feature_range"):
        export_columns(MinMaxScaler(feature_range=(-1, 1)).fit(table[["rate"]]))
    with pytest.raises(UnsupportedTransformer, match="without column names"):
        export_columns(StandardScaler().fit(table[["rate"]].to_numpy()))
