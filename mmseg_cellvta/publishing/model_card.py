# Copyright (c) CellVTA-MMSeg contributors.
"""The model card: what the folder knows is filled in, what it cannot know is asked."""
from pathlib import Path
from string import Template

TEMPLATE = Path(__file__).with_name('model_card.md')
# By the end of a metric's name; `<class>` stands for the rest.
METRIC_NAMES = {
    'mPQ': 'panoptic quality (mPQ): mean over classes, then over images',
    'bPQ': 'binary panoptic quality (bPQ): mean over images',
    'mDQ': 'detection quality (mDQ): mean over classes, then over images',
    'mSQ': 'segmentation quality (mSQ): mean over classes, then over images',
    'bDQ': 'binary detection quality (bDQ): mean over images',
    'bSQ': 'binary segmentation quality (bSQ): mean over images',
    'mPQ_tissue': 'panoptic quality, mean over tissues',
    'bPQ_tissue': 'binary panoptic quality, mean over tissues',
    'mPQ_plus': 'panoptic quality (mPQ+): counts pooled over the data set',
    'PQ_conic': 'panoptic quality as in the CoNIC challenge, empty images count 0',
    'F1_det': 'F1 score of detection',
    'precision_det': 'precision of detection',
    'recall_det': 'recall of detection',
    'AJI': 'aggregated Jaccard index',
    'Dice': 'Dice coefficient of the foreground',
}
PREFIXES = {'PQ_': 'panoptic quality of {}', 'F1_': 'F1 score of {}'}
ASK = '**To be completed:** '
GATED = 'It is fetched from its own page, where access must be granted to you.'


def write_card(manifest: dict) -> str:
    """Returns the model card, Markdown with the hub's front matter.

    Args:
        manifest: What `model.json` holds.
    """
    encoder = manifest['encoder']
    base = encoder and encoder['page']
    return Template(TEMPLATE.read_text(encoding='utf-8')).substitute(
        name=manifest['name'],
        licence=manifest['licence'] or 'other',
        licence_text=manifest['licence'] or (
            f'{ASK}under which licence may these weights be used? Those of the encoder '
            'and of the training images bind them too.'),
        base_model=f'base_model: {base}\n' if base else '',
        mpp=f'{manifest["mpp"]:.4g}',
        classes='\n'.join(f'| {index} | {name} |' for index, name in enumerate(
            manifest['classes']) if index),
        encoder=_encoder(encoder),
        scores=_scores(manifest['scores']), metrics=_metrics(manifest['scores']),
        package=manifest['package'], ask=ASK)


def full_name(metric: str) -> str:
    """Returns what a metric is, in words: `cell/mPQ` is the mean panoptic quality."""
    short = metric.rpartition('/')[2]
    if short in METRIC_NAMES:
        return METRIC_NAMES[short]
    for prefix, words in PREFIXES.items():
        if short.startswith(prefix):
            return words.format(short.removeprefix(prefix))
    return short


def _encoder(encoder: dict | None) -> str:
    if encoder is None:
        return 'The network has no foundation encoder.'
    page = f'[{encoder["name"]}](https://huggingface.co/{encoder["page"]})' if encoder[
        'page'] else encoder['name']
    state = 'kept frozen' if encoder['frozen'] else 'trained too'
    where = 'Its weights are in this folder.' if encoder['in_folder'] else GATED
    licence = encoder['licence'] or f'{ASK}which one?'
    return f'Encoder: {page}, {state}; licence: {licence}. {where}'


def _scores(scores: dict[str, float]) -> str:
    if not scores:
        return f'{ASK}on which images was it tested, and with which figures?'
    rows = [f'| {full_name(name)} | {value:.4f} |' for name, value in scores.items()]
    return '\n'.join(['| figure (fraction) | value |', '|---|---|', *rows, '',
                      f'{ASK}of which images are these figures?'])


def _metrics(scores: dict[str, float]) -> str:
    return ''.join(f'- {full_name(name)}\n' for name in scores) and (
        'metrics:\n' + ''.join(f'- "{full_name(name)}"\n' for name in scores))
