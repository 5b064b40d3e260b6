# Classes that nuclei data sets share. A model trained on one is scored on another in
# these classes: both sides become the names on the right. 'ignore', and what only one
# side has, is left out of the figures by class; segmentation counts every nucleus.
# ---- what people edit ----
conic_map = {
    'neutrophil': 'inflammatory',
    'epithelial': 'epithelial',  # tumour and healthy
    'lymphocyte': 'inflammatory',
    'plasma': 'inflammatory',
    'eosinophil': 'inflammatory',
    'connective': 'connective',
}
pannuke_map = {
    'neoplastic': 'epithelial',  # also tumours that are none: sarcoma, melanoma
    'inflammatory': 'inflammatory',
    'connective': 'connective',
    'dead': 'ignore',
    'epithelial': 'epithelial',
}
consep_map = {
    'other': 'ignore',
    'inflammatory': 'inflammatory',
    'epithelial': 'epithelial',  # tumour and healthy
    'spindle-shaped': 'connective',  # fibroblast, muscle, endothelial
}
# As tools/dataset_converters/custom.py writes MoNuSAC, with these names.
monusac_map = {
    'epithelial': 'epithelial',
    'lymphocyte': 'inflammatory',
    'neutrophil': 'inflammatory',
    'macrophage': 'inflammatory',
}
