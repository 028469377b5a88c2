"""Settings come from the environment alone, and one message names all that is wrong with them."""

import os
import traceback
from pathlib import Path

import pytest
from pydantic import SecretStr

from consumer.settings import EngineSettings, SettingsError, StoreSettings, WorkerSettings, load

COMPLETE = {
    "MINIO_ENDPOINT": "http://store.example:9000/",
    "MINIO_ACCESS_KEY": "the-access-key",
    "MINIO_SECRET_KEY": "the-secret-key",
    "INPUT_BUCKETS": "recordings, calls ,",
    "KAFKA_BOOTSTRAP_SERVERS": "kafka-1.example:9092,kafka-2.example:9092",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that holds the complete settings and nothing else."""
    for name in os.environ:
        monkeypatch.delenv(name)
    for name, value in COMPLETE.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def problems() -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(WorkerSettings)
    title, *lines = str(caught.value).splitlines()
    assert title == "These settings are wrong or missing:"
    return [line.removeprefix("  ") for line in lines]


def test_the_environment_is_read() -> None:
    settings = load(WorkerSettings)
    assert settings.input_buckets == ("recordings", "calls")
    assert settings.kafka_bootstrap_servers == ("kafka-1.example:9092", "kafka-2.example:9092")
    assert settings.minio_endpoint == "http://store.example:9000"
    assert settings.minio_secret_key.get_secret_value() == "the-secret-key"
    assert settings.whisper_model_size == "small"


def test_names_in_any_case(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("INPUT_BUCKETS")
    environment.setenv("input_Buckets", "calls")
    environment.setenv("http_port", "0")
    settings = load(WorkerSettings)
    assert (settings.input_buckets, settings.http_port) == (("calls",), 0)
    environment.setenv("input_Buckets", ",")
    assert problems() == ["INPUT_BUCKETS=',': must hold at least one value; separate several by commas"]


def test_overrides_win(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("WHISPER_MODEL_SIZE", "medium")
    assert load(EngineSettings, whisper_model_size="tiny").whisper_model_size == "tiny"
    assert load(EngineSettings).whisper_model_size == "medium"


def test_an_empty_variable_is_an_unset_one(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("MAX_IN_FLIGHT", "")
    environment.setenv("MINIO_CA_FILE", "")
    settings = load(WorkerSettings)
    assert (settings.max_in_flight, settings.minio_ca_file) == (8, None)


def test_all_that_is_missing_is_named_at_once(environment: pytest.MonkeyPatch) -> None:
    for name in COMPLETE:
        environment.delenv(name)
    environment.setenv("MINIO_SECRET_KEY", "")
    assert problems() == [
        "INPUT_BUCKETS is not set: Buckets whose recordings may be read, separated by commas.",
        "KAFKA_BOOTSTRAP_SERVERS is not set: Addresses of the brokers as host:port, separated by commas.",
        "MINIO_ACCESS_KEY is not set: Access key of the object store.",
        "MINIO_ENDPOINT is not set: URL of the S3 endpoint.",
        "MINIO_SECRET_KEY is not set: Secret key of the object store.",
    ]


@pytest.mark.parametrize(
    ("variable", "value", "requirement"),
    [
        ("ARTIFACTS_REQUIRE_MANIFEST", "perhaps", "must be true or false"),
        ("DECODE_STALL_TIMEOUT_SECONDS", "-1", "must be greater than 0, in seconds"),
        ("DECODE_STALL_TIMEOUT_SECONDS", "1m", "must be a number, in seconds"),
        ("SHUTDOWN_GRACE_SECONDS", "inf", "must be a number, in seconds"),
        ("HTTP_PORT", "65536", "must be less than or equal to 65535"),
        ("KAFKA_INPUT_TOPIC", "a b", "must match pattern '^[a-zA-Z0-9._-]{1,249}$'"),
        ("LOG_FORMAT", "xml", "must be 'json' or 'text'"),
        ("MAX_OBJECT_BYTES", "4GB", "must be a whole number, in bytes"),
        ("MAX_OBJECT_BYTES", "1.5", "must be a whole number, in bytes"),
        ("MINIO_ENDPOINT", "store:9000", "must be a URL that begins with http:// or https://"),
        ("MINIO_CA_FILE", "/does/not/exist", "must be the path of an existing file"),
        ("SPOOL_DIR", "/does/not/exist", "must be the path of an existing directory"),
        ("SIDECAR_FORMATS", "srt,doc", "must be 'text', 'json', 'srt', 'vtt', 'words-vtt', 'tsv' or 'lrc'"),
        (
            "SIDECAR_TEMPLATE",
            "{name}.srt",
            "must hold {extension}, and {key}, {stem} or {transcript_id}: else transcripts share a name",
        ),
        (
            "SIDECAR_TEMPLATE",
            "{stem}.{format}",
            "must be a key in which braces hold one of {key}, {stem}, {name}, {bucket}, {transcript_id}, {extension} "
            "('format')",
        ),
        (
            "INPUT_BUCKETS",
            "calls,whisper-artifacts",
            "must not name ARTIFACTS_BUCKET: recordings must lie in buckets of their own",
        ),
    ],
)
def test_a_wrong_value_is_shown_with_what_is_allowed(
    environment: pytest.MonkeyPatch, variable: str, value: str, requirement: str
) -> None:
    environment.setenv(variable, value)
    assert problems() == [f"{variable}={value!r}: {requirement}"]


def test_rules_over_two_variables_come_with_all_the_others(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    environment.setenv("INPUT_BUCKETS", "transcripts")
    environment.setenv("USE_WHISPER_LIBRARY", "false")
    environment.setenv("WHISPER_CARRY_CONTEXT", "true")
    environment.delenv("MINIO_ENDPOINT")
    assert problems() == [
        "KAFKA_SASL_PASSWORD is not set: needed, since KAFKA_SECURITY_PROTOCOL asks for SASL",
        "KAFKA_SASL_USERNAME is not set: needed, since KAFKA_SECURITY_PROTOCOL asks for SASL",
        "MINIO_ENDPOINT is not set: URL of the S3 endpoint.",
        "RESULTS_BUCKET='transcripts': must not be one of INPUT_BUCKETS: results must lie in a bucket of their own",
        "WHISPER_CARRY_CONTEXT='true': needs USE_WHISPER_LIBRARY=true: with whisper-cli nothing is carried",
    ]


def test_sasl_with_credentials_is_accepted(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    environment.setenv("KAFKA_SASL_USERNAME", "worker")
    environment.setenv("KAFKA_SASL_PASSWORD", "the-password")
    password = load(WorkerSettings).kafka_sasl_password
    assert password is not None
    assert password.get_secret_value() == "the-password"


def test_a_status_page_for_others_needs_a_token(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("STATUS_PORT", "8080")
    assert load(WorkerSettings).status_token is None
    environment.setenv("STATUS_HOST", "10.0.0.1")
    assert problems() == [
        "STATUS_TOKEN is not set: needed, since others reach STATUS_HOST, and the page shows names of recordings"
    ]
    environment.setenv("STATUS_TOKEN", "too-short")
    assert problems() == ["STATUS_TOKEN=(value not shown): must have at least 16 characters"]
    environment.setenv("STATUS_TOKEN", "0123456789abcdef")
    assert load(WorkerSettings).status_host == "10.0.0.1"


def test_secrets_are_never_shown(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("KAFKA_SSL_KEY_FILE", "/secret/path.pem")
    environment.setenv("MINIO_ENDPOINT", "s3://the-user:the-password@store")
    not_a_string = [COMPLETE["MINIO_SECRET_KEY"]]
    with pytest.raises(SettingsError) as caught:
        load(WorkerSettings, minio_secret_key=not_a_string)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value.__context__)
    assert "KAFKA_SSL_KEY_FILE=(value not shown): must be the path of an existing file" in shown
    assert "MINIO_SECRET_KEY=(value not shown)" in shown
    assert "MINIO_ENDPOINT='s3://…@store'" in shown
    for secret in ("the-access-key", "the-secret-key", "the-password", "/secret/path.pem"):
        assert secret not in shown
    assert "the-secret-key" not in repr(load(StoreSettings, minio_endpoint="http://store"))


def test_long_values_are_cut(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("WHISPER_PROMPT", "x" * 2001)
    (line,) = problems()
    assert len(line) < 200
    assert line.endswith("…: must have at most 2000 characters")


def test_every_required_setting_says_what_it_is() -> None:
    for kind in (StoreSettings, EngineSettings, WorkerSettings):
        for name, field in kind.model_fields.items():
            assert not field.is_required() or field.description, name


def test_no_credential_has_a_default() -> None:
    for name, field in WorkerSettings.model_fields.items():
        if field.annotation in (SecretStr, SecretStr | None):
            assert field.is_required() or field.default is None, name


def test_paths_are_paths(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.setenv("SPOOL_DIR", str(tmp_path))
    environment.setenv("WHISPER_ARTIFACTS_DIR", "/not/there/yet")
    settings = load(WorkerSettings)
    assert settings.spool_dir == tmp_path
    assert settings.whisper_artifacts_dir == Path("/not/there/yet")
