# Copyright (c) CellVTA-MMSeg contributors.
"""Runs of a folder, and what they leave."""
import cv2
from rule_segmentor import draw_slide

from mmseg_cellvta.inference import FolderRun


def write_picture(path, height=300, width=200, seed=0):
    cv2.imwrite(str(path), draw_slide(height, width, seed=seed)[0][..., ::-1])
    return path


def run(inferencer, out_dir, sources, **options):
    options = {**dict(mpp=0.5, quiet=True), **options}
    return list(FolderRun(inferencer, out_dir, **options)(sources))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}
