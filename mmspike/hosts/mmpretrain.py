"""What is mmpretrain's own: one class a picture or sequence."""

from typing import Any

from mmengine.config import Config

from .library import Library


class MMPretrain(Library):
    """mmpretrain: classification."""

    name = 'mmpretrain'
    sample = ('mmpretrain.structures', 'DataSample')
    hook = 'VisualizationHook'
    visualizer = 'UniversalVisualizer'
    tta_model = dict(type='AverageClsScoreTTA')
    usual_size = 224

    def add_truth(self, sample: Any, height: int, width: int) -> None:
        sample.set_gt_label(0)

    def build_inferencer(self, config: Config, device: str) -> Any:
        from mmpretrain import ImageClassificationInferencer

        return ImageClassificationInferencer(config, pretrained=False, device=device)

    def _draw(self, hook: dict, visualizer: dict, folder: str | None) -> None:
        hook.update(enable=True, interval=1, out_dir=folder)
