from .spike_detectors import SpikeMaskRCNN

__all__ = ['SpikeMaskRCNN']
