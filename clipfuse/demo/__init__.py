"""A data set that clipfuse draws itself, so that a first look needs no download."""

from clipfuse.demo.scenes import draw_dataset

__all__ = ["draw_dataset"]
