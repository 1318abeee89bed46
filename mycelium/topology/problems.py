"""Files that people write: reading them, and turning what is wrong into the sentences that their author needs."""

from __future__ import annotations

import difflib
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from mycelium.core.errors import ConfigError, Problem


def problems_of(
    error: ValidationError,
    model: type[BaseModel],
    where: Callable[[tuple[str | int, ...]], str],
    *,
    under: str = "",
) -> list[Problem]:
    """One problem per finding: file, key, value, and what would be accepted.

    Args:
        error: what pydantic found.
        model: what was validated.
        where: the file, or the environment variable, that a key came from.
        under: dotted key under which the model stands in the file.
    """
    found = []
    for detail in error.errors(include_url=False):
        location = detail["loc"]
        key = ".".join([*([under] if under else []), *(str(part) for part in location)])
        kind, value = detail["type"], detail.get("input")
        if kind == "missing":
            found.append(Problem(where(location), key, "is missing; it is required"))
        elif kind == "extra_forbidden":
            found.append(Problem(where(location), key, _unknown(str(location[-1]), _keys_beside(model, location))))
        else:
            shown = value if isinstance(value, (str, int, float, bool)) else None
            found.append(Problem(where(location), key, _message(detail), shown))
    return found


def read_text(path: Path) -> str:
    """The text of a file that a person wrote.

    Raises:
        ConfigError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError([Problem(str(path), "", f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(str(path), "", f"is not UTF-8: {error.reason} at byte {error.start}")]) from None


def _message(detail: Any) -> str:
    message: str = detail["msg"]
    return message.removeprefix("Value error, ").replace("Input should be", "should be")


def _unknown(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    accepted = f"; accepted are {', '.join(names)}" if names else ""
    return f"is not a known key{hint}{accepted}"


def _keys_beside(model: type[BaseModel], location: tuple[str | int, ...]) -> list[str]:
    """The keys that the table holding ``location``'s last part accepts."""
    current: Any = model
    is_key_of_dict = False
    for part in location[:-1]:
        if isinstance(part, int) or is_key_of_dict:
            is_key_of_dict = False
            continue
        if not (isinstance(current, type) and issubclass(current, BaseModel)) or part not in current.model_fields:
            return []
        annotation = current.model_fields[part].annotation
        is_key_of_dict = get_origin(annotation) is dict
        current = _model_inside(annotation)
    if isinstance(current, type) and issubclass(current, BaseModel):
        return [field.alias or name for name, field in current.model_fields.items()]
    return []


def _model_inside(annotation: Any) -> Any:
    """The model class in ``Model``, ``tuple[Model, ...]``, ``dict[str, Model]`` or ``Model | None``."""
    if get_origin(annotation) in (tuple, list, dict, Union, types.UnionType):
        for argument in get_args(annotation):
            inside = _model_inside(argument)
            if isinstance(inside, type) and issubclass(inside, BaseModel):
                return inside
    return annotation
