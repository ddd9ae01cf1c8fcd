#!/usr/bin/env bash
# torch 2.13.0 (CPU): removing a parametrization from a copy breaks the original.
#
# Guess: copy.deepcopy of a module with parametrized weights (weight_norm, spectral_norm, orthogonal,
# a parametrization of one's own) gives an independent module, as it does of any other; taking the
# parametrization off the copy (torch.nn.utils.parametrize.remove_parametrizations) makes the copy's
# weight plain and leaves the original as it was.
#
# Behaviour: registering a parametrization makes a class of its own for each module, and the weight
# is a property of that class. A deep copy is another instance of the same class, so removing the
# parametrization from the copy deletes the property for both: the original still says that it is
# parametrized, holds the originals, and has no weight any more. So an export or a fusion that works
# on a copy, as is good manners, destroys the model that it copied. A way round is to set the copy's
# __class__ to parametrize.type_before_parametrizations(copy) and to register the computed weight.
#
# Output on 2026-12-01:
#   same class: True
#   copy: Linear; original says it is parametrized: True
#   original after that: AttributeError: 'ParametrizedLinear' object has no attribute 'weight'
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 numpy==2.2.6
"$folder/venv/bin/python" - <<'PY' | tee "$folder/out"
import copy

import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

layer = parametrizations.weight_norm(nn.Linear(3, 3))
x = torch.ones(1, 3)
layer(x)
twin = copy.deepcopy(layer)
print('same class:', type(layer) is type(twin))
parametrize.remove_parametrizations(twin, 'weight')
twin(x)
told = parametrize.is_parametrized(layer)
print(f'copy: {type(twin).__name__}; original says it is parametrized: {told}')
try:
    layer(x)
    print('original after that: runs')
except AttributeError as error:
    print(f'original after that: AttributeError: {error}')
PY
diff "$folder/out" - <<'EXPECTED'
same class: True
copy: Linear; original says it is parametrized: True
original after that: AttributeError: 'ParametrizedLinear' object has no attribute 'weight'
EXPECTED
echo 'as found'
