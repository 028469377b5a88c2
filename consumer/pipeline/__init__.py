"""What is done for one recording, from the event that names it to the event that goes out."""

from consumer.pipeline.object_options import Allowed
from consumer.pipeline.outputs import Outputs
from consumer.pipeline.pipeline import Limits, Pipeline
from consumer.pipeline.sidecars import Sidecars

__all__ = ["Allowed", "Limits", "Outputs", "Pipeline", "Sidecars"]
