"""The recording that every opponent does once before the clock starts: eleven seconds, in 16-bit WAV at 16 kHz."""

from pathlib import Path

WARM_UP = Path(__file__).parents[3] / "consumer" / "operate" / "sample" / "jfk.wav"
