"""Reading settings from the options of a command and the environment, with a sentence for each error."""

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, cached_property

from pydantic import ValidationError

from service.settings import Settings
from service.start_errors import ExitStatus, StartError

PREFIX = "FITSERVE_"
# Former names of settings, which are read for one more release.
RENAMED = {"FITSERVE_SWEEP_SECONDS": "FITSERVE_SCAN_SECONDS"}
# Settings that commands have an option for.
OPTIONS = {"host", "port", "data_dir", "workers", "database_url", "artifacts_url", "health_port"}
# Longest part of a value that a sentence repeats.
MOST_CHARACTERS = 80
_KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "`true` or `false`",
    "path": "the path of a folder",
    "string": "a text that is not empty",
    "array": "a comma-separated list",
}


def variable(setting: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + setting.upper()


def named(setting: str, *, by_option: bool = False) -> str:
    """Return the environment variable of a setting and its option, if it has one; `by_option` first."""
    names = [variable(setting), *["--" + setting.replace("_", "-")] * (setting in OPTIONS)]
    return " or ".join(reversed(names) if by_option else names)


@dataclass(frozen=True)
class Configuration:
    """The values that a command was given; an option takes precedence over the environment.

    Attributes:
        options: The options that were passed, by setting.
        environment: Environment variables by name.
    """

    options: Mapping[str, str]
    environment: Mapping[str, str]

    @classmethod
    def of(cls, options: Mapping[str, str | None]) -> "Configuration":
        """Return the configuration of this process; an option that is None was not passed."""
        return cls({name: value for name, value in options.items() if value is not None}, os.environ)

    @cached_property
    def variables(self) -> Mapping[str, str]:
        """The environment variables of the service by name; an empty one counts as not set."""
        names = {name.upper(): value for name, value in self.environment.items() if value}
        return {name: names[name] for name in sorted(names) if name.startswith(PREFIX)}

    @cached_property
    def values(self) -> Mapping[str, str]:
        """The given values by setting."""
        former = {RENAMED[name]: self.variables[name] for name in RENAMED.keys() & self.variables.keys()}
        known = {variable(setting): setting for setting in Settings.model_fields}
        given = {**former, **self.variables}
        return {known[name]: given[name] for name in given if name in known} | dict(self.options)

    def source(self, setting: str) -> str:
        """Return where the value of a setting comes from: `option`, `environment` or `default`."""
        if setting in self.options:
            return "option"
        return "environment" if setting in self.values else "default"

    def warnings(self) -> Iterator[str]:
        """Yield a sentence for each variable that is renamed or unknown."""
        for name in self.variables:
            setting = name.removeprefix(PREFIX).lower()
            if name in RENAMED:
                yield f"{name} is called {RENAMED[name]} now; the former name will not be read much longer."
            elif setting not in Settings.model_fields:
                close = get_close_matches(setting, Settings.model_fields, n=1)
                remedy = (
                    f"did you mean {variable(close[0])}?" if close else "`fitserve check` lists the settings."
                )
                yield f"{name} is not a setting and has no effect; {remedy}"

    def read(self) -> tuple[Settings, Sequence[StartError], Collection[str]]:
        """Read the settings.

        Returns:
            The settings, with defaults in place of invalid values; the errors; the invalid settings.
        """
        try:
            return Settings.model_validate(self.values), [], ()
        except ValidationError as error:
            # A default that depends on an invalid setting is not an error of its own.
            found = [each for each in error.errors() if each["type"] != "default_factory_not_called"]
        errors, invalid = [], [str(each["loc"][0]) for each in found]
        for setting, each in zip(invalid, found, strict=True):
            own = each["ctx"]["error"] if each["type"] == "value_error" else valid_values(setting)
            sentence = f"{self._given(setting)}: it must be {own}."
            errors.append(StartError(ExitStatus.SETTINGS, sentence))
        valid = {name: value for name, value in self.values.items() if name not in invalid}
        # Again: a value that is valid beside an invalid one may contradict the default.
        settings, _, also_invalid = Configuration(valid, {}).read()
        return settings, errors, [*invalid, *also_invalid]

    def _given(self, setting: str) -> str:
        """Return the option or variable of a setting, and its value."""
        value = shown(setting, self.values[setting])
        text = value if len(value) <= MOST_CHARACTERS else f"{value[:MOST_CHARACTERS]}…"
        return f"{named(setting, by_option=setting in self.options)} is {f'`{text}`' if text else 'empty'}"


@cache
def valid_values(setting: str) -> str:
    """Describe the valid values of a setting, as the end of a sentence."""
    schema = Settings.model_json_schema()["properties"][setting]
    schema = next((each for each in schema.get("anyOf", []) if each["type"] != "null"), schema)
    if "enum" in schema:
        *others, last = (f"`{value}`" for value in schema["enum"])
        return f"{', '.join(others)} or {last}"
    kind = _KINDS[schema.get("format") or schema["type"]]
    if "exclusiveMinimum" in schema:
        return f"{kind} above {schema['exclusiveMinimum']}, at most {schema['maximum']}"
    return f"{kind} from {schema['minimum']} to {schema['maximum']}" if "minimum" in schema else kind


def shown(setting: str, value: object) -> str:
    """Return the value of a setting as it is written in a variable, without passwords."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    text = ",".join(value) if isinstance(value, tuple) else str(value)
    return without_password(text) if setting in ("database_url", "artifacts_url") else text


def without_password(url: str) -> str:
    """Hide the password of a URL: all that may belong to one, even if the URL is malformed."""
    url = re.sub(r"((?:^|//)[^:@/?#]*):(?!//).*@", r"\1:***@", url)
    url = re.sub(r"(//[^:@/?#\[]*):(?!\d+(?:[/?#]|$))[^@]*$", r"\1:***", url)  # no number of a port
    return re.sub(
        r"([?&][^=&]*(?:pass|secret|key|token|sig)[^=&]*=)[^&#]*", r"\1***", url, flags=re.IGNORECASE
    )
