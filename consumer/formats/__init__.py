"""Transcripts as documents that people and players read. Pure: segments in, text out."""

from consumer.formats.documents import FORMATS, Format, render

__all__ = ["FORMATS", "Format", "render"]
