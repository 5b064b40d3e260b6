# Copyright (c) CellVTA-MMSeg contributors.
"""Turn the cells of an image or slide into a SpatialData store (scverse).

`spatialdata.read_zarr` opens the store: outlines `cells`, aligned to px of level 0 and
to µm, and an AnnData table `cells_table` for scanpy and squidpy. With --image it also
holds a copy of all pixels of level 0, and is larger than the slide's own file.

Needs requirements/export.txt.

Example:
    python tools/analysis_tools/export_spatialdata.py out/slide.parquet slide.zarr \\
        --image slides/slide.svs
"""
import argparse
import os
from pathlib import Path


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('parquet', type=Path,
                        help='file that tools/infer.py --formats parquet wrote')
    parser.add_argument('out', type=Path, help='zarr folder to make; it must not exist')
    parser.add_argument('--image', type=Path, metavar='FILE',
                        help='image or slide on which the cells were found')
    args = parser.parse_args()
    for path in (args.parquet, args.image):
        if path is not None and not path.is_file():
            parser.error(f'{path}: no such file')
    if not args.out.parent.is_dir():
        parser.error(f'{args.out}: there is no folder {args.out.parent}')
    if os.path.lexists(args.out):
        parser.error(f'{args.out}: exists already; delete it or choose another folder')
    return args


def main() -> None:
    args = parse_args()
    # After the arguments: --help must not wait for torch.
    from mmseg_cellvta.exports.spatialdata_export import export_spatialdata

    try:
        count = export_spatialdata(args.parquet, args.out, args.image)
    except (ValueError, OSError, ImportError) as error:
        raise SystemExit(f'error: {error}') from error
    print(f'{args.out}: {count} cells')


if __name__ == '__main__':
    main()
