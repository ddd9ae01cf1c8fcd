"""HAR-DVS as frames of 346x260 pixels, 300 classes.

The lists of the splits lie beside the folder of frames. Where a sample's folder holds the frames of
two cameras, add frames_folder='{name}_dvs' to the datasets.
"""

data_root = 'data/hardvs/'

# No flip: raising the left and the right hand are two classes.
train_pipeline = [
    dict(type='mmspike.LoadFrames'),
    dict(type='RandomResizedCrop', scale=224, crop_ratio_range=(0.4, 1.0)),
    dict(type='mmspike.FramesToTensor'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='mmspike.LoadFrames'),
    dict(type='ResizeEdge', scale=256, edge='short'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='mmspike.FramesToTensor'),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=16,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='mmspike.HARDVS',
        data_root=data_root,
        ann_file='train_label.txt',
        data_prefix=dict(img_path='rawframes/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='mmspike.HARDVS',
        data_root=data_root,
        ann_file='val_label.txt',
        data_prefix=dict(img_path='rawframes/'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = dict(
    batch_size=16,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='mmspike.HARDVS',
        data_root=data_root,
        ann_file='test_label.txt',
        data_prefix=dict(img_path='rawframes/'),
        pipeline=test_pipeline,
    ),
)
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
