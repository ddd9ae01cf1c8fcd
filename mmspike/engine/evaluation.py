"""The options of tools/test.py, which mean the same in mmdet, mmseg and mmpretrain."""

import logging
import os
from argparse import Namespace
from copy import deepcopy

from mmcv.cnn import is_norm
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.runner import Runner

from mmspike.deploy import reparameterize
from mmspike.errors import UserError

from .config import demand_pictures, test_dataset
from .weights import is_wrapped

HOOKS = dict(
    mmdet='DetVisualizationHook', mmseg='SegVisualizationHook', mmpretrain='VisualizationHook'
)
VISUALIZERS = dict(
    mmdet='DetLocalVisualizer', mmseg='SegLocalVisualizer', mmpretrain='UniversalVisualizer'
)


def show_predictions(config: Config, args: Namespace) -> None:
    """Switch on the drawing of predictions in a window or into a folder.

    Args:
        config: The config to complete.
        args: Has ``show``, ``show_dir`` and ``wait_time``.

    Raises:
        UserError: If the config's scope is none of the three, or it tests on sequences.
    """
    scope = config.get('default_scope')
    if scope not in HOOKS:
        raise UserError(
            f'--show and --show-dir need default_scope to be one of {list(HOOKS)}, '
            f'but the config says {scope!r}; set it there.'
        )
    demand_pictures(config, '--show or --show-dir')
    # Copies, put back at the end: a ConfigDict's setdefault hands out what it does not store.
    hooks = dict(config.get('default_hooks') or {})
    hook = dict(hooks.get('visualization') or {'type': HOOKS[scope]})
    visualizer = dict(config.get('visualizer') or {'type': VISUALIZERS[scope]})
    visualizer.setdefault('vis_backends', [{'type': 'LocalVisBackend'}])
    hook.update(show=args.show, wait_time=args.wait_time)
    if scope == 'mmpretrain':
        hook.update(enable=True, interval=1, out_dir=args.show_dir)
    else:
        hook.update(draw=True)
    if scope == 'mmseg':
        hook.update(interval=1)  # OpenMMLab's own mmseg counts test images by it.
    if args.show_dir and scope == 'mmdet':
        # A relative one mmdet would put below the work_dir and the time of the run.
        hook.update(test_out_dir=os.path.abspath(args.show_dir))
    elif args.show_dir and scope == 'mmseg':
        visualizer.update(save_dir=args.show_dir)
    config.default_hooks = {**hooks, 'visualization': hook}
    config.visualizer = visualizer


def use_mixed_precision(config: Config) -> None:
    """Let the test loop run in bfloat16 on a CPU, in float16 on a GPU.

    Args:
        config: The config to complete.

    Raises:
        UserError: If it is a detector's, on a CPU.
    """
    refuse_half_detector('--amp', config.get('default_scope'), get_device())
    config.test_cfg.fp16 = True


def refuse_half_detector(option: str, scope: str | None, device: str) -> None:
    """Refuse to run a detector in half precision on a CPU.

    Args:
        option: What asks for it, for the message.
        scope: The library of the model.
        device: Where it is to run.

    Raises:
        UserError: If it is so.
    """
    if device == 'cpu' and scope == 'mmdet':
        raise UserError(
            f"{option} was given for a detector on a CPU, but mmcv's operators (such as nms) "
            f'know single precision alone there; leave {option} out or use a GPU.'
        )


def leave_mean_out(config: Config) -> None:
    """Take mmengine's EMAHook out of a config: what it saves as the weights is the mean already.

    Args:
        config: The config of a test.
    """
    hooks = config.get('custom_hooks') or []
    config.custom_hooks = [h for h in hooks if str(h.get('type')).split('.')[-1] != 'EMAHook']


def use_tta(config: Config) -> None:
    """Exchange model and pipeline for those of test-time augmentation.

    A config without ``tta_model`` and ``tta_pipeline`` gets the host library's horizontal flip.

    Args:
        config: The config to complete.

    Raises:
        UserError: If there is no such augmentation for the model.
    """
    scope = config.get('default_scope')
    dataset = test_dataset(config)
    if scope == 'mmdet' and config.model.get('roi_head', {}).get('mask_head'):
        raise UserError(
            '--tta is not possible here: mmdet merges boxes but no masks; leave --tta '
            'out or test a model without mask_head.'
        )
    defaults: dict[str, dict] = dict(
        mmdet=dict(
            type='DetTTAModel',
            tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100),
        ),
        mmpretrain=dict(type='AverageClsScoreTTA'),
    )
    model = config.get('tta_model') or defaults.get(scope)
    pipeline = config.get('tta_pipeline') or _flip_pipeline(dataset.pipeline, scope)
    if model is None:
        raise UserError(
            '--tta needs tta_model and tta_pipeline, but the config has none; add '
            'them, for example from a config of the host library.'
        )
    config.model = dict(model, module=config.model)
    dataset.pipeline = pipeline


def _flip_pipeline(pipeline: list, scope: str) -> list:
    pack = deepcopy(pipeline[-1])
    if scope == 'mmdet':
        pack.meta_keys = (
            'img_id',
            'img_path',
            'ori_shape',
            'img_shape',
            'scale_factor',
            'flip',
            'flip_direction',
        )
    flips = [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)]
    # Label maps are flipped back themselves, so the truth must not be flipped at all; boxes are
    # flipped back inside the original picture, which padding before would have shifted.
    late = {'mmseg': 'Annotation', 'mmdet': 'Pad'}.get(scope)
    behind = [[step] for step in pipeline[:-1] if late and late in str(step['type'])]
    before = [step for step in pipeline[:-1] if [step] not in behind]
    return [*before, dict(type='TestTimeAug', transforms=[flips, *behind, [pack]])]


def deploy(runner: Runner, form: str) -> None:
    """Load the weights, and put the model into the form in which it runs.

    Args:
        runner: The runner about to test.
        form: A form of `mmspike.deploy.reparameterize`.
    """
    runner.load_or_resume()
    holder, name, model = runner, 'model', runner.model
    while is_wrapped(model):
        holder, name, model = model, 'module', model.module
    merged = reparameterize(model.eval(), form)
    norms = [name for name, part in merged.named_modules() if is_norm(part)]
    if norms:
        print_log(
            f'--deploy {form} leaves {len(norms)} norms as they are, such as {norms[0]}: they '
            'share a convolution with others, as the levels of RetinaNet and RTMDet do, or depend '
            'on the input, so no weights can hold them.',
            logger='current',
            level=logging.WARNING,
        )
    setattr(holder, name, merged)


def name_output(config: Config, out: str) -> None:
    """Check ``--out`` and, for mmseg, hand it to the metric: there it is a folder of label maps.

    Args:
        config: The config to complete.
        out: A ``.pkl`` file, or a folder for mmseg.

    Raises:
        UserError: If it is neither.
    """
    if config.get('default_scope') == 'mmseg':
        metrics = config.test_evaluator
        for metric in metrics if isinstance(metrics, list) else [metrics]:
            metric.output_dir = out
    elif not out.endswith(('.pkl', '.pickle')):
        raise UserError(f"--out is '{out}', but predictions are dumped to a .pkl file; name one.")


def dump_predictions(runner: Runner, out: str) -> None:
    """Let a runner of mmdet or mmpretrain dump its predictions.

    Args:
        runner: The runner about to test.
        out: The ``.pkl`` file.
    """
    scope = runner.cfg.get('default_scope')
    if scope == 'mmdet':
        from mmdet.evaluation import DumpDetResults as DumpResults
    else:
        from mmengine.evaluator import DumpResults
    if scope != 'mmseg':
        runner.test_evaluator.metrics.append(DumpResults(out_file_path=out))
