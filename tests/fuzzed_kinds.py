# Copyright (c) CellVTA-MMSeg contributors.
"""The kinds of files that are read: how small ones are written, and what reads them.

A reader of this module gets a path, returns nothing, and asserts that what was read is
plausible.
"""
import json
import runpy
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cell_tables
import numpy as np
import own_data
import timm
import torch
from conic_files import write_conic
from PIL import Image
from rich.progress import Progress
from run_tool import TOOLS
from safetensors.torch import save_file
from slide_files import color_field, write_slide

from mmseg_cellvta.conversion.class_list import parse_classes
from mmseg_cellvta.conversion.custom import convert_custom
from mmseg_cellvta.conversion.pannuke import convert_pannuke
from mmseg_cellvta.conversion.splits import GroupSplit
from mmseg_cellvta.conversion.writers import Tiling
from mmseg_cellvta.datasets.conic_dataset import read_test_sources
from mmseg_cellvta.datasets.labels import (
    read_info,
    read_labels,
    read_names,
    read_patches,
)
from mmseg_cellvta.evaluation.exchange import LabelArray, read_label_map
from mmseg_cellvta.evaluation.fold_table import read_metrics
from mmseg_cellvta.evaluation.functional import score_image, summarize
from mmseg_cellvta.exports import GeoJsonWriter, GeoParquetWriter, read_parquet
from mmseg_cellvta.exports.spatialdata_export import to_spatialdata
from mmseg_cellvta.models.encoders import families
from mmseg_cellvta.models.encoders.weights import load_encoder_weights
from mmseg_cellvta.slides import open_slide
from mmseg_cellvta.structures import CellTable
from mmseg_cellvta.utils.checkpoints import read_checkpoint
from mmseg_cellvta.utils.files import PendingFolder
from mmseg_cellvta.utils.images import read_image, read_image_size

CLASSES = ['background', 'Tumour', 'OTHER']
IMAGES = ('a', 'b', 'c')  # of a conversion; the labels of the first are the mutant
EVAL_SHAPE = (2, 12, 14, 2)
NUM_CELLS = sum(map(len, cell_tables.BANDS))
SETTINGS = dict(converter='custom', tile=0)


@dataclass(frozen=True)
class Kind:
    """A kind: a file name, what writes an intact one, and what reads one."""
    file: str
    write: Callable[[Path], None]
    read: Callable[[Path], None]


# ---- images and slides ----


def read_picture(path: Path) -> None:
    image = read_image(path)
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    assert image.size and image.shape[:2] == read_image_size(path)


def read_slide(path: Path) -> None:
    reader = open_slide(path)
    assert reader.mpp is None or 0.05 <= reader.mpp <= 10
    assert reader.level_downsamples[0] == 1
    for level, (height, width) in enumerate(reader.level_shapes):
        assert height > 0 and width > 0
        for x, y in ((0, 0), (width - 50, height - 50)):
            part = reader.read(level, x, y, 100, 100)
            assert part.shape == (100, 100, 3) and part.dtype == np.uint8
    reader.close()


def write_picture(path: Path) -> None:
    image = Image.fromarray(color_field(40, 60))
    options = dict(exif=b'Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06'
                   b'\0\0\0\0\0\0') if path.suffix in ('.jpg', '.png') else {}
    image.save(path, dpi=(50800, 50800), **options)


def write_aperio(path: Path) -> None:
    write_slide(path, color_field(200, 300), levels=2)


# ---- labels and conversion ----


def convert_labels(path: Path) -> None:
    """The conversion of three images, of which the first has the mutant's labels."""
    source, out = path.parent / 'source', path.parent / 'out'
    own_data.write_image(source / 'images/mutant.png')
    (source / 'labels').mkdir()
    shutil.copy(path, source / 'labels')
    for name in IMAGES[1:]:
        own_data.write_image(source / f'images/{name}.png')
        own_data.write_labels(source / f'labels/{name}.npy')
    if path.suffix in ('.png', '.tif'):  # holds no classes
        own_data.write_labels(path.parent / 'other.png')
        shutil.copy(path.parent / 'other_class.png', source / 'labels/mutant_class.png')
    split = GroupSplit(val_share=0, test_share=0)
    try:
        convert_custom(source, out, CLASSES, 0.5, Tiling(), split,
                       Progress(disable=True))
    except (ValueError, OSError):
        assert not out.exists(), 'a refused conversion has left a data set'
        raise
    labels = np.load(out / 'Labels/mutant.npy')
    assert labels.shape == (*own_data.SHAPE, 2) and labels.dtype == np.int32
    assert labels.min() >= 0 and labels[..., 1].max() < len(CLASSES)


def read_label_file(path: Path) -> None:
    inst_map, class_map = read_labels(str(path))
    assert inst_map.ndim == 2 and inst_map.shape == class_map.shape
    assert inst_map.dtype.kind in 'iu' and class_map.dtype.kind in 'iu'


def read_scored_map(path: Path) -> None:
    inst_map, class_map = read_label_map(path, len(CLASSES))
    assert class_map.max(initial=0) < len(CLASSES) and inst_map.min(initial=0) >= 0


def read_class_list(path: Path) -> None:
    classes = parse_classes(str(path))
    assert classes[0] == 'background' and len(set(classes)) == len(classes) > 1
    assert all(name == name.strip() and name.isprintable() for name in classes)


def read_name_list(path: Path) -> None:
    names = read_names(path, ('first', 'second_image', 'third-1'))
    assert names and len(set(names)) == len(names)


def read_data_set_info(path: Path) -> None:
    info = read_info(path.parent)
    assert 0 < info['mpp'] < np.inf and info['classes'][0] == 'background'
    assert all(isinstance(name, str) for name in info['classes'])
    colors = np.array(info['palette'])
    assert colors.shape == (len(info['classes']), 3) and colors.dtype.kind == 'i'
    assert colors.min() >= 0 and colors.max() <= 255


def read_sources(path: Path) -> None:
    assert all(isinstance(name, str) for name in read_test_sources(str(path)))


def read_patch_arrays(path: Path) -> None:
    """A mutant beside the two other files of CoNIC's layout."""
    write_conic(path.parent / 'intact')
    for other in (path.parent / 'intact').iterdir():
        if other.name != path.name:
            other.rename(path.parent / other.name)
    images, labels, rows = read_patches(str(path.parent))
    assert len(images) == len(labels) == len(rows) > 0
    assert all(isinstance(row['patch_info'], str) for row in rows)


def convert_fold(path: Path) -> None:
    fold, out = path.parent / 'source/fold1', path.parent / 'out'
    write_fold(fold)
    shutil.copy(path, fold)
    try:
        convert_pannuke(fold.parent, out, Progress(disable=True))
    except (ValueError, OSError):
        assert not out.exists(), 'a refused conversion has left a data set'
        raise
    images, labels, _ = read_patches(str(out / 'fold1'))
    assert images.dtype == np.uint8 and labels[..., 1].max() < 6


def write_fold(folder: Path) -> None:
    """A fold of PanNuke with two images."""
    folder.mkdir(parents=True)
    masks = np.zeros((2, 16, 16, 6))
    masks[:, 2:6, 2:9, 0], masks[:, 8:12, 3:9, 3] = 5, 9
    masks[..., 5] = masks[..., :5].sum(-1) == 0
    np.save(folder / 'images.npy', np.full((2, 16, 16, 3), 200.0))
    np.save(folder / 'masks.npy', masks)
    np.save(folder / 'types.npy', np.array(['Breast', 'Colon']))


def write_from_folder(make: Callable[[Path], None]) -> Callable[[Path], None]:
    """Makes a folder of files and takes the one that has the name asked for."""
    def write(path: Path) -> None:
        folder = path.parent / f'of_{path.name}'
        make(folder)
        (folder / path.name).rename(path)
    return write


def write_text(text: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(text, encoding='utf-8')


def write_imagescope(path: Path) -> None:
    regions = ''
    for rows, cols, _ in own_data.NUCLEI.values():
        (ring,) = own_data.square(rows, cols, 1)['geometry']['coordinates']
        vertices = ''.join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in ring[:-1])
        regions += f'<Region Id="1" Type="0" NegativeROA="0"><Vertices>{vertices}' \
            '</Vertices></Region>'
    path.write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n<Annotations MicronsPerPixel="0.25">'
        '<Annotation Id="1" Name="Tumour"><Attributes><Attribute Name="a" Value=""/>'
        f'</Attributes><Regions>{regions}</Regions></Annotation></Annotations>')


# ---- scores ----


def read_eval_array(path: Path) -> None:
    true_path = path.parent / 'true.npy'
    write_eval_array(true_path)
    true, pred = LabelArray(true_path, 3), LabelArray(path, 3)
    if true.shape != pred.shape:
        raise ValueError(f'{path}: shape {pred.shape} does not match')
    scores = [score_image(true[i][0], pred[i][0], true[i][1], pred[i][1], 3, 6.0)
              for i in range(len(true))]
    metrics = summarize(scores, ['class_1', 'class_2'])
    assert all(np.isnan(value) or 0 <= value <= 1 for value in metrics.values())


def write_eval_array(path: Path) -> None:
    labels = np.zeros(EVAL_SHAPE, np.uint16)
    labels[:, 1:5, 1:6], labels[:, 7:11, 4:9] = (1, 1), (2, 2)
    np.save(path, labels)


def read_metric_file(path: Path) -> None:
    assert all(isinstance(value, int | float) for value in read_metrics(path).values())


# ---- weights ----


def tiny_vit() -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model('vit_tiny_patch16_224', embed_dim=8, depth=1, num_heads=1,
                             img_size=32, num_classes=0)


def write_weights(path: Path) -> None:
    weights = tiny_vit().state_dict()
    if path.suffix == '.safetensors':
        save_file(weights, path)
    else:
        torch.save(dict(meta=dict(epoch=3, seed=0), state_dict=weights), path)


def read_weights(path: Path) -> None:
    checkpoint = read_checkpoint(path)
    assert isinstance(checkpoint['state_dict'], dict)
    assert all(isinstance(name, str) and isinstance(value, torch.Tensor)
               for name, value in checkpoint['state_dict'].items())


def read_encoder(path: Path) -> None:
    vit = tiny_vit()
    load_encoder_weights(vit, str(path), families.VitFamily.filter_weights)
    assert vit(torch.zeros(1, 3, 32, 32)).shape == (1, 8)


# ---- results ----


def write_parquet(path: Path) -> None:
    with GeoParquetWriter(path, cell_tables.INFO) as writer:
        for cells in cell_tables.BANDS:
            writer.write(cells)


def read_cell_parquet(path: Path) -> None:
    tables = read_parquet(path, NUM_CELLS)
    if tables is not None:  # None: changed since, the cells are found again
        cells = CellTable.concatenate(list(tables))
        assert len(cells) == NUM_CELLS and cells.centroids.dtype == np.float64


def export_parquet(path: Path) -> None:
    data = to_spatialdata(path)
    assert len(data['cells']) == len(data['cells_table']) == NUM_CELLS


def write_drawn(path: Path) -> None:
    with GeoJsonWriter(path, cell_tables.INFO) as writer:
        for cells in cell_tables.BANDS:
            writer.write(cells)


def read_drawn(path: Path) -> None:
    outlines, names, colors = read_cells(path)
    assert len(outlines) == len(names) and set(names) == set(colors)
    assert all(ring.shape == (len(ring), 2) and np.isfinite(ring).all()
               for ring in outlines)
    assert all(len(color) == 3 and 0 <= min(color) and max(color) <= 255
               for color in colors.values())


def read_tissues(path: Path) -> None:
    assert all(isinstance(name, str) for name in load_tissues(path, 2))


def write_band(path: Path) -> None:
    cell_tables.BANDS[0].save(path)


def read_band(path: Path) -> None:
    cells = CellTable.load(path)
    assert len(cells.centroids) == len(cells) and cells.class_probs.ndim == 2


def write_run_state(path: Path) -> None:
    PendingFolder(path.parent / 'state', SETTINGS)
    (path.parent / 'state.part' / path.name).rename(path)


def read_run_state(path: Path) -> None:
    (path.parent / 'state.part').mkdir()
    shutil.copy(path, path.parent / 'state.part')
    PendingFolder(path.parent / 'state', SETTINGS)


read_cells = runpy.run_path(str(TOOLS / 'analysis_tools/draw_cells.py'))['read_cells']
load_tissues = runpy.run_path(
    str(TOOLS / 'analysis_tools/eval_instances.py'))['load_tissues']
METRICS = json.dumps({'cell/mPQ': 0.5, 'cell/bPQ': 0.25, 'cell/PQ_other': None})
INFO = json.dumps(dict(classes=CLASSES, mpp=0.5,
                       palette=[[0, 0, 0], [255, 0, 10], [7, 200, 0]]))
SPLIT = json.dumps(dict(n_patches=5, sources={'consep_1': 2, 'crag_3': 3}))
KINDS = dict(
    png=Kind('mutant.png', write_picture, read_picture),
    jpg=Kind('mutant.jpg', write_picture, read_picture),
    tif=Kind('mutant.tif', write_picture, read_picture),
    opened_png=Kind('mutant.png', write_picture, read_slide),
    opened_tif=Kind('mutant.tif', write_picture, read_slide),
    svs=Kind('mutant.svs', write_aperio, read_slide),
    tiled_tif=Kind('mutant.tif', write_aperio, read_slide),
    ome=Kind('mutant.ome.tif', lambda path: write_slide(
        path, color_field(200, 300), levels=2, ome=True), read_slide),
    id_png=Kind('mutant.png', own_data.write_labels, convert_labels),
    id_tif=Kind('mutant.tif', own_data.write_labels, convert_labels),
    id_npy=Kind('mutant.npy', own_data.write_labels, convert_labels),
    id_mat=Kind('mutant.mat', own_data.write_labels, convert_labels),
    geojson=Kind('mutant.geojson', own_data.write_labels, convert_labels),
    imagescope=Kind('mutant.xml', write_imagescope, convert_labels),
    labels_npy=Kind('mutant.npy', own_data.write_labels, read_label_file),
    labels_mat=Kind('mutant.mat', own_data.write_labels, read_label_file),
    label_map=Kind('mutant.npy', own_data.write_labels, read_scored_map),
    class_list=Kind('classes.txt', write_text('Tumour\nOTHER\nimmune cell\n'),
                    read_class_list),
    name_list=Kind('val.txt', write_text('first\nsecond_image\nthird-1\n'),
                   read_name_list),
    info=Kind('dataset.json', write_text(INFO), read_data_set_info),
    split=Kind('split.json', write_text(SPLIT), read_sources),
    patch_info=Kind('patch_info.csv', write_from_folder(write_conic),
                    read_patch_arrays),
    patch_images=Kind('images.npy', write_from_folder(write_conic), read_patch_arrays),
    patch_labels=Kind('labels.npy', write_from_folder(write_conic), read_patch_arrays),
    fold_images=Kind('images.npy', write_from_folder(write_fold), convert_fold),
    fold_masks=Kind('masks.npy', write_from_folder(write_fold), convert_fold),
    fold_types=Kind('types.npy', write_from_folder(write_fold), convert_fold),
    eval_array=Kind('pred.npy', write_eval_array, read_eval_array),
    metrics=Kind('metrics.json', write_text(METRICS), read_metric_file),
    checkpoint=Kind('mutant.pth', write_weights, read_weights),
    encoder_pth=Kind('mutant.pth', write_weights, read_encoder),
    encoder_st=Kind('mutant.safetensors', write_weights, read_encoder),
    parquet=Kind('mutant.parquet', write_parquet, read_cell_parquet),
    exported=Kind('mutant.parquet', write_parquet, export_parquet),
    drawn=Kind('mutant.geojson', write_drawn, read_drawn),
    drawn_gz=Kind('mutant.geojson.gz', write_drawn, read_drawn),
    tissues=Kind('tissues.json', write_text('["Breast", "Bile-duct"]'), read_tissues),
    band=Kind('band_00000.npz', write_band, read_band),
    run_state=Kind('conversion.json', write_run_state, read_run_state),
)


def write_originals(folder: Path) -> dict[str, bytes]:
    """Returns the content of an intact file of each kind."""
    originals = {}
    for name, kind in KINDS.items():
        place = folder / name
        place.mkdir()
        kind.write(place / kind.file)
        originals[name] = (place / kind.file).read_bytes()
    return originals
