"""The registries of mmspike, children of mmengine's roots under the scope ``mmspike``.

mmengine imports this module by itself when a config says ``type='mmspike.X'``, whatever the
config's default scope is, so such a config needs no ``custom_imports``.
"""

from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import Registry

MODELS = Registry(
    'model',
    parent=MMENGINE_MODELS,
    scope='mmspike',
    # With a model comes the loader that takes the place of the stock one.
    locations=['mmspike.models', 'mmspike.datasets.transforms'],
)
DATASETS = Registry(
    'dataset',
    parent=MMENGINE_DATASETS,
    scope='mmspike',
    locations=['mmspike.datasets.of_libraries'],
)
TRANSFORMS = Registry(
    'transform', parent=MMENGINE_TRANSFORMS, scope='mmspike', locations=['mmspike.datasets']
)
HOOKS = Registry('hook', parent=MMENGINE_HOOKS, scope='mmspike', locations=['mmspike.hooks'])
METRICS = Registry(
    'metric',
    parent=MMENGINE_METRICS,
    scope='mmspike',
    locations=['mmspike.hooks.coco_metric'],
)
