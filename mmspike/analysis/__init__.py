"""Analysis of running models: firing rates, energy, the proof of spikes, and pictures of them."""

from mmspike.analysis.firing import FiringRateRecorder, LayerRecord, find_neurons, mean_map

__all__ = ['FiringRateRecorder', 'LayerRecord', 'find_neurons', 'mean_map']
