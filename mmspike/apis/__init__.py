"""Inference for people: pictures in, pictures and a JSON out."""

from .inference import Inferencer

__all__ = ['Inferencer']
