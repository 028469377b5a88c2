"""What is done for one recording, from the event that names it to the event that goes out."""

from consumer.pipeline.pipeline import Limits, Pipeline

__all__ = ["Limits", "Pipeline"]
