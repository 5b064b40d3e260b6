# Copyright (c) CellVTA-MMSeg contributors.
"""Turn the cells of a picture or slide into a SpatialData store (scverse).

`spatialdata.read_zarr` opens the store: outlines `cells`, aligned to px of level 0 and
to µm, and an AnnData table `cells_table` for scanpy and squidpy. With --picture it also
holds a copy of all pixels of level 0, and is larger than the slide's own file.

Needs requirements/export.txt.

Example:
    python tools/analysis_tools/export_spatialdata.py out/slide.parquet slide.zarr \\
        --picture slides/slide.svs
"""
import argparse
from pathlib import Path

from mmseg_cellvta.exports.spatialdata_export import export_spatialdata


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('parquet', type=Path,
                        help='file that tools/infer.py --formats parquet wrote')
    parser.add_argument('out', type=Path, help='zarr folder to make; it must not exist')
    parser.add_argument('--picture', type=Path, metavar='FILE',
                        help='picture or slide on which the cells were found')
    args = parser.parse_args()
    if not args.out.parent.is_dir():
        parser.error(f'{args.out}: there is no folder {args.out.parent}')
    return args


def main() -> None:
    args = parse_args()
    try:
        count = export_spatialdata(args.parquet, args.out, args.picture)
    except (ValueError, OSError, ImportError) as error:
        raise SystemExit(f'error: {error}') from error
    print(f'{args.out}: {count} cells')


if __name__ == '__main__':
    main()
