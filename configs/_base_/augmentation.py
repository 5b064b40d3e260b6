# Shared by the data sets of a base: `*_base_.released_augmentation` in a pipeline.
# Order, probabilities and strengths of the released training code.
released_augmentation = [
    dict(type='CellRandomRotate90', prob=0.2),
    # Horizontal and vertical with probability 0.2 each, independently.
    dict(type='RandomFlip', prob=[0.16, 0.16, 0.04],
         direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='CellBlur', prob=0.2, kernel_sizes=(3, 5, 7, 9)),  # px
    dict(type='CellGaussNoise', prob=0.5, max_variance=10),  # 0-255 scale, squared
    dict(type='CellColorJitter', prob=0.2, brightness=0.25, contrast=0.25,
         saturation=0.1, hue=0.05),
    dict(type='CellSuperpixels', prob=0.1, replace_prob=0.1, num_segments=200,
         max_side=128),  # px
    dict(type='CellZoomBlur', prob=0.1, max_factor=1.05, step=(0.01, 0.03)),
    dict(type='CellRandomSizedCrop', prob=0.2, min_fraction=0.5),
    dict(type='CellRandomAffine', prob=0.2, max_shift=15),  # px
]
# One pass for each; the maps of all passes are turned back and averaged.
tta_flips = [
    dict(type='RandomFlip', prob=0.0),
    dict(type='RandomFlip', prob=1.0, direction='horizontal'),
    dict(type='RandomFlip', prob=1.0, direction='vertical'),
]
