"""Test what `mmspike export --format onnx` wrote: the metrics with onnxruntime in torch's place.

Usage: ``python tools/dev/onnx_metrics.py CONFIG CHECKPOINT model.onnx [options of tools/test.py]``.
The network runs in onnxruntime; what follows it, decoding and metrics, is the config's own. Of a
two-stage detector what follows the RPN runs in torch, on the features of onnxruntime.
"""

import sys
from typing import Any

import onnxruntime
from mmengine.runner import Runner

from mmspike.commands import test as command
from mmspike.deploy.onnx_export import run_session


def use_session(model: Any, session: onnxruntime.InferenceSession) -> None:
    """Let a session answer where a model's backbone, neck and dense head would.

    Args:
        model: A segmentor, a detector or a classifier, changed in place.
        session: Of its ``model.onnx``.
    """
    outs: dict[str, list] = {}

    def extract_feat(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        outs.clear()
        named = [out.name for out in session.get_outputs()]
        for name, out in zip(named, run_session(session, inputs), strict=True):
            outs.setdefault(name.rstrip('0123456789').rstrip('_'), []).append(out)
        return tuple(outs.pop('features', ()))

    def forward(*args: Any, **kwargs: Any) -> Any:
        return outs['logits'][0] if 'logits' in outs else tuple(outs.values())

    heads = ('rpn_head', 'bbox_head', 'decode_head', 'head')
    head = next(getattr(model, name) for name in heads if hasattr(model, name))
    model.extract_feat, head.forward = extract_feat, forward


def main() -> dict[str, float]:
    config, checkpoint, path, *options = sys.argv[1:]
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    load = Runner.load_or_resume

    def load_then_swap(runner: Runner) -> None:
        load(runner)
        use_session(runner.model, session)

    Runner.load_or_resume = load_then_swap
    return command.test([config, checkpoint, *options])


if __name__ == '__main__':
    main()
