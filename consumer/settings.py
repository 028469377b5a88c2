"""All settings of the worker. The environment is read here and nowhere else."""

import os
import re
import string
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    DirectoryPath,
    Field,
    FilePath,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

ModelSize = Literal[
    "tiny",
    "tiny.en",
    "base",
    "base.en",
    "small",
    "small.en",
    "medium",
    "medium.en",
    "large-v3",
    "large-v3-turbo",
]


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _http_url(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise ValueError("must be a URL that begins with http:// or https://")
    return value.rstrip("/")


CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split), Field(min_length=1)]
Formats = Annotated[
    tuple[Literal["text", "json", "srt", "vtt", "words-vtt", "tsv", "lrc"], ...], NoDecode, BeforeValidator(_split)
]
OptionNames = Annotated[
    tuple[
        Literal["language", "task", "prompt", "vocabulary", "channels", "formats", "words", "range", "priority"], ...
    ],
    NoDecode,
    BeforeValidator(_split),
]
Patterns = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Bytes = Annotated[int, Field(gt=0)]
TopicName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{1,249}$")]


SIDECAR_FIELDS = ("key", "stem", "name", "bucket", "transcript_id", "extension")
"""What a template of a sidecar's key may hold; see ``consumer.pipeline.sidecars``."""


def _key_template(template: str) -> str:
    try:
        fields = {field for _, field, _, _ in string.Formatter().parse(template) if field is not None}
        template.format_map(dict.fromkeys(SIDECAR_FIELDS, "a"))
    except (KeyError, ValueError, IndexError) as error:
        allowed = ", ".join(f"{{{field}}}" for field in SIDECAR_FIELDS)
        raise ValueError(f"must be a key in which braces hold one of {allowed} ({error})") from None
    if "extension" not in fields or not fields & {"key", "stem", "transcript_id"}:
        raise ValueError("must hold {extension}, and {key}, {stem} or {transcript_id}: else transcripts share a name")
    return template


S = TypeVar("S", bound=BaseSettings)

# An empty variable counts as unset: it is what a compose file makes of one that nobody gave.
# Rules over two variables hang on the later one and not on the whole, so that what is wrong with one pair is
# reported together with what is wrong elsewhere.
# Inputs are hidden from pydantic's own messages, which would show secrets.
_CONFIG = SettingsConfigDict(
    frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True, protected_namespaces=()
)


MIN_TOKEN_CHARACTERS: Final = 16
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


class SettingsError(Exception):
    """One message that names every variable that is wrong or missing, its value and what is allowed."""


class BuildSettings(BaseSettings):
    """Where builds and the demo keep what is slow to get, and where packages come from."""

    model_config = _CONFIG

    whisper_consumer_cache: Path = Path.home() / ".cache" / "whisper-consumer"
    package_index_url: Annotated[
        str | None, Field(validation_alias=AliasChoices("PIP_INDEX_URL", "UV_DEFAULT_INDEX"))
    ] = None


class StoreSettings(BaseSettings):
    """The object store."""

    model_config = _CONFIG

    minio_endpoint: Annotated[str, AfterValidator(_http_url), Field(description="URL of the S3 endpoint.")]
    minio_access_key: Annotated[SecretStr, Field(description="Access key of the object store.")]
    minio_secret_key: Annotated[SecretStr, Field(description="Secret key of the object store.")]
    minio_session_token: Annotated[
        SecretStr | None, Field(description="Session token, where the keys are temporary ones.")
    ] = None
    minio_region: str = "us-east-1"
    minio_ca_file: Annotated[FilePath | None, Field(description="CA bundle for https, PEM.")] = None
    minio_connect_timeout_seconds: Seconds = 5
    minio_read_timeout_seconds: Seconds = 60

    @property
    def store_keys(self) -> tuple[str, str, str | None]:
        """Access key, secret key and session token, in the clear, as every client takes them."""
        token = self.minio_session_token
        return (
            self.minio_access_key.get_secret_value(),
            self.minio_secret_key.get_secret_value(),
            token.get_secret_value() if token else None,
        )


class EngineSettings(BaseSettings):
    """Model, libraries and how they are used."""

    model_config = _CONFIG

    whisper_model_size: ModelSize = "small"
    whisper_precision: Annotated[
        Literal["auto", "q5_1", "q8_0", "f16", "bf16", "bf16-q8_0"],
        Field(description="Precision of the model file; auto takes the fastest one in the directory."),
    ] = "auto"
    whisper_artifacts_dir: Path = Path()
    artifacts_bucket: str = "whisper-artifacts"
    artifacts_require_manifest: bool = False
    use_whisper_library: Annotated[bool, Field(description="false runs one whisper-cli process a file.")] = True
    whisper_states: Annotated[
        int,
        Field(ge=0, le=256, description="States that transcribe at once; 0: one for each CPU of the quota."),
    ] = 0
    whisper_language: Annotated[str, Field(description="A Whisper language code, or auto.")] = "auto"
    whisper_task: Literal["transcribe", "translate"] = "transcribe"
    whisper_prompt: Annotated[str, Field(max_length=2000)] = ""
    whisper_channels: Annotated[
        Literal["mix", "split"], Field(description="split transcribes each channel on its own, as for calls.")
    ] = "mix"
    whisper_words: Annotated[bool, Field(description="Whether transcripts have the times of words.")] = True
    whisper_carry_context: Annotated[
        bool, Field(description="Whether the model is told what it wrote before, window after window: slower.")
    ] = False
    channel_speakers: Annotated[
        tuple[str, ...],
        NoDecode,
        BeforeValidator(_split),
        Field(description="Who speaks on each channel, from the first on, separated by commas: agent,customer."),
    ] = ()
    deadline_margin: Annotated[
        float, Field(ge=1, allow_inf_nan=False, description="Times the expected duration that a native call may take.")
    ] = 20
    deadline_floor_seconds: Seconds = 300

    @field_validator("whisper_carry_context")
    @classmethod
    def _library_carries(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("use_whisper_library") is False:
            raise ValueError("needs USE_WHISPER_LIBRARY=true: with whisper-cli nothing is carried")
        return value


class KafkaSettings(BaseSettings):
    """Brokers, topics and the consumer group."""

    model_config = _CONFIG

    kafka_bootstrap_servers: Annotated[
        CommaSeparated, Field(description="Addresses of the brokers as host:port, separated by commas.")
    ]
    kafka_group_id: Annotated[str, Field(min_length=1)] = "whisper-consumer"
    kafka_input_topic: TopicName = "audio.uploaded"
    kafka_output_topic: TopicName = "audio.transcripts"
    kafka_dead_letter_topic: TopicName = "audio.dead-letters"
    kafka_failed_topic: Annotated[
        TopicName | None,
        Field(description="For a short event about each recording given up, beside its dead letter; none by default."),
    ] = None
    kafka_control_topic: Annotated[
        TopicName | None, Field(description="From which requests to cancel recordings are read; none by default.")
    ] = None
    kafka_progress_topic: Annotated[
        TopicName | None,
        Field(description="For how far recordings are, with their text as it comes; none by default."),
    ] = None
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    kafka_sasl_username: Annotated[str | None, Field(validate_default=True)] = None
    kafka_sasl_password: Annotated[SecretStr | None, Field(validate_default=True)] = None
    kafka_ssl_ca_file: FilePath | None = None
    kafka_ssl_cert_file: FilePath | None = None
    kafka_ssl_key_file: FilePath | None = None
    kafka_request_timeout_seconds: Seconds = 30
    kafka_session_timeout_seconds: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 45
    kafka_rebalance_timeout_seconds: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 60
    kafka_max_poll_interval_seconds: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 300
    kafka_max_record_bytes: Annotated[
        Bytes, Field(description="Largest record of the input topic, as its max.message.bytes.")
    ] = 1_048_588

    @field_validator("kafka_sasl_username", "kafka_sasl_password")
    @classmethod
    def _sasl_has_credentials(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None and info.data.get("kafka_security_protocol", "").startswith("SASL"):
            raise ValueError("needed, since KAFKA_SECURITY_PROTOCOL asks for SASL")
        return value


class RegistrySettings(BaseSettings):
    """The schema registry, where there is one."""

    model_config = _CONFIG

    schema_registry_url: Annotated[
        Annotated[str, AfterValidator(_http_url)] | None,
        Field(description="Of a Confluent-compatible registry, for events in Avro, Protobuf or with a JSON Schema."),
    ] = None
    schema_registry_username: str | None = None
    schema_registry_password: Annotated[SecretStr | None, Field(validate_default=True)] = None
    schema_registry_ca_file: FilePath | None = None
    schema_registry_timeout_seconds: Seconds = 10

    @field_validator("schema_registry_password")
    @classmethod
    def _registry_has_credentials(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is None and info.data.get("schema_registry_username"):
            raise ValueError("needed, since SCHEMA_REGISTRY_USERNAME is set")
        return value


class WorkerSettings(StoreSettings, EngineSettings, KafkaSettings, RegistrySettings):
    """Everything that ``whisper-consumer run`` needs."""

    input_buckets: Annotated[
        CommaSeparated, Field(description="Buckets whose recordings may be read, separated by commas.")
    ]
    input_patterns: Annotated[Patterns, Field(description="Patterns (*, ?) of keys, or of s3://bucket/key.")] = ()
    exclude_patterns: Annotated[Patterns, Field(description="Patterns of keys that are left out.")] = ()
    input_content_types: Annotated[
        Patterns, Field(description="Patterns of media types, where the event tells one: audio/*,video/*.")
    ] = ()
    min_object_bytes: Annotated[int, Field(ge=0, description="Smaller objects are left out.")] = 0
    metadata_options: Annotated[
        OptionNames, Field(description="Options that an object's metadata may set (x-amz-meta-whisper-…), by name.")
    ] = ()
    tag_options: Annotated[
        OptionNames, Field(description="Options that an object's tags may set (whisper-…), by name.")
    ] = ()
    results_bucket: Annotated[str, Field(validate_default=True)] = "transcripts"

    delivery: Annotated[
        Literal["effectively_once", "exactly_once"],
        Field(description="exactly_once answers in Kafka transactions, for readers with read_committed."),
    ] = "effectively_once"
    max_attempts: Annotated[
        int, Field(ge=1, le=100, description="Deaths of the worker on one recording alone, until it is given up.")
    ] = 3
    object_retry_seconds: Annotated[
        float, Field(ge=0, allow_inf_nan=False, description="How long one object is tried that its store refuses.")
    ] = 900
    dead_letter_stop_share: Annotated[
        float,
        Field(gt=0, le=1, description="Share of recent events dead-lettered by the worker's own fault that stops it."),
    ] = 0.5
    checkpoint_audio_seconds: Annotated[
        float, Field(ge=10, le=300, description="Audio transcribed between two checkpoints of a recording.")
    ] = 120
    max_in_flight: Annotated[int, Field(ge=1, le=1000, description="Recordings worked on at once.")] = 8
    max_in_flight_bytes: Annotated[
        Bytes, Field(description="Bytes of recordings spooled at once; one recording always may.")
    ] = 16 * 1024**3
    max_object_bytes: Bytes = 4 * 1024**3
    max_duration_seconds: Seconds = 12 * 3600
    min_duration_seconds: Annotated[
        float, Field(ge=0, le=30, allow_inf_nan=False, description="Shorter recordings are left out.")
    ] = 0
    max_event_bytes: Annotated[
        int, Field(ge=0, description="The event of a larger result refers to it in RESULTS_BUCKET; 0: of every result.")
    ] = 512 * 1024
    event_mode: Annotated[
        Literal["structured", "binary"], Field(description="How CloudEvents are written: as JSON, or in headers.")
    ] = "structured"
    sidecar_formats: Annotated[
        Formats, Field(description="Documents to write for each transcript, separated by commas.")
    ] = ()
    sidecar_choices: Annotated[Formats, Field(description="Documents that an event may ask for beside these.")] = ()
    sidecar_bucket: Annotated[str | None, Field(description="Where they go; the recording's bucket by default.")] = None
    sidecar_template: Annotated[str, AfterValidator(_key_template), Field(description="Template of their keys.")] = (
        "{stem}.{extension}"
    )
    decode_stall_timeout_seconds: Seconds = 60
    spool_dir: Annotated[
        DirectoryPath | None, Field(description="Where recordings are spooled; the system's by default.")
    ] = None
    shutdown_grace_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 25

    otel_exporter_otlp_endpoint: Annotated[
        Annotated[str, AfterValidator(_http_url)] | None,
        Field(description="Of an OpenTelemetry collector, for OTLP over HTTP; no spans without it."),
    ] = None
    otel_service_name: str = "whisper-consumer"
    http_host: str = "0.0.0.0"  # noqa: S104 - probes come from outside the container
    http_port: Annotated[int, Field(ge=0, le=65535)] = 9090
    status_port: Annotated[
        int | None, Field(ge=0, le=65535, description="For a page that shows what the worker does; none by default.")
    ] = None
    status_host: str = "127.0.0.1"
    status_token: Annotated[
        SecretStr | None, Field(validate_default=True, description="Who looks from elsewhere must know it.")
    ] = None
    status_page_text: Annotated[bool, Field(description="Whether the page shows words of transcripts.")] = False
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "text"] = "json"

    @field_validator("status_token")
    @classmethod
    def _strangers_need_a_token(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < MIN_TOKEN_CHARACTERS:
            raise ValueError(f"must have at least {MIN_TOKEN_CHARACTERS} characters")
        if value is None and info.data.get("status_port") is not None and info.data.get("status_host") not in LOOPBACK:
            raise ValueError("needed, since others reach STATUS_HOST, and the page shows names of recordings")
        return value

    @field_validator("input_buckets")
    @classmethod
    def _artifacts_lie_apart(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if info.data.get("artifacts_bucket") in value:
            raise ValueError("must not name ARTIFACTS_BUCKET: recordings must lie in buckets of their own")
        return value

    @field_validator("results_bucket")
    @classmethod
    def _results_lie_apart(cls, value: str, info: ValidationInfo) -> str:
        if value in info.data.get("input_buckets", ()):
            raise ValueError("must not be one of INPUT_BUCKETS: results must lie in a bucket of their own")
        return value


def load(kind: type[S], **overrides: Any) -> S:
    """Read the settings of one kind from the environment; ``overrides`` (by field name) win over it.

    Raises SettingsError naming every wrong or missing variable at once; values of secrets are not shown.
    """
    try:
        return kind(**overrides)
    except ValidationError as error:
        problems = sorted({_problem(kind, detail, overrides) for detail in error.errors()})
    raise SettingsError("\n  ".join(["These settings are wrong or missing:", *problems]))


def _problem(kind: type[BaseSettings], detail: ErrorDetails, overrides: dict[str, Any]) -> str:
    """One line: the variable, its value as it was given, and what is allowed."""
    name = str(detail["loc"][0])
    variable, field = name.upper(), kind.model_fields[name]
    given = overrides.get(name, _environment().get(name)) or field.get_default()
    if detail["type"] == "missing":
        return f"{variable} is not set: {field.description}"
    if given is None:
        return f"{variable} is not set: {_allowed(name, detail)}"
    shown = "(value not shown)" if _is_secret(variable, field) else _shown(given)
    return f"{variable}={shown}: {_allowed(name, detail)}"


def _environment() -> dict[str, str]:
    """The environment as pydantic-settings sees it: names in any case."""
    return {name.lower(): value for name, value in os.environ.items()}


def _is_secret(variable: str, field: FieldInfo) -> bool:
    named_so = any(word in variable for word in ("KEY", "SECRET", "PASSWORD"))
    return named_so or "SecretStr" in repr(field.annotation)


def _shown(value: Any) -> str:
    """The value on one line, of bounded length, without the user and password that a URL may hold."""
    text = repr(re.sub(r"//[^/]*@", "//…@", str(value)))
    return text if len(text) <= 100 else text[:99] + "…"


# Where pydantic's own words are not those of somebody who writes an environment.
_REQUIREMENTS = {
    "bool_parsing": "must be true or false",
    "finite_number": "must be a number",
    "float_parsing": "must be a number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number",
    "path_not_directory": "must be the path of an existing directory",
    "path_not_file": "must be the path of an existing file",
    "too_short": "must hold at least one value; separate several by commas",
}


def _allowed(name: str, detail: ErrorDetails) -> str:
    """What the variable may be, in words, with its unit."""
    context = detail.get("ctx", {})
    if detail["type"] == "value_error":
        return str(context["error"])
    if detail["type"] == "literal_error":
        return f"must be {context['expected']}"
    requirement = _REQUIREMENTS.get(detail["type"]) or re.sub("^(Input|String) should", "must", detail["msg"])
    unit = next((f", in {unit}" for unit in ("seconds", "bytes") if name.endswith(unit)), "")
    return requirement + unit
