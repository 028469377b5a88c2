"""The schema registry, where there is one: whether it answers and knows the credentials."""

from consumer.errors import Unavailable
from consumer.extras import needs_extra
from consumer.operate.doctor.check import Check
from consumer.settings import RegistrySettings, SettingsError

NAME = "schema registry"


async def check_registry(settings: RegistrySettings) -> list[Check]:
    """Ask it as the worker does; nothing is looked at where no registry is set."""
    if settings.schema_registry_url is None:
        return []
    try:
        with needs_extra("SCHEMA_REGISTRY_URL", "registry"):
            from consumer.delivery.schema_registry import registry_of  # noqa: PLC0415
    except SettingsError as error:
        return [Check(NAME, False, str(error), "install it, or unset SCHEMA_REGISTRY_URL")]
    registry = registry_of(settings)
    try:
        await registry.probe()
    except Unavailable as error:
        advice = "check SCHEMA_REGISTRY_URL, SCHEMA_REGISTRY_USERNAME, ..._PASSWORD, and ..._CA_FILE for https"
        return [Check(NAME, False, error.message, advice)]
    finally:
        await registry.close()
    return [Check(NAME, True, f"{settings.schema_registry_url} answers")]
