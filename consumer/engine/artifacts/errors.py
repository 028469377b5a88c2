"""The one error of this package."""


class ArtifactError(Exception):
    """Artifacts cannot be built, fetched or used; the message is one line for a person.

    It says what is wrong, what was expected and, where there is something, what to do.
    """
