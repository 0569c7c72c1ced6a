"""A command-line parser whose errors are short and name what would be right."""

import re
import sys
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ArgumentParser

import lit_hep

_NOISE = re.compile(r"Does not validate|Subtypes:|Errors:|Given value|Expected a <class 'NoneType'>|Expected a path|$")
_WORDS = {
    r"Parser key \"([^\"]+)\"( element \d+)?:": r"\1\2:",
    r"Problem with given class_path '([^']+)':": r"\1:",
    r"Expected an? <class '([^']+)'>": r"expected \1",
    r"Expected an? typing\.Literal\[([^\]]+)\]": r"expected one of \1",
    r"Expected a dot import path string: (\S+)": r"there is no class \1",
}


class Parser(ArgumentParser):
    """jsonargparse's parser; options cannot be abbreviated."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """End with code 2 and one short message."""
        if not self.exit_on_error:  # jsonargparse tries several readings and collects their errors
            super().error(message, ex)
        parser = getattr(ex, "subcommand_parser", None) or self
        hints = "; ".join(dict.fromkeys(parser._hints(message)))
        sys.stderr.write(f"error: {shorten(message)}" + (f" ({hints})" if hints else "") + "\n")
        raise SystemExit(2)

    def parse_path(self, cfg_path: Any, *args: Any, **kwargs: Any) -> Any:
        """Read a config, which must be text."""
        try:
            return super().parse_path(cfg_path, *args, **kwargs)
        except UnicodeDecodeError as error:
            self.error(f"{cfg_path}: is not a text file; give the path of a .yaml file", error)

    def _hints(self, message: str) -> Iterator[str]:
        """What would have been right."""
        for option in re.findall(r"unrecognized arguments: (--[^\s=]+)", message):
            known = [name for action in self._actions for name in action.option_strings]
            yield "did you mean " + " or ".join(get_close_matches(option, known) or ["one of those --help lists?"])
        if "argument subcommand: invalid choice" in message:
            yield "or simulate, prepare, report, export"
        for path in re.findall(r"File does not exist: '?([^'\n]+)", message):
            folder = Path(path).parent
            names = sorted(found.name for found in folder.glob("*.yaml"))
            yield f"{folder.name} holds {', '.join(names)}" if names else "give the path of a .yaml file"
        if "there is no class" in shorten(message) or "has no attribute" in message or "No module named" in message:
            yield f"classes of lit_hep: {', '.join(dir(lit_hep))}"
        for name in re.findall(r"class_path '([^']+)':\s+Option '[^']+' is not accepted", message):
            if options := _options(name):
                yield f"options of {name}: {', '.join(options)}"
        if "fit.data" in message or "required: data" in message:
            yield "give a task's config: --config configs/crater.yaml"


def _options(class_path: str) -> list[str]:
    module, _, name = class_path.rpartition(".")
    cls = getattr(__import__(module, fromlist=[name]), name)
    return list(ArgumentParser().add_class_arguments(cls, fail_untyped=False))


def shorten(message: str) -> str:
    """One line of what jsonargparse says in ten."""
    lines = (line.strip(" -") for line in message.splitlines())
    text = " ".join(line for line in lines if not _NOISE.match(line))
    for pattern, words in _WORDS.items():
        text = re.sub(pattern, words, text)
    given = re.search(r"Given value: (?!\w*\()(.+)", message)  # jsonargparse's own objects tell nothing
    return f"{text}. Got value: {given[1]}" if given and "Got value" not in text else text
