#!/usr/bin/env bash
# Try openmim 0.3.9 with a wheel of mmspike in an environment of OpenMMLab's own packages:
#     bash tools/dev/try_mim.sh FOLDER          # new or empty; minutes, and longer to compile mmcv
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
mkdir -p "${1:?name a folder}"
folder="$(cd "$1" && pwd)"

[ -d "$folder/checkout" ] || git clone -q "$root" "$folder/checkout"
cd "$folder/checkout"
python3 tools/setup_env.py --family openmmlab
export PATH="$PWD/.venv/bin:$PATH"
pip install -q openmim==0.3.9

run_all() {
    # In a folder of its own, so that nothing is found in the checkout.
    rm -rf "$folder/run" && mkdir "$folder/run" && cd "$folder/run"
    local config=mask_rcnn_metaspike-tiny_t1_shapes.py
    local options=(train_cfg.max_epochs=1 train_cfg.val_interval=1 train_dataloader.batch_size=2)
    mim search mmspike --model meta-spikeformer > found.txt
    grep -q 'config id: mask_rcnn_metaspike_coco' found.txt
    mim run mmspike make_shapes data/shapes --num-train 8 --num-val 4
    mim train mmspike "$config" --work-dir out --cfg-options "${options[@]}"
    mim test mmspike "$config" --checkpoint out/epoch_1.pth --work-dir test
    mim run mmspike energy "$config" out/epoch_1.pth --num-images 2 --out-dir energy
    [ -s energy/energy.json ]
    cd "$folder/checkout"
}

pip uninstall -qy mmspike
mim install .
run_all

pip uninstall -qy mmspike
pip wheel -q --no-deps -w dist .
mim install dist/mmspike-*.whl
run_all
echo 'mim installs, searches, trains, tests and runs mmspike.'
