"""Spiking Semantic FPN, Meta-SpikeFormer 15M, T = 1, VOC2012 with the augmented masks (10582).

Task: Semantic Segmentation on PASCAL VOC 2012 with augmented masks
Parameters: 16.5M
Paper: none, it trains on 1,460 images, VOC2012's own
Ours: not measured

The masks of Hariharan et al. lie in SegmentationClassAug, their list in
ImageSets/Segmentation/aug.txt:

    bash tools/dist_train.sh configs/semantic_fpn_metaspike_t1_voc2012aug.py 4
"""

_base_ = ['semantic_fpn_metaspike_voc2012.py']

train_dataset = _base_.train_dataloader.dataset
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        datasets=[
            train_dataset,
            dict(
                type='PascalVOCDataset',
                data_root=_base_.data_root,
                data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClassAug'),
                ann_file='ImageSets/Segmentation/aug.txt',
                pipeline=_base_.train_pipeline,
            ),
        ],
    )
)
