"""What looks at models while they run: firing rates and their pictures. Models do not know it."""

from .firing import FiringRateRecorder, LayerRecord, find_neurons, mean_map

__all__ = ['FiringRateRecorder', 'LayerRecord', 'find_neurons', 'mean_map']
