# Copyright (c) CellVTA-MMSeg contributors.
import pytest
from cell_tables import BANDS, INFO
from model_folders import frozen_model, hub, published, tiny_encoder  # noqa: F401

from mmseg_cellvta.exports import GeoParquetWriter


@pytest.fixture
def parquet(tmp_path):
    with GeoParquetWriter(tmp_path / 'slide.parquet', INFO) as writer:
        for band in BANDS:
            writer.write(band)
    return tmp_path / 'slide.parquet'
