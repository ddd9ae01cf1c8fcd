"""What training changes in a config so that it does what its user means."""

import pytest
from mmengine.config import Config
from mmengine.hooks import EarlyStoppingHook

from mmspike.commands.train import suit_early_stopping


@pytest.mark.parametrize(
    ('scope', 'options', 'gain'),
    [
        ('mmdet', dict(), 0.001),
        ('mmdet', dict(min_delta=0.1), 0.1),
        ('mmseg', dict(), 0.1),
    ],
)
def test_early_stopping_goes_on_while_the_metric_rises(scope, options, gain):
    hook = dict(type='EarlyStoppingHook', monitor='coco/bbox_mAP', patience=2, **options)
    config = Config(dict(default_scope=scope, custom_hooks=[hook]))
    said = suit_early_stopping(config)
    assert (said is not None) == (gain == 0.001)
    built = EarlyStoppingHook(**{k: v for k, v in config.custom_hooks[0].items() if k != 'type'})
    assert built.min_delta == gain
    stops = [built._check_stop_condition(0.02 * epoch)[0] for epoch in range(1, 6)]
    assert any(stops) == (gain == 0.1)
