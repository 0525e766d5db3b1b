"""Detection of secrets: a configuration that holds one is refused, without repeating the secret."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from nas_lightning.core.errors import ConfigError

_NAMES = re.compile(
    r"(^|_)(api_?key|(private|access)_key|passwd|password|secret|credentials?|token|pat)$|secret_", re.I
)
_VALUES = re.compile(r"\b(gh[pousr]_|github_pat_|glpat-|hf_|xox[abp]-|sk-|AKIA)[A-Za-z0-9_-]{12,}")
_VARIABLES = re.compile(r"(TOKEN|API_?KEY|ACCESS_KEY|SECRET|PASSWORD|PASSWD)$", re.I)
_IN_URL = re.compile(r"\w://[^/\s@]+@|[?&](token|key|password)=")
SHORTEST = 8
"""Characters in the shortest value of an environment variable that is searched; shorter ones occur by chance."""


def secrets_in(config: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Find probable secrets in a configuration; return problems that do not repeat them.

    A secret is a value whose key is named like one (`api_key`, `password`, …), a URL with a password, a string in the
    format of a known service, and the value of an environment variable named like a secret.
    """
    found = []
    hidden = _of_environment()
    for key, value in _leaves(config, prefix):
        if not isinstance(value, str) or not value:
            continue
        reason = next((f"it is the value of {name}" for name, secret in hidden.items() if secret in value), None)
        if _NAMES.search(key.rpartition(".")[2]):
            reason = reason or "its name is that of a secret"
        elif _IN_URL.search(value):
            reason = reason or "the address holds a password"
        elif _VALUES.search(value):
            reason = reason or "it looks like the key of a service"
        if reason:
            found.append(
                f"{key}=***: refused, {reason}, and the configuration is written into the run folder; leave it out and"
                " set the environment variable that the service reads, such as WANDB_API_KEY or"
                " MLFLOW_TRACKING_PASSWORD"
            )
    return found


def refuse_secrets(overrides: Iterable[str]) -> None:
    """Refuse an override that looks like a secret, before Hydra writes it anywhere.

    Raises:
        ConfigError: There is such an override.
    """
    for override in overrides:
        key, _, value = override.partition("=")
        inner = dict.fromkeys(re.findall(r"(\w+)\s*:\s*[^\s,}]", value), "…")  # of {name: value} written inline
        problems = secrets_in({key.lstrip("+~"): value, **inner})
        if problems:
            raise ConfigError(problems[0])


def _of_environment() -> dict[str, str]:
    return {n: v for n, v in os.environ.items() if _VARIABLES.search(n) and len(v) >= SHORTEST}


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{path}.{index}")
    else:
        yield path, value
