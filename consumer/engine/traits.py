"""What differs between builds of the library: as it is published, and with this project's patches."""

import math
from dataclasses import dataclass
from typing import Final

from consumer.engine.artifacts.manifest import Manifest

STEPS_A_SECOND: Final = 50
FULL_STEPS: Final = 1500
CONTEXT_MARGIN_STEPS: Final = 64


@dataclass(frozen=True, slots=True)
class Traits:
    """Which lengths of the encoder's context a build hears well with, in steps of 20 ms, and whether the probability of
    no speech that it tells is right for every model and prompt."""

    unit_steps: int
    least_steps: int
    tells_no_speech: bool

    def fitted(self, seconds: float) -> int:
        """Steps for so much audio, as ``Parameters.audio_ctx``: 0 means all of them (rule 1 of ``passes``)."""
        needed = seconds * STEPS_A_SECOND + CONTEXT_MARGIN_STEPS
        fitted = max(self.least_steps, self.unit_steps * math.ceil(needed / self.unit_steps))
        return fitted if fitted < FULL_STEPS else 0


PUBLISHED: Final = Traits(unit_steps=256, least_steps=512, tells_no_speech=False)
"""It pads the keys of its attention to multiples of 256, and what lies in the padding is zeros or left over from
earlier jobs. The less of that the better: under 512 the model loops."""
UNPADDED_CONTEXT: Final = "unpadded-context.patch"
NO_SPEECH_AT_START: Final = "no-speech-at-start.patch"


def traits_of(manifest: Manifest | None) -> Traits:
    """Those of the libraries in a directory of artifacts; without a manifest they count as published."""
    patches = {patch.split(":")[0] for patch in manifest.engine.patches} if manifest else set()
    unpadded = UNPADDED_CONTEXT in patches
    return Traits(
        unit_steps=32 if unpadded else PUBLISHED.unit_steps,
        least_steps=384 if unpadded else PUBLISHED.least_steps,
        tells_no_speech=NO_SPEECH_AT_START in patches,
    )
