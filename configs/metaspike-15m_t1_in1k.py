"""Meta-SpikeFormer 15M, T = 1, ImageNet-1K, from scratch.

Task: Image Classification on ImageNet-1K
Parameters: 15.1M
Paper: top-1 71.8, table 1 (15.1M parameters, 4.0 mJ); table 8 gives the recipe
Ours: not measured

    bash tools/dist_train.sh configs/metaspike-15m_t1_in1k.py 8
    python tools/test.py configs/metaspike-15m_t1_in1k.py CHECKPOINT

The batch is 196 a process, 1568 in all on 8 GPUs; elsewhere add --auto-scale-lr.
"""

_base_ = [
    '_base_/models/metaspike_classifier.py',
    '_base_/datasets/imagenet.py',
    '_base_/schedules/lamb_200e.py',
    '_base_/classification_runtime.py',
]
