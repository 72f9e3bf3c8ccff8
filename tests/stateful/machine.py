"""The view held to a plain directory, call by call: every call a worker can make is a rule.

After each rule both trees are compared: names, types, modes, owners, link counts, sizes, targets, which names are one
file, and which times have just changed. What the calls answered (values, bytes, errno) was compared by the rule.
"""

from __future__ import annotations

from tests.stateful.failing_rules import FailingRules
from tests.stateful.file_rules import FileRules
from tests.stateful.mapping_rules import MappingRules
from tests.stateful.name_rules import NameRules
from tests.stateful.native_rules import NativeRules
from tests.stateful.placeholder_rules import PlaceholderRules
from tests.stateful.view_rules import ViewRules


class ViewAgainstPlain(FileRules, MappingRules, NameRules, ViewRules):
    """All rules together."""


class ViewReadNatively(NativeRules):
    """All rules together, where sealed files are native, and rules that make them so."""


class ViewOnTroubledDisk(FileRules, NameRules, FailingRules):
    """The rules for files and names, and calls that fail."""


class PlaceholdersAgainstPlain(FileRules, MappingRules, NameRules, PlaceholderRules):
    """All rules together, where files of the view begin as placeholders."""
