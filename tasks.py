"""The lab's tasks, where Invoke looks for them: `invoke --list` shows them, and `invoke lab.run --help` one of them."""

import gc

from invoke.collection import Collection

from wsgilab import refuse_windows

refuse_windows()
# All that is imported stays. To look through it for garbage, again and again, takes a tenth of the start.
gc.disable()
from wsgilab.commands.front import watch_output  # noqa: E402
from wsgilab.commands.tasks import lab  # noqa: E402

gc.enable()
# Of help and lists too, which Invoke prints.
watch_output()

namespace = Collection(lab)
