# Copyright (c) CellVTA-MMSeg contributors.
"""Find the cells of images and whole slides, and write them for other programs.

Each input leaves <name>.geojson for QuPath, <name>.parquet for Python, a summary and,
for images, <name>_overlay.png. What was interrupted goes on where it stopped.

Example:
    python tools/infer.py CONFIG CHECKPOINT slides/ region.png --out cells
    python tools/infer.py hf://owner/model slides/ --out cells
"""
import argparse
import io
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from contextlib import closing, redirect_stdout
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from launch import (
    add_cfg_options,
    add_launcher,
    add_trust,
    check_file,
    is_model,
    read_model,
)

if TYPE_CHECKING:
    from rich.console import Console

    from mmseg_cellvta.slides import InputList

PATIENCE = timedelta(days=30)
# Keys of mmseg_cellvta.exports.FORMATS, which --help must not import.
FORMATS = ('geojson', 'geojson.gz', 'parquet', 'csv', 'cellvit', 'labels',
           'spaceranger', 'xenium')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        usage='%(prog)s (CONFIG CHECKPOINT | MODEL) INPUT [INPUT ...] --out DIR')
    parser.add_argument(
        'inputs', nargs='+', metavar='MODEL INPUT',
        help='config and checkpoint file, or a model folder, or hf://owner/name; then '
        'images, slides, folders or globs')
    parser.add_argument('--out', type=Path, required=True, help='folder for results')
    parser.add_argument('--mpp', type=float,
                        help='µm/px of the inputs that do not state it')
    parser.add_argument('--force-mpp', action='store_true',
                        help='take --mpp also for inputs that state another one')
    parser.add_argument('--skip-damaged', action='store_true',
                        help='take damaged tiles of a slide for glass and count them')
    parser.add_argument('--origin', choices=('slide', 'bounds'), default='slide',
                        help="count px from the slide's corner, or from that of the "
                        'part that was scanned, as QuPath does (default: slide)')
    parser.add_argument('--formats', nargs='+', default=['geojson', 'parquet'],
                        choices=FORMATS, metavar='FORMAT',
                        help=f'of {", ".join(FORMATS)}; parquet is always written '
                        '(default: %(default)s)')
    parser.add_argument('--report', action='store_true',
                        help='write an HTML page per input')
    parser.add_argument('--no-tissue-mask', action='store_true',
                        help='look at all of a slide, glass included')
    parser.add_argument('--device',
                        help='such as cuda:1, mps or cpu (default: the best)')
    parser.add_argument('--batch-size', type=whole_number(1),
                        help='tiles at once (default: found by trying)')
    parser.add_argument('--num-workers', type=whole_number(0),
                        help='processes that find nuclei; a quarter as many read ahead '
                        '(default: by the processors that this job may use)')
    parser.add_argument('--backend', choices=('torch', 'openvino'), default='torch',
                        help='what computes the network; openvino for processors '
                        '(default: torch)')
    parser.add_argument('--amp', action='store_true', help='half precision')
    parser.add_argument('--embeddings', action='store_true',
                        help='keep what the encoder saw of each cell (parquet)')
    parser.add_argument('--expand-um', type=float, metavar='D',
                        help='make cells that reach up to D µm from their nuclei and '
                        'do not overlap (default: nuclei only)')
    parser.add_argument('--quiet', action='store_true', help='print errors only')
    parser.add_argument('--profile', action='store_true',
                        help='print where the time went')
    add_cfg_options(parser)
    add_launcher(parser)
    add_trust(parser)
    args = parser.parse_args()
    num_names = 1 if is_model(args.inputs[0]) else 2
    args.model, args.inputs = args.inputs[:num_names], args.inputs[num_names:]
    if not args.inputs:
        parser.error('expected CONFIG CHECKPOINT or MODEL, and then images or slides')
    if num_names == 2:
        check_file('config', args.model[0])
        check_file('checkpoint', args.model[1])
        if '://' in args.model[1] and not is_model(args.model[1]):
            sys.exit(f'checkpoint {args.model[1]}: expected a local file; download it '
                     'first')
    if args.out.exists() and not args.out.is_dir():
        sys.exit(f'--out {args.out}: is a file; give a folder, which is made if it is '
                 'not there')
    return args


def whole_number(least: int) -> Callable[[str], int]:
    """Returns what reads an option that is a whole number from `least` on."""
    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(
                f'{text}: expected a whole number from {least} on')
        return int(text)

    return read


def choose_device(args: argparse.Namespace) -> str | None:
    """Starts torch.distributed if asked for; each process gets its own GPU."""
    import torch
    from mmengine.dist import init_dist

    from mmseg_cellvta.utils.devices import device_module, process_device

    if args.launcher == 'none':
        return args.device
    # Only words are exchanged, not tensors: Gloo, also between GPUs. A process that is
    # done waits for the others however long they take.
    if args.launcher == 'pytorch':
        # MMEngine's own would touch the GPU, before the workers are forked.
        torch.distributed.init_process_group('gloo', timeout=PATIENCE)
        rank = int(os.environ['LOCAL_RANK'])
        return 'cpu' if args.device == 'cpu' else process_device(rank)
    if args.device == 'cpu' or process_device(0) == 'cpu':
        sys.exit(f'error: --launcher {args.launcher} needs a GPU; on processors use '
                 '--launcher pytorch')
    init_dist(args.launcher, backend='gloo', timeout=PATIENCE.total_seconds())
    kind = torch.device(process_device(0)).type
    return f'{kind}:{device_module(kind).current_device()}'


def report_inputs(inputs: 'InputList', console: 'Console', quiet: bool) -> None:
    """Prints what of the given names is no input."""
    for error in inputs.missing.values():
        console.out(f'failed {error}', style='red')
    for sentence in () if quiet else inputs.left_out:
        console.out(sentence)


def report(results, console: 'Console', quiet: bool) -> bool:
    """Prints the result of each input; returns True when none failed."""
    failed = False
    for result in results:
        if result.error is not None:
            failed = True
            # Not `print`: it would break paths, and read brackets in them as markup.
            said = str(result.error)
            source = '' if said.startswith(str(result.source)) else f'{result.source}: '
            console.out(f'failed {source}{said}', style='red')
            if not isinstance(result.error, (ValueError, OSError)):
                traceback.print_exception(result.error)
            continue
        if not quiet:
            for remark in result.summary.get('remarks', ()):
                console.out(f'warning: {remark}', style='yellow')
            state = 'was finished' if result.skipped else 'done'
            console.out(f'{state}: {result.source}, {result.summary["cells"]} cells '
                        f'in {result.summary["seen_mm2"]:g} mm²')
    return not failed


def main() -> None:
    args = parse_args()
    # What MMSegmentation and mmcv say of training is nothing to worry about here.
    warnings.filterwarnings('ignore', module='mmseg|mmcv')
    if args.quiet:
        warnings.simplefilter('ignore')
    cfg, weights = read_model(args.model, args.cfg_options)
    import torch
    from rich.console import Console

    from mmseg_cellvta.inference import CellInferencer, FolderRun
    from mmseg_cellvta.post_processing.expansion import check_expansion
    from mmseg_cellvta.slides import list_inputs
    from mmseg_cellvta.utils.devices import check_device
    from mmseg_cellvta.utils.pixel_size import mpp_problem

    if args.mpp is not None and (problem := mpp_problem(args.mpp)):
        sys.exit(f'error: --mpp {args.mpp:g}: {problem}')
    console = Console(stderr=True, highlight=False)
    try:
        if args.device is not None:
            check_device(args.device)
        check_expansion(args.expand_um)
        inputs = list_inputs(args.inputs)
        report_inputs(inputs, console, args.quiet)
        if not inputs.paths:
            sys.exit('error: no image or slide is left to work on')
        args.out.mkdir(parents=True, exist_ok=True)
        with redirect_stdout(io.StringIO() if args.quiet else sys.stdout):
            inferencer = CellInferencer(
                cfg, weights, choose_device(args), args.batch_size,
                args.num_workers, args.amp, args.embeddings, args.trust,
                args.force_mpp, args.skip_damaged, args.origin, args.expand_um,
                args.backend)
        run = FolderRun(
            inferencer, args.out, args.formats, args.report, args.mpp,
            False if args.no_tissue_mask else None, args.quiet)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f'error: {error}')
    with closing(inferencer):
        complete = report(run(inputs.paths), console, args.quiet)
    if args.profile:
        console.print(inferencer.clock.table(run.seen_mm2))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()  # its threads must not outlive us
    sys.exit(0 if complete and not inputs.missing else 1)


if __name__ == '__main__':
    main()
