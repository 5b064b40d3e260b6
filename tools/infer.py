# Copyright (c) CellVTA-MMSeg contributors.
"""Find the cells of images and whole slides, and write them for other programs.

Each input leaves <name>.geojson for QuPath, <name>.parquet for Python, a summary and,
for images, <name>_overlay.png. What was interrupted goes on where it stopped.

Example:
    python tools/infer.py CONFIG CHECKPOINT slides/ region.png --out cells
"""
import argparse
import os
import sys
import traceback
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from launch import add_cfg_options, add_launcher, check_file, read_config

if TYPE_CHECKING:
    from rich.console import Console

PATIENCE = timedelta(days=30)
# Keys of mmseg_cellvta.exports.FORMATS, which --help must not import.
FORMATS = ('geojson', 'geojson.gz', 'parquet', 'csv', 'cellvit', 'labels')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='path of the config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('inputs', nargs='+', help='images, slides, folders or globs')
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
    parser.add_argument('--device', help='such as cuda:1 or cpu (default: the best)')
    parser.add_argument('--batch-size', type=int,
                        help='tiles at once (default: found by trying)')
    parser.add_argument('--num-workers', type=int,
                        help='processes that find nuclei; a quarter as many read ahead '
                        '(default: by the processors that this job may use)')
    parser.add_argument('--amp', action='store_true', help='half precision')
    parser.add_argument('--embeddings', action='store_true',
                        help='keep what the encoder saw of each cell (parquet)')
    parser.add_argument('--quiet', action='store_true', help='print errors only')
    parser.add_argument('--profile', action='store_true',
                        help='print where the time went')
    add_cfg_options(parser)
    add_launcher(parser)
    args = parser.parse_args()
    check_file('config', args.config)
    check_file('checkpoint', args.checkpoint)
    return args


def choose_device(args: argparse.Namespace) -> str | None:
    """Starts torch.distributed if asked for; each process gets its own GPU."""
    import torch
    from mmengine.dist import init_dist

    on_gpu = torch.cuda.is_available() and args.device != 'cpu'
    if args.launcher == 'none':
        return args.device
    # Only words are exchanged, not tensors: Gloo, also between GPUs. A process that is
    # done waits for the others however long they take.
    if args.launcher == 'pytorch':
        # MMEngine's own would touch the GPU, before the workers are forked.
        torch.distributed.init_process_group('gloo', timeout=PATIENCE)
        return f'cuda:{os.environ["LOCAL_RANK"]}' if on_gpu else 'cpu'
    if not on_gpu:
        sys.exit(f'error: --launcher {args.launcher} needs a GPU; on processors use '
                 '--launcher pytorch')
    init_dist(args.launcher, backend='gloo', timeout=PATIENCE.total_seconds())
    return f'cuda:{torch.cuda.current_device()}'


def report(results, console: 'Console', quiet: bool) -> bool:
    """Prints the result of each input; returns True when none failed."""
    failed = False
    for result in results:
        if result.error is not None:
            failed = True
            # Not `print`: it would break paths, and read brackets in them as markup.
            console.out(f'failed {result.source}: {result.error}', style='red')
            if not isinstance(result.error, (ValueError, OSError)):
                traceback.print_exception(result.error)
            continue
        for remark in result.summary.get('remarks', ()):
            console.out(f'warning: {remark}', style='yellow')
        if not quiet:
            state = 'was finished' if result.skipped else 'done'
            console.out(f'{state}: {result.source}, {result.summary["cells"]} cells '
                        f'in {result.summary["seen_mm2"]:g} mm²')
    return not failed


def main() -> None:
    args = parse_args()
    cfg = read_config(args.config, args.cfg_options)
    import torch
    from rich.console import Console

    from mmseg_cellvta.inference import CellInferencer, FolderRun
    from mmseg_cellvta.slides import list_inputs
    from mmseg_cellvta.utils.pixel_size import mpp_problem

    if args.mpp is not None and (problem := mpp_problem(args.mpp)):
        sys.exit(f'error: --mpp {args.mpp:g}: {problem}')
    try:
        sources = list_inputs(args.inputs)
        inferencer = CellInferencer(
            cfg, args.checkpoint, choose_device(args), args.batch_size,
            args.num_workers, args.amp, args.embeddings, args.force_mpp,
            args.skip_damaged, args.origin)
    except (ValueError, OSError) as error:
        sys.exit(f'error: {error}')
    run = FolderRun(
        inferencer, args.out, args.formats, args.report, args.mpp,
        False if args.no_tissue_mask else None, args.quiet)
    console = Console(stderr=True)
    with closing(inferencer):
        complete = report(run(sources), console, args.quiet)
    if args.profile:
        console.print(inferencer.clock.table(run.seen_mm2))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()  # its threads must not outlive us
    sys.exit(0 if complete else 1)


if __name__ == '__main__':
    main()
