"""Spiking classifiers, of mmpretrain."""

from .spike_image_classifier import DistilledSpikeClassifier, SpikeImageClassifier

__all__ = ['DistilledSpikeClassifier', 'SpikeImageClassifier']
