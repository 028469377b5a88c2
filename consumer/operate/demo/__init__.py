"""``whisper-consumer demo``: recordings go through a real Kafka, a real S3 store and the real worker.

Everything is started here as processes of its own, and all of it ends with the demo.
"""

from consumer.operate.demo.run import run_demo

__all__ = ["run_demo"]
