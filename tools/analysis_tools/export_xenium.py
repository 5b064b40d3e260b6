# Copyright (c) CellVTA-MMSeg contributors.
"""Bring the cells of an H&E image to the pixels or micrometres of a Xenium run.

Reads <name>.parquet and the alignment that Xenium Explorer exports (three rows of three
numbers, by which x, y, 1 of the H&E image are multiplied), and writes the file that
`xeniumranger import-segmentation` takes as --nuclei and, of cells around nuclei
(tools/infer.py --expand-um), as --cells, without --coordinate-transform.

Example:
    python tools/analysis_tools/export_xenium.py slide.parquet xenium.geojson \\
        --transform slide_imagealignment.csv --units pixels
"""
import argparse
import os
from pathlib import Path


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('parquet', type=Path, help='file that tools/infer.py wrote')
    parser.add_argument('out', type=Path,
                        help='GeoJSON file to make; it must not exist')
    parser.add_argument('--transform', type=Path, metavar='CSV',
                        help='from px of the image to px of the Xenium morphology '
                        'image (default: they are the same)')
    parser.add_argument('--units', choices=('pixels', 'microns'), default='pixels',
                        help='of the file, as Xenium Ranger is to be told (default: '
                        '%(default)s)')
    parser.add_argument('--pixel-size', type=float, default=0.2125, metavar='UM',
                        help='µm/px of the morphology image, pixel_size in '
                        'experiment.xenium (default: %(default)s)')
    args = parser.parse_args()
    for path in (args.parquet, args.transform):
        if path is not None and not path.is_file():
            parser.error(f'{path}: no such file')
    if os.path.lexists(args.out):
        parser.error(f'{args.out}: exists already; delete it or choose another name')
    if args.out.suffix != '.geojson':
        parser.error(f'{args.out}: Xenium Ranger knows a file by .geojson; name it so')
    if not 0 < args.pixel_size < float('inf'):
        parser.error(f'--pixel-size {args.pixel_size:g}: expected µm/px above 0')
    return args


def main() -> None:
    args = parse_args()
    # After the arguments: --help must not wait.
    from mmseg_cellvta.exports.tenx_writers import export_xenium

    try:
        scale = args.pixel_size if args.units == 'microns' else 1.0
        count = export_xenium(args.parquet, args.out, args.transform, scale)
    except (ValueError, OSError) as error:
        raise SystemExit(f'error: {error}') from error
    print(f'{args.out}: {count} cells; tell xeniumranger --units {args.units}')


if __name__ == '__main__':
    main()
