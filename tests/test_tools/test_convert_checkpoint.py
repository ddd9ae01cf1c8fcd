"""tools/convert.py: what it writes, and what it refuses in one sentence."""

import pickle
import subprocess
import sys

import pytest
import torch
from released import released_checkpoint

from .conftest import ROOT

TOOL = ROOT / 'tools' / 'convert.py'


def convert(source, target, environment):
    return subprocess.run(
        [sys.executable, str(TOOL), str(source), str(target)],
        capture_output=True,
        text=True,
        env=environment,
    )


@pytest.mark.slow
def test_says_how_to_use_what_it_wrote(tmp_path, environment):
    torch.save(released_checkpoint('15m'), tmp_path / 'released.pth')
    done = convert(tmp_path / 'released.pth', tmp_path / 'new' / 'converted.pth', environment)
    assert done.returncode == 0, done.stderr
    assert f'pretrained={tmp_path / "new" / "converted.pth"}' in done.stdout
    weights = torch.load(tmp_path / 'new' / 'converted.pth')['state_dict']
    assert 'backbone.stages.3.5.token_mixer.query_conv.pointwise1.weight' in weights


class Evil:
    def __reduce__(self):
        return print, ('executed',)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('content', 'sentence'),
    [
        (None, 'is not there'),
        ({'state_dict': {}}, "has no weights under 'model'"),
        ({'model': {'layer1.0.conv1.weight': torch.zeros(1)}}, 'layer1.0.conv1.weight'),
        ({'model': Evil()}, 'must not run code'),
        (pickle.dumps({'model': Evil()}), 'is not a PyTorch checkpoint'),
    ],
    ids=['missing', 'no weights', 'other names', 'code', 'code, raw'],
)
def test_refuses_anything_else_in_one_sentence(content, sentence, tmp_path, environment):
    source = tmp_path / 'source.pth'
    if isinstance(content, bytes):
        source.write_bytes(content)
    elif content is not None:
        torch.save(content, source)
    done = convert(source, tmp_path / 'target.pth', environment)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert 'executed' not in done.stdout
    assert not (tmp_path / 'target.pth').exists()
