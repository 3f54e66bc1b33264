"""Parameters in a name that a user writes: ``confidence:a_max=0.5,warmup=0.1``."""

from __future__ import annotations

from weakstrong.errors import ConfigError


def parameters_in(text: str, where: str, example: str) -> dict[str, object]:
    """``parameter=value`` pairs separated by commas; a parameter that comes again has the list of its values.

    Args:
        text: the pairs, perhaps none.
        where: what they belong to, for the message.
        example: a pair that is right there, for the message.

    >>> parameters_in("rounds=1, through=a,through=b", "method", "a_max=0.5")
    {'rounds': '1', 'through': ['a', 'b']}

    Raises:
        ConfigError: for a word without an equals sign.
    """
    found: dict[str, object] = {}
    for part in filter(None, text.split(",")):
        name, equals, value = (word.strip() for word in part.partition("="))
        if not equals:
            raise ConfigError(f"{where}: {part!r} is not parameter=value, e.g. {example}")
        if name in found:
            before = found[name]
            found[name] = [*(before if isinstance(before, list) else [before]), value]
        else:
            found[name] = value
    return found
