#!/usr/bin/env bash
# mmsegmentation 1.2.2: the OHEM config of BiSeNetV2 trains without OHEM.
#
# Guess: bisenetv2_fcn_4xb4-ohem-160k_cityscapes-1024x1024.py, beside the config without "ohem" in
# its name, gives all its heads an OHEMPixelSampler, and its crops of 1024x1024 their size in the
# data preprocessor.
#
# Behaviour: the file writes models = dict(...) where all others write model = dict(...). Nothing
# reads a top-level name that it does not know, so the model is that of _base_/models/bisenetv2.py:
# no head has a sampler, and the data preprocessor has no size. Only the unused "models" holds them.
# A run of this config is named OHEM and is none.
#
# Output on 2026-12-01:
#   ohem: heads with a sampler: 0 of 5, size of the data preprocessor: None
#   ohem: heads with a sampler in models: 5 of 5
#   plain: heads with a sampler: 0 of 5, size of the data preprocessor: (1024, 1024)
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 numpy==2.2.6 mmengine==0.10.7 2>/dev/null
"$folder/venv/bin/pip" install -q --no-deps mmsegmentation==1.2.2 2>/dev/null
"$folder/venv/bin/python" - <<'PY' | tee "$folder/out"
import sysconfig
from pathlib import Path

from mmengine.config import Config

configs = Path(sysconfig.get_path('purelib'), 'mmseg', '.mim', 'configs', 'bisenetv2')
files = dict(
    ohem='bisenetv2_fcn_4xb4-ohem-160k_cityscapes-1024x1024.py',
    plain='bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024.py',
)


def sampled(model):
    heads = [model.decode_head, *model.auxiliary_head]
    return f'{sum("sampler" in head for head in heads)} of {len(heads)}'


for name, file in files.items():
    config = Config.fromfile(str(configs / file))
    size = config.model.data_preprocessor.get('size')
    print(f'{name}: heads with a sampler: {sampled(config.model)}, size of the data preprocessor: {size}')
    if 'models' in config:
        print(f'{name}: heads with a sampler in models: {sampled(config.models)}')
PY
diff "$folder/out" - <<'EXPECTED'
ohem: heads with a sampler: 0 of 5, size of the data preprocessor: None
ohem: heads with a sampler in models: 5 of 5
plain: heads with a sampler: 0 of 5, size of the data preprocessor: (1024, 1024)
EXPECTED
echo 'as found'
