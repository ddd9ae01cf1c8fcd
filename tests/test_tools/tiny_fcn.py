"""A stock FCN small enough to train in a test: 18 layers of 4 channels on the maps of shapes."""

default_scope = 'mmseg'
data_root = 'data/shapes/'
norm_cfg = dict(type='BN')
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor', mean=[127.5] * 3, std=[60.0] * 3, size=(64, 64)
    ),
    backbone=dict(type='ResNet', depth=18, base_channels=4, stem_channels=4, norm_cfg=norm_cfg),
    decode_head=dict(
        type='FCNHead',
        in_channels=32,
        channels=4,
        num_convs=1,
        num_classes=4,
        norm_cfg=norm_cfg,
        loss_decode=dict(type='CrossEntropyLoss'),
    ),
    test_cfg=dict(mode='whole'),
)
dataset = dict(
    type='BaseSegDataset',
    data_root=data_root,
    img_suffix='.png',
    metainfo=dict(
        classes=('background', 'circle', 'rectangle', 'triangle'),
        palette=[[235, 235, 235], [220, 20, 60], [0, 160, 90], [60, 90, 220]],
    ),
    pipeline=[
        dict(type='mmspike.LoadImageFromFile'),
        dict(type='mmspike.LoadSegAnnotations'),
        dict(type='PackSegInputs'),
    ],
)
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(**dataset, data_prefix=dict(img_path='train', seg_map_path='masks/train')),
)
test_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        **dataset, data_prefix=dict(img_path='val', seg_map_path='masks/val'), test_mode=True
    ),
)
val_dataloader = test_dataloader
test_evaluator = dict(type='IoUMetric')
val_evaluator = test_evaluator
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01))
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1, val_interval=1)
val_cfg = dict()
test_cfg = dict()
default_hooks = dict(logger=dict(type='LoggerHook', interval=1))
randomness = dict(seed=0)
