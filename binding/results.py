"""What a transcription gives, as plain values, and how words are made of tokens.

Whisper's vocabulary is byte-level BPE: a token is a run of bytes, not of characters, so one character
may be spread over several tokens. Rules for words:

1. A word is one or more whole tokens; its bytes decode as UTF-8 (what never becomes valid is replaced).
2. A token that begins with a space begins a word.
3. In scripts that write no spaces, each complete run of characters is a word; a run of nothing but
   punctuation joins the word before it.
4. A word begins where its first token begins and ends where its last one ends; its probability is the
   mean of its tokens'.
5. Times never run backwards: neither inside a word nor from one word to the next.
"""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

# Languages whose words are not set apart by spaces; the same list as OpenAI's tokenizer
# (whisper/tokenizer.py, split_to_word_tokens).
UNSPACED_LANGUAGES = frozenset({"zh", "ja", "th", "lo", "my", "yue"})


@dataclass(frozen=True, slots=True)
class Token:
    """One token of text. Times in seconds from the start of the samples."""

    id: int
    text: bytes
    start_seconds: float
    end_seconds: float
    probability: float
    log_probability: float


@dataclass(frozen=True, slots=True)
class Word:
    """One word. Times in seconds from the start of the samples."""

    text: str
    start_seconds: float
    end_seconds: float
    probability: float


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch that the model closed with a timestamp. Times in seconds from the start of the samples.

    ``no_speech_probability`` is what the library reports of the pass that the segment is from. As published it is
    wrong for multilingual and for prompted decoding (whisper.cpp issues 3945 and 4068, open at 1.9.3); a library with
    the patch ``no-speech-at-start`` has it right.
    """

    start_seconds: float
    end_seconds: float
    text: str
    average_log_probability: float
    no_speech_probability: float
    tokens: tuple[Token, ...] = field(repr=False)
    words: tuple[Word, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Transcription:
    """All segments of one call, in order of time, and the language they were decoded in."""

    segments: tuple[Segment, ...]
    language: str

    @property
    def text(self) -> str:
        """The segments' texts joined, without the space that Whisper puts first."""
        return "".join(segment.text for segment in self.segments).strip()


def words_of(tokens: Sequence[Token], language: str) -> tuple[Word, ...]:
    """Join text tokens (no special ones) into words by the rules above."""
    groups = _characters(tokens) if language in UNSPACED_LANGUAGES else _spaced(tokens)
    words: list[Word] = []
    earliest = 0.0
    for group in groups:
        text = b"".join(token.text for token in group).decode("utf-8", errors="replace").strip()
        if not text:
            continue
        start = max(earliest, group[0].start_seconds)
        end = max(start, group[-1].end_seconds)
        probability = sum(token.probability for token in group) / len(group)
        words.append(Word(text, start, end, min(1.0, probability)))
        earliest = end
    return tuple(words)


def _spaced(tokens: Iterable[Token]) -> Iterator[list[Token]]:
    """Groups of tokens, each beginning with a space (rule 2)."""
    group: list[Token] = []
    for token in tokens:
        if group and token.text.startswith(b" "):
            yield group
            group = []
        group.append(token)
    if group:
        yield group


def _characters(tokens: Iterable[Token]) -> Iterator[list[Token]]:
    """Groups of tokens that are complete in UTF-8, punctuation joined to what it follows (rule 3)."""
    finished: list[Token] = []
    group: list[Token] = []
    for token in tokens:
        group.append(token)
        try:
            text = b"".join(part.text for part in group).decode()
        except UnicodeDecodeError:
            continue  # a character goes on in the next token
        if finished and not _is_punctuation(text):
            yield finished
            finished = []
        finished += group
        group = []
    if finished:
        yield finished
    if group:
        yield group


def _is_punctuation(text: str) -> bool:
    return all(unicodedata.category(character)[0] in "PZ" for character in text)
