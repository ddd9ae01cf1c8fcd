"""The best checkpoint is chosen by a metric that the validation gives."""

import pytest
from mmengine.hooks import CheckpointHook

from mmspike.errors import UserError
from mmspike.hooks import WholeCheckpointHook


def test_a_metric_to_save_the_best_by_that_nothing_measures(monkeypatch):
    saved = []
    monkeypatch.setattr(CheckpointHook, '_save_best_checkpoint', lambda *given: saved.append(given))
    hook = WholeCheckpointHook(save_best='mIou', rule='greater')
    with pytest.raises(UserError) as caught:
        hook._save_best_checkpoint(None, {'aAcc': 90.0, 'mIoU': 50.0})
    assert caught.value.sentence == (
        "save_best of the checkpoint hook is 'mIou', but the validation gives aAcc, mIoU (did you "
        'mean mIoU?); correct it in the config or in --cfg-options, then go on with --resume.'
    )
    assert not saved
    for other in (WholeCheckpointHook(save_best='auto'), WholeCheckpointHook(), hook):
        other._save_best_checkpoint(None, {'mIou': 50.0})
    assert len(saved) == 3
