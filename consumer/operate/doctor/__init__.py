"""``whisper-consumer doctor``: looks at everything that an operator can get wrong, and says what to do."""

from consumer.operate.doctor.check import Check
from consumer.operate.doctor.examine import examine
from consumer.operate.doctor.report import render, to_json
from consumer.operate.doctor.run import run_doctor

__all__ = ["Check", "examine", "render", "run_doctor", "to_json"]
