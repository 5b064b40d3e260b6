# Copyright (c) CellVTA-MMSeg contributors.
import os
import subprocess
import sys
from importlib import metadata

IMPORT_EVERYTHING = """
import importlib, pkgutil
import mmseg_cellvta
for module in pkgutil.walk_packages(mmseg_cellvta.__path__, 'mmseg_cellvta.'):
    importlib.import_module(module.name)
"""
# What a program has set for itself must be the same after an import of ours. Some
# libraries add an environment variable or a filter for warnings by their own import.
STATE = """
import csv, json, locale, logging, multiprocessing, os, random, signal, sys, warnings
from PIL import Image, ImageFile
pillow = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES

import cv2, matplotlib, mmseg.datasets, mmseg.models, numpy, sklearn, timm, torch
for name in ('openslide', 'tiffslide'):
    try:
        __import__(name)
    except ImportError:
        pass
matplotlib.rcParams['figure.dpi'] = 77
warnings.filterwarnings('error', 'of the user')

def state():
    return {key: repr(value) for key, value in dict(
        pillow=(Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES),
        warnings=warnings.filters, environment=dict(os.environ), path=sys.path,
        start_method=multiprocessing.get_start_method(allow_none=True),
        opencv=(cv2.getNumThreads(), cv2.useOptimized(), cv2.ocl.useOpenCL()),
        torch=(torch.get_num_threads(), torch.get_default_dtype(),
               torch.is_grad_enabled(), torch.get_float32_matmul_precision(),
               torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32,
               torch.are_deterministic_algorithms_enabled(), torch.get_rng_state()),
        numpy=(numpy.geterr(), numpy.get_printoptions(), numpy.random.get_state()),
        random=random.getstate(), locale=locale.setlocale(locale.LC_ALL),
        plots=(matplotlib.get_backend(), dict(matplotlib.rcParams)),
        logging=(logging.root.level, logging.root.handlers, logging.raiseExceptions),
        limits=(csv.field_size_limit(), sys.getrecursionlimit()),
        hooks=(sys.excepthook, signal.getsignal(signal.SIGINT)),
    ).items()}

before = state() | dict(pillow=repr(pillow))
exec(sys.argv[1])
after = state()
print('CHANGED', json.dumps([key for key in before if before[key] != after[key]]))
"""


def run(*command):
    env = {key: value for key, value in os.environ.items() if key != 'DISPLAY'}
    env['PYTHONPATH'] = os.pathsep.join(sys.path)
    result = subprocess.run([sys.executable, '-W', 'ignore', '-c', *command], env=env,
                            capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_everything_imports_without_a_display_and_changes_nothing_else():
    assert run(STATE, IMPORT_EVERYTHING).endswith('CHANGED []\n')


def test_opencv_is_only_there_in_its_headless_build():
    installed = {dist.metadata['Name'] for dist in metadata.distributions()}
    assert 'opencv-python-headless' in installed
    assert 'opencv-python' not in installed
