# Copyright (c) CellVTA-MMSeg contributors.
"""What differs between the maintained OpenMMLab builds and the official releases.

Both install `mmcv`, `mmengine` and `mmseg`. Everything else of the package knows no
difference between them.
"""
import warnings
from contextlib import redirect_stdout
from io import StringIO

# The maintained builds print it at every start: an optional package is not there.
NOISE = 'Could not import OneDL'
# Of mmcv without compiled ops; `DeformableAttention` has a form for that case.
ATTENTION_WARNING = 'Fail to import ``MultiScaleDeformableAttention``'
NO_CUDA = 'not available'  # mmcv's word for the CUDA version of a build without it


def import_mmseg() -> None:
    """Imports MMSegmentation without lines that concern no user of this package."""
    with redirect_stdout(StringIO()) as printed, warnings.catch_warnings():
        warnings.filterwarnings('ignore', ATTENTION_WARNING, UserWarning)
        import mmseg.datasets
        import mmseg.models  # noqa: F401
    for line in printed.getvalue().splitlines():
        if line != NOISE:
            print(line)


def find_compiled_attention() -> type | None:
    """Returns the autograd function of mmcv's deformable attention on CUDA.

    None where mmcv was built without CUDA, as its official wheels for the CPU are, or
    without any operators: then even importing `mmcv.ops` fails.
    """
    try:
        from mmcv.ops import get_compiling_cuda_version
        from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction
    except (ImportError, AssertionError):  # the latter where an operator is missing
        return None
    if get_compiling_cuda_version() == NO_CUDA:
        return None
    return MultiScaleDeformableAttnFunction
