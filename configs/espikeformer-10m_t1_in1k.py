"""E-SpikeFormer 10M, T x D = 1 x 4, ImageNet-1K, from scratch.

Task: Image Classification on ImageNet-1K
Parameters: 10.0M
Paper: top-1 78.5, TPAMI 2025
Ours: not measured

Its weights are public (docs/pretraining.md). The schedule says what is known of its recipe:

    bash tools/dist_train.sh configs/espikeformer-10m_t1_in1k.py 8
    python tools/test.py configs/espikeformer-10m_t1_in1k.py CHECKPOINT

The batch is 256 a process, 2048 in all on 8 GPUs; the rate follows the batch by itself.
"""

_base_ = [
    '_base_/models/espikeformer_classifier.py',
    '_base_/datasets/imagenet.py',
    '_base_/schedules/lamb_200e_warmup5.py',
    '_base_/classification_runtime.py',
]

train_dataloader = dict(batch_size=256)
