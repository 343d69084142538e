"""Layers of values into one `Settings`: merged and type-checked by pydantic-settings."""

from collections.abc import Mapping
from types import NoneType
from typing import Any, Final, get_args, get_origin

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from guestpass.config.assertion_section import AssertionSettings
from guestpass.config.issuer_sections import IssuerSettings, VerifySettings
from guestpass.config.sections import (
    HeaderSettings,
    LimitSettings,
    PoolSettings,
    ServerSettings,
    Settings,
    StoreSettings,
    TracingSettings,
)
from guestpass.config.shapes import RULE_DEFAULTS, SECTIONS, hints
from guestpass.config.upstream_sections import RouteSettings, UpstreamSettings
from guestpass.config.values import Rate, Secret, parse_duration, parse_rate
from guestpass.core.matching import Rule
from guestpass.core.model import Policy
from guestpass.errors import ConfigError

_RULES: Final = {
    "missing": "must be set",
    "string_type": "must be text",
    "path_type": "must be a path",
    "is_instance_of": "must be text",  # a `Secret`
    "dataclass_type": "must be text, such as 100/minute",  # a `Rate`
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a duration",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "tuple_type": "must be a list",
    "frozen_set_type": "must be a list",
    "dict_type": "must be pairs, such as sub=X-Guest-Subject",
    "mapping_type": "must be pairs, such as sub=X-Guest-Subject",
}
"""What pydantic finds wrong, by its name for it, in the words of the reference in place of Python's."""


class _Layered(BaseSettings):
    """The sections as pydantic sees them; each becomes the very dataclass that a library user writes."""

    model_config = SettingsConfigDict(
        extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True, validate_default=False
    )

    server: ServerSettings = Field(default_factory=ServerSettings)
    upstream: UpstreamSettings = Field(default_factory=UpstreamSettings)
    issuer: IssuerSettings = Field(default_factory=IssuerSettings)
    verify: VerifySettings = Field(default_factory=VerifySettings)
    policy: Policy = Field(default_factory=Policy)
    store: StoreSettings = Field(default_factory=StoreSettings)
    pool: PoolSettings = Field(default_factory=PoolSettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)
    headers: HeaderSettings = Field(default_factory=HeaderSettings)
    assertion: AssertionSettings = Field(default_factory=AssertionSettings)
    tracing: TracingSettings = Field(default_factory=TracingSettings)
    rules: tuple[Rule, ...] = ()
    routes: tuple[RouteSettings, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _read_texts(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Read what a file and the environment can only write as text, by each setting's type."""
        return {
            section: [_values(section, Rule, {**RULE_DEFAULTS, **rule}) for rule in values]
            if section == "rules"
            else [_values(section, RouteSettings, route) for route in values]
            if section == "routes"
            else _values(section, SECTIONS[section], values)
            for section, values in data.items()
        }


def _values(section: str, cls: type, values: Mapping[str, Any]) -> dict[str, object]:
    known = hints(cls)
    for name, value in values.items():
        if isinstance(value, str) and "\0" in value:
            # What opens a file or a socket by such a text raises a ValueError or TypeError: a traceback.
            raise ConfigError(f"{section}.{name}", "must not hold a NUL character")
    return {
        name: _from_text(f"{section}.{name}", value, known.get(name, str)) for name, value in values.items()
    }


def merge(*layers: Mapping[str, Any]) -> Settings:
    """Merge layers of values by section and name, the first one winning, over the defaults.

    Raises:
        ConfigError: A value breaks its rule.
    """

    class Given(_Layered):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,  # noqa: ARG003  the base class's signature
            env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            # Ours alone: pydantic's own would pass over names that it does not know.
            return tuple(InitSettingsSource(settings_cls, init_kwargs=dict(layer)) for layer in layers)

    try:
        given = Given()
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False, include_context=False)[0]
        rule = _RULES.get(first["type"]) or first["msg"].replace("Input should be", "must be", 1)
        # Without its cause: pydantic's error would quote the value, which may be a secret.
        raise ConfigError(".".join(map(str, first["loc"])), rule) from None
    return Settings(**{name: getattr(given, name) for name in Given.model_fields})


def _from_text(field: str, value: object, hint: Any) -> object:
    kinds = get_args(hint) if NoneType in get_args(hint) else (hint,)
    if not isinstance(value, str):
        if isinstance(value, bool) and not {bool, Secret}.intersection(kinds):
            raise ConfigError(field, "must not be true or false")  # pydantic would read it as 1 or 0
        return value
    if NoneType in kinds and value.lower() == "off":
        return None
    for kind in kinds:
        if kind is float:
            return parse_duration(field, value)
        if kind is Rate:
            return parse_rate(field, value)
        if kind is Secret:
            return Secret(value)
        if get_origin(kind) in (tuple, frozenset):
            return tuple(part for item in value.split(",") if (part := item.strip()))
        if get_origin(kind) is Mapping:
            return dict(_pair(field, item) for item in value.split(",") if item.strip())
    return value


def _pair(field: str, item: str) -> tuple[str, str]:
    key, equals, value = (part.strip() for part in item.partition("="))
    if not (key and equals and value):
        raise ConfigError(field, "must be pairs such as sub=X-Guest-Subject, separated by commas")
    return key, value
