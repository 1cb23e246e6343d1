"""A run in forms that other programs and other machines use: an ONNX file, or a bundle."""

from clipfuse.export.bundle import export_bundle
from clipfuse.export.onnx_file import check_onnx, export_onnx

__all__ = ["check_onnx", "export_bundle", "export_onnx"]
